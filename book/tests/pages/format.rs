//! The format of the pages' Rust code, which is that of the repository.

use std::fs;
use std::process::Command;

use crate::{Page, blocks, home};

#[test]
fn the_code_on_the_pages_is_formatted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    // The code of this page is quoted from examples/mounted, and formatted there.
    for page in Page::all().into_iter().filter(|page| page.name != "mounting") {
        for block in page.blocks().into_iter().filter(|block| block.language == "rust") {
            let code = if blocks::is_items(&block.code) {
                format!("{}\n", block.code)
            } else {
                let lines =
                    block.code.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("    {line}\n") });
                format!("async fn statements() {{\n{}}}\n", lines.collect::<String>())
            };
            let file = folder.path().join(format!("{}-{}.rs", page.name.replace('-', "_"), block.line));
            fs::write(&file, code).expect("a file for the block");
            files.push(file);
        }
    }
    let config = home().join("rustfmt.toml");
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2024", "--config-path"]).arg(config).args(&files);
    let output = rustfmt.output().expect("rustfmt");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
