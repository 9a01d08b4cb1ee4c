//! The published clients, each kind in a process of its own that follows rooms and prints what the clients receive.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::log::{At, Entry, Log, Recovery};
use crate::reader::{Kind, number};

/// A client: its log, its address, its room and the key of its session.
pub(crate) struct Follower {
    pub(crate) log: Arc<Log>,
    pub(crate) address: String,
    pub(crate) room: String,
    pub(crate) session: String,
}

impl Follower {
    fn description(&self) -> Value {
        let Follower { log, address, room, session } = self;
        let scheme = if log.kind == Kind::Stream { "http" } else { "ws" };
        let resumes = !log.kind.resumes_by_session();
        let url = format!("{scheme}://{address}/api/socket");
        json!({ "name": log.name, "url": url, "room": room, "session": session, "resumes": resumes })
    }
}

/// A process with clients. Its drop kills it.
#[derive(Debug)]
pub(crate) struct Followers {
    _process: Child,
    reading: JoinHandle<()>,
}

impl Followers {
    /// Starts the processes for these clients.
    pub(crate) async fn start(clients: Vec<Follower>) -> Vec<Followers> {
        let mut by_program: HashMap<Program, Vec<Follower>> = HashMap::new();
        for client in clients {
            by_program.entry(Program::of(client.log.kind)).or_default().push(client);
        }
        let mut started = Vec::new();
        for (program, clients) in by_program {
            started.push(Followers::run(program.command(), clients).await);
        }
        started
    }

    async fn run(mut program: Command, clients: Vec<Follower>) -> Followers {
        let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = program.spawn().expect("the published clients are installed: ./test nothing_lost");
        let descriptions: Vec<_> = clients.iter().map(Follower::description).collect();
        let mut input = process.stdin.take().expect("it is piped");
        input.write_all(json!(descriptions).to_string().as_bytes()).await.expect("it reads");
        drop(input);
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let logs: HashMap<_, _> = clients.into_iter().map(|it| (it.log.name.clone(), it.log)).collect();
        let reading = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.expect("text") {
                let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                if let Some(entry) = entry(&line) {
                    logs[line["client"].as_str().expect("a name")].push(entry);
                }
            }
        });
        Followers { _process: process, reading }
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Program {
    JavaScript,
    Python,
    Rust,
}

impl Program {
    fn of(kind: Kind) -> Program {
        match kind {
            Kind::Python => Program::Python,
            Kind::Rust => Program::Rust,
            _ => Program::JavaScript,
        }
    }

    fn command(self) -> Command {
        match self {
            Program::JavaScript => {
                let mut node = Command::new("node");
                node.arg("../clients/js/support/follow.mjs");
                node
            }
            Program::Python => {
                let mut python = Command::new(".venv/bin/python");
                python.args(["-B", "-m", "support.follow"]).current_dir("../clients/python");
                python
            }
            Program::Rust => {
                let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
                Command::new(target.unwrap_or("../clients/rust/target".into()).join("debug/follow"))
            }
        }
    }
}

/// The entry of a line; `None` for a remark.
fn entry(line: &Value) -> Option<Entry> {
    let at = line["position"].as_str().and_then(At::read);
    let gap = line["gap"].as_str().map(str::to_owned);
    if !line["n"].is_null() {
        return Some(Entry::Message { at, number: number(&line["n"]) });
    }
    if let Some(recovery) = line["recovery"].as_str() {
        let may_repeat = line["may_repeat"].as_u64().unwrap_or_default();
        return Some(Entry::Joined(match recovery {
            "resumed" => Recovery::Resumed { may_repeat },
            "gap" => Recovery::Gap(gap.unwrap_or_default()),
            _ => Recovery::New,
        }));
    }
    if let Some(events) = line["lagged"].as_u64() {
        return Some(Entry::Lagged(events));
    }
    if line["lost"] == true {
        return Some(Entry::Lost);
    }
    if let Some(who) = line["who"].as_str() {
        let change = line["presence"].as_str().unwrap_or_default().to_owned();
        return Some(Entry::Presence { change, who: who.to_owned() });
    }
    (line["again"] != true).then_some(Entry::Told { at, gap })
}
