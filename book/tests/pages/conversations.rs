//! The output of the clients of a page's program, compared with the page.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::blocks::Block;
use crate::program::{self, Server};
use crate::{Page, home};

/// A folder for clients that has the published packages.
fn folder_for_clients() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let modules = home().join("e2e/clients/js/node_modules");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link to the client");
    folder
}

/// A client of a page and its output: a block of code and the block `text` that follows it.
struct Conversation {
    page: String,
    client: Block,
    output: Block,
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
                output: pair[1].clone(),
            }));
        }
        all
    }

    /// Runs the program and the client. Returns an error if the output differs from that of the page.
    fn check(&self, folder: &Path) -> Result<(), String> {
        let server = Server::start(Command::new(env!("CARGO_BIN_EXE_book")).arg(&self.page));
        self.check_at(&server.address, folder)
    }

    /// Runs the client with the server at this address, and compares the output.
    fn check_at(&self, address: &str, folder: &Path) -> Result<(), String> {
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
        if printed.trim_end() == self.output.code.trim_end() {
            return Ok(());
        }
        Err(format!(
            "docs/{}.md:{}: the output is\n{printed}\ninstead of\n{}\n",
            self.page, self.output.line, self.output.code
        ))
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
    // Four at a time: each is a server and a client.
    for part in conversations.chunks(4) {
        thread::scope(|scope| {
            let checks: Vec<_> = part.iter().map(|one| scope.spawn(|| one.check(folder.path()))).collect();
            wrong.extend(checks.into_iter().filter_map(|check| check.join().expect("a conversation").err()));
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// The same through Caddy, with the configuration of `ops/`.
#[test]
#[ignore = "needs Caddy and Node: ./test book"]
fn clients_connect_through_caddy_with_its_configuration() {
    let folder = folder_for_clients();
    let server = Server::start(Command::new(env!("CARGO_BIN_EXE_book")).arg("clients"));
    let address = program::free_address();
    let config = fs::read_to_string(home().join("ops/caddy/Caddyfile")).expect("the configuration");
    let config = config
        .replace("chat.example.com", &format!("http://{address}"))
        .replace("10.0.0.11:8080 10.0.0.12:8080", &server.address);
    assert!(
        config.contains(&address) && config.contains(&server.address),
        "the configuration has other addresses than those replaced here"
    );
    let file = folder.path().join("Caddyfile");
    fs::write(&file, format!("{{\n\tadmin off\n}}\n{config}")).expect("the configuration");
    let mut caddy = Command::new("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("HOME", folder.path());
    let caddy = Server::at(&address, caddy.stderr(std::process::Stdio::null()));
    let mut count = 0;
    for one in Conversation::all().iter().filter(|one| one.page == "clients" && one.client.language == "js") {
        one.check_at(&caddy.address, folder.path()).unwrap_or_else(|wrong| panic!("through Caddy, {wrong}"));
        count += 1;
    }
    assert!(count >= 3, "a WebSocket, an event stream, and a client without a library");
    for path in ["/health", "/ready", "/metrics"] {
        let answer = program::get(&caddy.address, path).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
}
