//! What a person reads who gets it wrong: each file in `ui/` does not compile, and the `.stderr`
//! beside it says what the compiler answers.
//!
//! After a change, look at the messages as their reader would, then
//! `TRYBUILD=overwrite cargo test --test ui --all-features`. Their wording is that of the toolchain in use.

#[test]
fn mistakes_get_messages_that_teach() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
