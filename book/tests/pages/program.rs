//! Running programs of a page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for a program, in a busy environment.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server with an address of its own. Its drop kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Runs a command that listens on `BOOK_ADDRESS`, and waits until it answers.
    pub(crate) fn start(command: &mut Command) -> Server {
        Server::at(&free_address(), command)
    }

    /// Runs a command that listens on this address, and waits until it answers.
    pub(crate) fn at(address: &str, command: &mut Command) -> Server {
        let command = command.env("BOOK_ADDRESS", address).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Server { child, address: address.to_owned() };
        let deadline = Instant::now() + TIMEOUT;
        while !answers(address) {
            assert!(server.child.try_wait().expect("a child").is_none(), "{command:?} has ended");
            assert!(Instant::now() < deadline, "{command:?} does not answer at {address}");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Sends SIGTERM, and waits for a successful end.
    pub(crate) fn terminate(&mut self) {
        signal(&self.child, "TERM");
        assert!(self.child.wait().expect("a child").success());
    }
}

fn signal(child: &Child, name: &str) {
    output(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]));
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on which no process listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

fn answers(address: &str) -> bool {
    get(address, "/health").is_ok_and(|answer| answer.starts_with("HTTP/1.1 "))
}

/// The response to a `GET` request, head and body.
pub(crate) fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Runs a command to its end, which must be successful, and returns its output.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// A program with lines of input and output.
pub(crate) struct Terminal {
    child: Child,
    lines: Receiver<String>,
    pub(crate) printed: Vec<String>,
}

impl Terminal {
    pub(crate) fn start(command: &mut Command, folder: &Path) -> Terminal {
        let command = command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Terminal { child, lines, printed: Vec::new() }
    }

    pub(crate) fn types(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().expect("it is open"), "{line}").expect("it reads");
    }

    /// Waits until it has printed this line.
    pub(crate) fn prints(&mut self, line: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while self.printed.last().is_none_or(|last| last != line) {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = self.lines.recv_timeout(left);
            self.printed.push(next.unwrap_or_else(|_| panic!("{line:?} was not printed: {:?}", self.printed)));
        }
    }

    /// Sends SIGINT, and waits for its end.
    pub(crate) fn interrupt(mut self) {
        signal(&self.child, "INT");
        self.child.wait().expect("a child");
    }

    /// Closes its input, and waits for a successful end.
    pub(crate) fn ends(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
