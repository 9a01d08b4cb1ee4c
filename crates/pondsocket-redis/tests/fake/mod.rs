//! A server with the part of Redis' protocol that the bus uses, which misbehaves as a test defines.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pondsocket_redis::RedisOptions;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A server that listens until it is dropped, and then closes all connections.
pub(crate) struct Fake {
    port: u16,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    rule: Box<dyn Fn(&Call) -> Act + Send + Sync>,
    /// The subscribed connections by topic.
    listeners: Mutex<HashMap<String, Vec<(usize, Writer)>>>,
    connections: AtomicUsize,
}

/// One command of a client.
pub(crate) struct Call {
    /// The number of the connection, from 1.
    pub(crate) connection: usize,
    pub(crate) words: Vec<String>,
}

/// The server's reaction to a command.
pub(crate) enum Act {
    /// The answer that Redis would give.
    Normal,
    /// These bytes instead.
    Say(String),
    /// These bytes, and then the answer of Redis.
    SayFirst(String),
    /// Nothing at all.
    Silent,
    /// These bytes, and then the connection is closed.
    Cut(String),
}

type Writer = mpsc::UnboundedSender<Option<String>>;

impl Call {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.words[0].eq_ignore_ascii_case(name)
    }

    /// Returns `true` if one of the command's arguments is `word`.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.words[1..].iter().any(|it| it == word)
    }
}

impl Fake {
    pub(crate) async fn start(rule: impl Fn(&Call) -> Act + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (listeners, connections) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { rule: Box::new(rule), listeners, connections });
        let mut tasks = JoinSet::new();
        let of_server = shared.clone();
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, number) = (of_server.clone(), of_server.connections.fetch_add(1, Ordering::SeqCst) + 1);
                clients.spawn(async move {
                    // The end of a client is no fault of the server.
                    let _ = serve(shared.clone(), stream, number).await;
                    shared.listeners().values_mut().for_each(|of_topic| of_topic.retain(|(it, _)| *it != number));
                });
            }
        });
        Fake { port, shared, _tasks: tasks }
    }

    /// Options with short timeouts, so that tests are short.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::default().port(self.port).probe_interval(Duration::from_millis(400))
    }

    /// Sends bytes to all subscribers of a topic.
    pub(crate) fn publish_raw(&self, topic: &str, bytes: &str) {
        for (_, writer) in self.shared.listeners().get(topic).into_iter().flatten() {
            let _ = writer.send(Some(bytes.into()));
        }
    }

    /// Sends bytes to all subscribers of a topic, and closes their connections.
    pub(crate) fn cut(&self, topic: &str, bytes: &str) {
        self.publish_raw(topic, bytes);
        for (_, writer) in self.shared.listeners().get(topic).into_iter().flatten() {
            let _ = writer.send(None);
        }
    }
}

impl Shared {
    fn listeners(&self) -> MutexGuard<'_, HashMap<String, Vec<(usize, Writer)>>> {
        self.listeners.lock().expect("no panic")
    }
}

pub(crate) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

pub(crate) fn message(topic: &str, data: &str) -> String {
    format!("*3\r\n{}{}{}", bulk("message"), bulk(topic), bulk(data))
}

pub(crate) fn confirmation(kind: &str, topic: &str) -> String {
    format!("*3\r\n{}{}:1\r\n", bulk(kind), bulk(topic))
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, connection: usize) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let (replies, mut queue) = mpsc::unbounded_channel::<Option<String>>();
    let mut reader = BufReader::new(reader);
    let write = async move {
        while let Some(Some(bytes)) = queue.recv().await {
            writer.write_all(bytes.as_bytes()).await?;
        }
        writer.shutdown().await
    };
    let read = async {
        loop {
            let call = Call { connection, words: command(&mut reader).await? };
            let say = |bytes: String| drop(replies.send(Some(bytes)));
            match (shared.rule)(&call) {
                Act::Normal => normal(&shared, &call, &replies),
                Act::Say(bytes) => say(bytes),
                Act::SayFirst(bytes) => {
                    say(bytes);
                    normal(&shared, &call, &replies);
                }
                Act::Silent => {}
                Act::Cut(bytes) => {
                    say(bytes);
                    drop(replies.send(None));
                    std::future::pending::<()>().await;
                }
            }
        }
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
    }
}

fn normal(shared: &Shared, call: &Call, replies: &Writer) {
    let say = |bytes: String| drop(replies.send(Some(bytes)));
    let words: Vec<_> = call.words.iter().map(String::as_str).collect();
    match *words {
        ["PING"] => say("+PONG\r\n".into()),
        ["PUBLISH", topic, data] => {
            let listeners = shared.listeners();
            let of_topic = listeners.get(topic).map_or(&[][..], |of_topic| of_topic);
            of_topic.iter().for_each(|(_, writer)| drop(writer.send(Some(message(topic, data)))));
            say(format!(":{}\r\n", of_topic.len()));
        }
        ["SUBSCRIBE", ref topics @ ..] => {
            for topic in topics {
                let mut listeners = shared.listeners();
                listeners.entry((*topic).to_owned()).or_default().push((call.connection, replies.clone()));
                say(confirmation("subscribe", topic));
            }
        }
        ["UNSUBSCRIBE", ref topics @ ..] => {
            for topic in topics {
                let mut listeners = shared.listeners();
                listeners.entry((*topic).to_owned()).or_default().retain(|(it, _)| *it != call.connection);
                say(confirmation("unsubscribe", topic));
            }
        }
        ["EVALSHA" | "EVAL", ..] => say(format!("*3\r\n:0\r\n*0\r\n*1\r\n{}", bulk(words[5]))),
        _ => say("-ERR unknown command\r\n".into()),
    }
}

async fn command(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Vec<String>> {
    let count = number(reader, '*').await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(reader, '$').await? + 2];
        reader.read_exact(&mut word).await?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).map_err(io::Error::other)?);
    }
    Ok(words)
}

async fn number(reader: &mut (impl AsyncBufReadExt + Unpin), sign: char) -> io::Result<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let number = line.trim_end().strip_prefix(sign).ok_or(io::ErrorKind::UnexpectedEof)?;
    number.parse().map_err(io::Error::other)
}
