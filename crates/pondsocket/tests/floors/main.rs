//! Code may use what stands on a lower floor, never a higher one (docs/ARCHITECTURE.md, The map).

mod circles;
mod imports;

use std::fs;
use std::path::{Path, PathBuf};

/// The modules, from the lowest floor to the highest.
const FLOORS: [&[&str]; 3] = [
    &["engine", "limits", "json", "metrics", "options", "error", "failure", "delivery", "cluster"],
    &[
        "context",
        "handler",
        "extract",
        "middleware",
        "outgoing",
        "hooks",
        "rate_limit",
        "pond",
        "endpoint",
        "lobby",
        "channel",
        "user",
        "websocket",
    ],
    &["edge", "serve", "testing"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The modules that a file imports; tests may also take public names from the crate's root.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.trim_start().split_once("use crate::"));
    lines.filter_map(|(_, path)| path.split([':', ';', '{']).next()).filter(|module| !module.is_empty())
}

#[test]
fn imports_go_downwards_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for file in sources(&root) {
        let path = file.strip_prefix(&root).expect("below the root").with_extension("");
        let module = path.iter().next().expect("a name").to_string_lossy().into_owned();
        if module == "lib" {
            continue;
        }
        let mine = floor(&module).unwrap_or_else(|| panic!("`{module}` stands on no floor"));
        let text = fs::read_to_string(&file).expect("a text file");
        for import in imports(&text) {
            let theirs = floor(import).unwrap_or_else(|| panic!("{}: `{import}` stands on no floor", path.display()));
            assert!(theirs <= mine, "{} (floor {mine}) imports `{import}` (floor {theirs})", path.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} imports were found");
}

#[test]
fn the_protocol_knows_no_runtime() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pondsocket-proto/Cargo.toml");
    let text = fs::read_to_string(manifest).expect("a manifest");
    let dependencies = text.split("[dev-dependencies]").next().expect("the part before");
    assert!(!dependencies.contains("tokio") && !dependencies.contains("hyper"));
}

#[test]
fn no_source_file_has_more_than_six_hundred_lines_of_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packages = ["crates", "integrations"].map(|folder| fs::read_dir(root.join(folder)).expect("a folder"));
    let packages = packages.into_iter().flatten().map(|package| package.expect("readable").path().join("src"));
    // `models` compiles the sources of another package.
    let files: Vec<_> = packages.filter(|folder| folder.is_dir()).flat_map(|folder| sources(&folder)).collect();
    assert!(files.len() > 200, "only {} files were found", files.len());
    for file in files {
        let text = imports::without_tests(&fs::read_to_string(&file).expect("a text file"));
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = text.lines().filter(is_code).count();
        assert!(lines <= 600, "{} has {lines} lines of code", file.display());
    }
}
