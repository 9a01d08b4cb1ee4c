//! The instructions of the pages for new users, executed literally.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::program::{self, Terminal, free_address};
use crate::{Page, home, target};

/// A folder with a clone of the repository, for programs beside it. Its path is the same in each run, because Cargo rebuilds a crate
/// that has another path.
pub(crate) fn beside_the_clone() -> PathBuf {
    let mut hash = DefaultHasher::new();
    home().hash(&mut hash);
    let folder = env::temp_dir().join(format!("pondsocket-instructions-{:x}", hash.finish()));
    fs::create_dir_all(&folder).expect("a folder");
    let clone = folder.join("pondsocket-rs");
    // An error means that it exists from an earlier run.
    let _ = std::os::unix::fs::symlink(home(), &clone);
    folder
}

/// The path of a folder beside the clone, which does not exist.
pub(crate) fn fresh(name: &str) -> PathBuf {
    let folder = beside_the_clone().join(name);
    // An error means that there is none yet.
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// Runs the commands of a page in a folder.
fn follow(commands: &str, folder: &Path) {
    program::output(in_target(Command::new("bash").args(["-euc", commands])).current_dir(folder));
}

/// Sets one target directory for all new projects, so that shared dependencies are built once, and without debug information.
pub(crate) fn in_target(command: &mut Command) -> &mut Command {
    let command = command.env("CARGO_TARGET_DIR", target().join("instructions")).env("CARGO_TERM_QUIET", "true");
    command.env("CARGO_PROFILE_DEV_DEBUG", "0")
}

/// Copies the lock file, so that the project has the versions with which everything else is tested.
pub(crate) fn with_locked_versions(project: &Path) {
    fs::copy(home().join("Cargo.lock"), project.join("Cargo.lock")).expect("a copy");
}

#[test]
#[ignore = "needs Node and builds a project: ./test book"]
fn the_instructions_of_getting_started_work() {
    let page = Page::read("getting-started");
    let address = free_address();
    let here = |text: String| text.replace("127.0.0.1:8080", &address);

    let (project, beside) = (fresh("my-chat"), beside_the_clone());
    follow(&page.block("## A project", "sh"), &beside);
    with_locked_versions(&project);
    fs::write(project.join("src/main.rs"), here(page.block("`src/main.rs`", "rust"))).expect("the program");
    // Built first, because the start of the program has a time limit.
    program::output(in_target(Command::new("cargo").arg("build")).current_dir(&project));
    let run = || Terminal::start(in_target(Command::new("cargo").arg("run")), &project);
    let mut server = run();
    server.prints(&here(page.block("cargo run\n", "text")));

    let client = fresh("my-client");
    fs::create_dir(&client).expect("a folder");
    follow(&page.block("## The client", "sh"), &client);
    fs::write(client.join("chat.mjs"), here(page.block("`chat.mjs`", "js"))).expect("the client");
    let person = |name: &str| {
        let command = page.block("`chat.mjs`", "sh").replace("ada", name);
        Terminal::start(Command::new("bash").args(["-c", &format!("exec {command}")]), &client)
    };
    let mut ada = person("ada");
    ada.prints("* you are in lobby");
    assert_eq!(ada.printed.join("\n"), page.block("node chat.mjs ada lobby", "text"));
    let mut bob = person("bob");
    bob.prints("* you are in lobby");
    bob.types("hello");
    ada.prints("bob: hello");
    ada.types("hi bob");
    bob.prints("ada: hi bob");
    bob.ends();
    ada.prints("* bob has gone");
    assert_eq!(ada.printed.join("\n"), page.block("has seen:", "text"));

    // "Stop the server with Ctrl-C while Ada is still there, and start it again."
    server.interrupt();
    let mut server = run();
    server.prints(&here(page.block("cargo run\n", "text")));
    ada.printed.clear();
    ada.prints("* you are in lobby");
    ada.ends();
    server.interrupt();
}

#[test]
#[ignore = "builds a project: ./test book"]
fn the_instructions_of_the_front_page_work() {
    let page = Page::read("readme");
    let (project, address) = (fresh("first"), free_address());
    follow(&page.block("## Install", "sh"), &beside_the_clone());
    with_locked_versions(&project);
    let code = page.block("## Install", "rust").replace("127.0.0.1:8080", &address);
    fs::write(project.join("src/main.rs"), code).expect("the program");
    program::output(in_target(Command::new("cargo").arg("build")).current_dir(&project));
    let mut cargo = Command::new("cargo");
    let server = program::Server::at(&address, in_target(cargo.arg("run")).current_dir(&project));
    let refused = program::get(&server.address, "/api/socket").expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 426 "), "{refused}");
}
