//! Extracts the Rust code of the book's pages, so that it is compiled and its programs can be run.
//!
//! A block with a `main` is the page's program. Each other block is a module within it: items as they are, statements as the body of
//! a function whose parameters are the values that pages refer to (a pond, an endpoint, a lobby, ...).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use blocks::{Block, blocks, is_items};

#[path = "blocks.rs"]
mod blocks;

/// Pages whose code is quoted from other programs; tests compare the two.
const TESTED_ELSEWHERE: [&str; 2] = ["mounting", "testing"];

const PRELUDE: &str = "
        #[allow(unused_imports)]
        use {super::*, pondsocket::*, serde::{Deserialize, Serialize}, serde_json::{Value, json}, std::time::Duration};
";

fn main() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    println!("cargo::rerun-if-changed={}", docs.display());
    println!("cargo::rerun-if-changed=blocks.rs");
    let mut pages: Vec<PathBuf> =
        fs::read_dir(&docs).expect("docs/").map(|entry| entry.expect("a file").path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(docs.join("../README.md"));
    println!("cargo::rerun-if-changed=../README.md");
    pages.sort();

    let (mut code, mut programs) = (String::new(), String::new());
    for page in pages {
        let name = page.file_stem().expect("a name").to_string_lossy().replace('-', "_").to_lowercase();
        let text = fs::read_to_string(&page).expect("a page");
        let mut blocks = blocks(&text);
        blocks.retain(|block| block.language == "rust");
        if TESTED_ELSEWHERE.contains(&&*name) || blocks.is_empty() {
            continue;
        }
        let (module, has_program) = module(&blocks);
        let _ = writeln!(code, "/// docs/{name}.md\n#[allow(dead_code, unused_variables)]\nmod {name} {{{module}}}");
        if has_program {
            let _ = writeln!(programs, "    ({:?}, {name}::run),", name.replace('_', "-"));
        }
    }
    let _ = writeln!(code, "const PROGRAMS: &[(&str, Program)] = &[\n{programs}];");
    let out = Path::new(&env::var_os("OUT_DIR").expect("set by Cargo")).join("pages.rs");
    fs::write(out, code).expect("a file for the code");
}

/// The code of a page as the body of a module, and `true` if it has a program.
fn module(blocks: &[Block]) -> (String, bool) {
    let mut body = String::from("\n    #[allow(unused_imports)]\n    use super::*;\n");
    let mut has_program = false;
    for block in blocks {
        let (line, code) = (block.line, block.code.replace("\"127.0.0.1:8080\"", "&crate::address()"));
        if code.contains("fn main()") && !has_program {
            has_program = true;
            let _ = writeln!(
                body,
                "    // line {line}\n{code}\n    pub(crate) fn run() -> Outcome {{ to_outcome(main()) }}"
            );
        } else if is_items(&code) {
            let _ = writeln!(body, "    mod line_{line} {{{PRELUDE}\n{code}\n    }}");
        } else {
            let _ = writeln!(
                body,
                "    mod line_{line} {{{PRELUDE}
        #[allow(redundant_semicolons, unused_mut)]
        async fn statements(
            pond: PondSocket, socket: Endpoint, lobby: Lobby, channel: Channel, mut server: Server, ctx: EventContext,
        ) -> anyhow::Result<()> {{\n{code}\n        ; Ok(()) }}\n    }}"
            );
        }
    }
    (body, has_program)
}
