//! Mistakes that the compiler finds, and its messages.

/// The words are those of the oldest compiler that we support (`rust-version` in the workspace's manifest). After a
/// change, `TRYBUILD=overwrite cargo test -p ui` rewrites them: check the difference.
#[test]
fn mistakes_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
