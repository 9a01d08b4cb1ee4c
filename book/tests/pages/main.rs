//! Checks of the book: its code is formatted, the output of its programs is that of the pages, its links have targets, and its
//! instructions for new users work. `./test book` builds the book and runs the checks.

mod blocks;
mod conversations;
mod format;
mod instructions;
mod links;
mod names;
mod packaging;
mod program;

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The repository.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// The target directory of Cargo.
fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| home().join("target"), PathBuf::from)
}

/// A page of the book, or the front page.
struct Page {
    name: String,
    text: String,
}

impl Page {
    fn read(name: &str) -> Page {
        let file = if name == "readme" { "README.md".to_owned() } else { format!("docs/{name}.md") };
        Page { name: name.to_owned(), text: fs::read_to_string(home().join(file)).expect("the page") }
    }

    fn all() -> Vec<Page> {
        let docs = fs::read_dir(home().join("docs")).expect("docs/");
        let mut names: Vec<String> = docs
            .filter_map(|entry| entry.expect("a file").file_name().to_str()?.strip_suffix(".md").map(str::to_owned))
            .collect();
        names.push("readme".to_owned());
        names.sort();
        names.iter().map(|name| Page::read(name)).collect()
    }

    fn blocks(&self) -> Vec<blocks::Block> {
        blocks::blocks(&self.text)
    }

    /// The first block of this language behind a text of the page.
    fn block(&self, behind: &str, language: &str) -> String {
        let at = self.text.find(behind).unwrap_or_else(|| panic!("{} has no text {behind:?}", self.name));
        let line = self.text[..at].lines().count();
        let block = self.blocks().into_iter().find(|block| block.language == language && block.line > line);
        block.unwrap_or_else(|| panic!("{}: no {language} behind {behind:?}", self.name)).code
    }
}
