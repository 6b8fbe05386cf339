//! The snippets of the README and of the book, as doc tests: one item for each page that has some.

#[doc = include_str!("../../docs/src/introduction.md")]
struct Introduction;

#[doc = include_str!("../../docs/src/first-algorithm.md")]
struct FirstAlgorithm;

#[doc = include_str!("../../docs/src/optimise-prompts.md")]
struct OptimisePrompts;

#[doc = include_str!("../../docs/src/store.md")]
struct Store;

#[doc = include_str!("../../docs/src/test-an-algorithm.md")]
struct TestAnAlgorithm;

#[doc = include_str!("../../docs/src/watch-a-run.md")]
struct WatchARun;

#[doc = include_str!("../../README.md")]
struct Readme;
