//! What users are told when they make a mistake: each program of `compile_fail` must fail with exactly its text.
//!
//! `TRYBUILD=overwrite cargo test -p lightning-tests --test compile_fail` writes the texts anew; read each as a newcomer
//! would before you commit it.

#[test]
fn every_mistake_is_told_where_it_was_made_and_with_its_remedy() {
    trybuild::TestCases::new().compile_fail("suites/compile_fail/*.rs");
}
