//! One of the programs, for as long as one test runs.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Request, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::DEADLINE;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The pond lets its clients go within five seconds.
const STOP: Duration = Duration::from_secs(20);

/// Killed when it is dropped.
pub(crate) struct Host {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Host {
    /// Starts a program on a free port, and waits until it listens.
    pub(crate) async fn start(program: &str) -> Host {
        let mut command = Command::new(program);
        command.env("PORT", "0").stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let address = timeout(DEADLINE, async {
            loop {
                let line = output.next_line().await.expect("text").expect("it says where it listens");
                if let Some(address) = line.strip_prefix("listening ") {
                    return address.parse().expect("an address");
                }
            }
        });
        let address = address.await.expect("it listens in time");
        // The host would block on its log if the rest of it were not read.
        tokio::spawn(async move { while let Ok(Some(_)) = output.next_line().await {} });
        Host { process, address }
    }

    /// Sends one half of the head of a request; the rest never comes.
    pub(crate) async fn send_half_a_request(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(b"GET /messages HTTP/1.1\r\nHost: a.example\r\n").await.expect("it reads");
        stream
    }

    /// Its answer to `GET path`: the status and the body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let asked = Request::get(path).header("accept-encoding", "identity").body(String::new()).expect("a request");
        text(testkit::request(self.address, asked).await).await
    }

    /// The messages that its database has.
    pub(crate) async fn messages(&self) -> Value {
        let (status, body) = self.get("/messages").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Asks it to stop, as an operator does.
    pub(crate) fn terminate(&self) {
        let id = self.process.id().expect("it runs");
        let pid = Pid::from_raw(id.try_into().expect("as the kernel counts")).expect("not 0");
        kill_process(pid, Signal::TERM).expect("it is there to be told");
    }

    /// Its exit status, when it has ended.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        timeout(STOP, self.process.wait()).await.expect("it ends in time").expect("it is our child").code()
    }
}

async fn text(answer: Response<hyper::body::Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}
