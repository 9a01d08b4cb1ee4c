//! Mistakes that the compiler finds, and the words in which it says so.

/// The words are those of the oldest compiler that we support (`rust-version` in the workspace's manifest). After a
/// change, `TRYBUILD=overwrite cargo test -p ui` writes them anew: read the difference.
#[test]
fn mistakes_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
