//! The snippets of docs/mounting.md are taken from the programs.

use std::fs;
use std::path::Path;

#[test]
fn every_line_of_code_is_one_of_its_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(folder.join("../../docs/mounting.md")).expect("the guide");
    let mut shown = 0;
    for section in guide.split("\n## ").skip(1) {
        let (framework, text) = section.split_once('\n').expect("a heading, then text");
        for code in text.split("```rust\n").skip(1) {
            let code = code.split("```").next().expect("a block");
            let program = folder.join(format!("src/bin/{framework}.rs"));
            let program = fs::read_to_string(program).unwrap_or_else(|error| panic!("{framework}: {error}"));
            let lines: Vec<_> = program.lines().map(str::trim).collect();
            for line in code.lines().map(str::trim) {
                assert!(lines.contains(&line), "{framework} has no line `{line}`");
            }
            shown += 1;
        }
    }
    let programs = fs::read_dir(folder.join("src/bin")).expect("the programs").count();
    assert!(shown >= programs, "{programs} programs, {shown} of them shown");
}
