//! Conversations between a page's program and its clients, compared with the page.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::blocks::Block;
use crate::program::{self, Server};
use crate::{Page, home};

/// A folder for clients in which the published packages are found.
fn folder_for_clients() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let modules = home().join("e2e/clients/js/node_modules");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link to the client");
    folder
}

/// A client of a page, with what it prints there: a block of code and the block `text` behind it.
struct Conversation {
    page: String,
    client: Block,
    shown: Block,
}

impl Conversation {
    fn all() -> Vec<Conversation> {
        let mut all = Vec::new();
        for page in Page::all().into_iter().filter(|page| page.name != "getting-started") {
            let blocks = page.blocks();
            let pairs = blocks.windows(2).filter(|pair| is_client(&pair[0]) && pair[1].language == "text");
            all.extend(pairs.map(|pair| Conversation {
                page: page.name.clone(),
                client: pair[0].clone(),
                shown: pair[1].clone(),
            }));
        }
        all
    }

    /// Runs both, and returns an error if the output is not what the page shows.
    fn hold(&self, folder: &Path) -> Result<(), String> {
        let server = Server::start(Command::new(env!("CARGO_BIN_EXE_book")).arg(&self.page));
        self.hold_at(&server.address, folder)
    }

    /// Does the same with a server at this address.
    fn hold_at(&self, address: &str, folder: &Path) -> Result<(), String> {
        let code = self.client.code.replace("127.0.0.1:8080", address);
        let extension = match &*self.client.language {
            "js" => "mjs",
            "python" => "py",
            _ => "rs",
        };
        let file = folder.join(format!("{}-{}.{extension}", self.page, self.client.line));
        fs::write(&file, code).expect("a file for the client");
        let mut client = Command::new("timeout");
        match &*self.client.language {
            "js" => client.arg("60").arg("node").arg(&file),
            "python" => client.arg("60").arg(home().join("e2e/clients/python/.venv/bin/python")).arg(&file),
            _ => client
                .arg("600")
                .args(["cargo", "run", "--quiet", "--locked", "--example", "page", "--manifest-path"])
                .arg(home().join("e2e/clients/rust/Cargo.toml"))
                .env("BOOK_CLIENT", &file),
        };
        let printed = program::output(&mut client);
        if printed.trim_end() == self.shown.code.trim_end() {
            return Ok(());
        }
        Err(format!("docs/{}.md:{}: it is\n{printed}\nand not\n{}\n", self.page, self.shown.line, self.shown.code))
    }
}

fn is_client(block: &Block) -> bool {
    ["js", "python", "rust,client"].contains(&&*block.language)
}

#[test]
#[ignore = "needs Node and the published clients: ./test book"]
fn clients_print_what_the_pages_show() {
    let folder = folder_for_clients();
    let conversations = Conversation::all();
    assert!(conversations.len() >= 8, "only {} conversations", conversations.len());
    let mut wrong = Vec::new();
    // A few at a time: each is a server and a client.
    for some in conversations.chunks(4) {
        thread::scope(|scope| {
            let talks: Vec<_> = some.iter().map(|one| scope.spawn(|| one.hold(folder.path()))).collect();
            wrong.extend(talks.into_iter().filter_map(|talk| talk.join().expect("a conversation").err()));
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// The way through Caddy, with the configuration of `ops/`.
#[test]
#[ignore = "needs Caddy and Node: ./test book"]
fn clients_come_through_caddy_as_it_is_configured() {
    let folder = folder_for_clients();
    let server = Server::start(Command::new(env!("CARGO_BIN_EXE_book")).arg("clients"));
    let address = program::free_address();
    let config = fs::read_to_string(home().join("ops/caddy/Caddyfile")).expect("the configuration");
    let config = config
        .replace("chat.example.com", &format!("http://{address}"))
        .replace("10.0.0.11:8080 10.0.0.12:8080", &server.address);
    assert!(
        config.contains(&address) && config.contains(&server.address),
        "the configuration has other places to fill in"
    );
    let file = folder.path().join("Caddyfile");
    fs::write(&file, format!("{{\n\tadmin off\n}}\n{config}")).expect("the configuration");
    let mut caddy = Command::new("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("HOME", folder.path());
    let caddy = Server::at(&address, caddy.stderr(std::process::Stdio::null()));
    let mut tried = 0;
    for one in Conversation::all().iter().filter(|one| one.page == "clients" && one.client.language == "js") {
        one.hold_at(&caddy.address, folder.path()).unwrap_or_else(|wrong| panic!("through Caddy, {wrong}"));
        tried += 1;
    }
    assert!(tried >= 3, "a WebSocket, an event stream, and one by hand");
    for inside in ["/health", "/ready", "/metrics"] {
        let answer = program::get(&caddy.address, inside).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{inside}: {answer}");
    }
}
