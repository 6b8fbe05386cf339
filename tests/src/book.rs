//! The snippets of the README and of the book, as doc tests: one item for each page that has some.

#[doc = include_str!("../../docs/src/introduction.md")]
struct Introduction;

#[doc = include_str!("../../docs/src/first-agent.md")]
struct FirstAgent;

#[doc = include_str!("../../docs/src/first-algorithm.md")]
struct FirstAlgorithm;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/call-a-model.md")]
struct CallAModel;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/optimise-prompts.md")]
struct OptimisePrompts;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/run-files.md")]
struct RunFiles;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/run-a-store.md")]
struct RunAStore;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/many-processes.md")]
struct ManyProcesses;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/llm-proxy.md")]
struct LlmProxy;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/learning.md")]
struct Learning;

#[cfg(feature = "full")]
#[doc = include_str!("../../docs/src/serve-a-model.md")]
struct ServeAModel;

#[doc = include_str!("../../docs/src/store.md")]
struct Store;

#[cfg(feature = "sqlite")]
#[doc = include_str!("../../docs/src/durable-store.md")]
struct DurableStore;

#[doc = include_str!("../../docs/src/test-an-algorithm.md")]
struct TestAnAlgorithm;

#[doc = include_str!("../../docs/src/traces-to-data.md")]
struct TracesToData;

#[doc = include_str!("../../docs/src/write-an-adapter.md")]
struct WriteAnAdapter;

#[doc = include_str!("../../docs/src/resume.md")]
struct Resume;

#[doc = include_str!("../../docs/src/watch-a-run.md")]
struct WatchARun;

#[doc = include_str!("../../docs/src/when-a-run-goes-wrong.md")]
struct WhenARunGoesWrong;

#[doc = include_str!("../../docs/src/best-practice.md")]
struct BestPractice;

#[doc = include_str!("../../README.md")]
struct Readme;
