//! The minimum that carries a message over Redis to a client of another process: the `redis` crate, used as its documentation
//! shows, and a TCP connection for each client. Messages that a client sends together are one pipeline, and messages that Redis
//! delivers together are one write to a client. Nothing is parsed, checked, counted or bounded.
//!
//! Two of these processes carry the load of two nodes. The runner sets the bytes around each payload on the bus, which are those of
//! a node. It is a reference for measurements and no server: it trusts its clients, and each channel has one client on each process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use anyhow::{Context, Result};
use bench::wire::server::{self as wire, ClientRequest};
use futures_util::{FutureExt, StreamExt};
use redis::Msg;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// The most messages that are delivered together.
const CHUNK: usize = 256;

struct Node {
    redis: MultiplexedConnection,
    subscriptions: PubSubSink,
    /// The client that has joined a topic.
    clients: RefCell<HashMap<String, Rc<TcpStream>>>,
    frame: MessageFrame,
}

/// The bytes around the payload of a message on the bus.
struct MessageFrame {
    head: String,
    payload: usize,
    tail: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    LocalSet::new().run_until(run()).await
}

async fn run() -> Result<()> {
    let client = redis::Client::open(variable("REDIS_URL")?)?;
    let redis = client.get_multiplexed_async_connection().await?;
    let (subscriptions, messages) = client.get_async_pubsub().await?.split();
    let frame =
        MessageFrame { head: variable("HEAD")?, payload: variable("PAYLOAD")?.parse()?, tail: variable("TAIL")? };
    let node = Rc::new(Node { redis, subscriptions, clients: RefCell::default(), frame });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?.port());
    spawn_local(deliver(node.clone(), messages));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn_local(serve(node.clone(), Rc::new(stream)));
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// Publishes the messages of a client until it disconnects.
async fn serve(node: Rc<Node>, stream: Rc<TcpStream>) -> Result<()> {
    let mut redis = node.redis.clone();
    let (mut received, mut topic) = (Vec::new(), String::new());
    while !wire::is_request(&received) {
        read(&stream, &mut received).await?;
    }
    received.clear();
    write(&stream, &wire::upgraded()).await?;
    loop {
        let (mut at, mut pipe) = (0, redis::pipe());
        while let Some((request, len)) = wire::parse_request(&received[at..]) {
            at += len;
            match request {
                Some(ClientRequest::Join(channel)) => {
                    topic = format!("pondsocket:v1:default:api/socket:{channel}");
                    node.clients.borrow_mut().insert(topic.clone(), stream.clone());
                    node.subscriptions.clone().subscribe(&topic).await?;
                    write(&stream, &wire::joined()).await?;
                }
                Some(ClientRequest::Publish(said) | ClientRequest::Echo(said)) => {
                    pipe.publish(&topic, node.frame.around(said)).ignore();
                }
                Some(ClientRequest::Close) => return Ok(()),
                None => {}
            }
        }
        received.drain(..at);
        if !pipe.is_empty() {
            pipe.exec_async(&mut redis).await?;
        }
        read(&stream, &mut received).await?;
    }
}

/// Delivers the messages of other processes.
async fn deliver(node: Rc<Node>, mut messages: PubSubStream) -> Result<()> {
    let mut chunk: Vec<Msg> = Vec::new();
    while let Some(first) = messages.next().await {
        chunk.clear();
        chunk.push(first);
        while chunk.len() < CHUNK
            && let Some(Some(message)) = messages.next().now_or_never()
        {
            chunk.push(message);
        }
        let mut frames: HashMap<&str, Vec<u8>> = HashMap::new();
        for message in &chunk {
            if let Some(payload) = node.frame.inside(message.get_payload_bytes()) {
                frames.entry(message.get_channel_name()).or_default().extend(wire::text(payload));
            }
        }
        for (topic, frames) in frames {
            let client = node.clients.borrow().get(topic).cloned();
            if let Some(client) = client {
                write(&client, &frames).await?;
            }
        }
    }
    Ok(())
}

impl MessageFrame {
    /// The message on the bus with the payload of a client's message, which ends with it.
    fn around(&self, said: &[u8]) -> Vec<u8> {
        let payload = &said[said.len() - 1 - self.payload..said.len() - 1];
        [self.head.as_bytes(), payload, self.tail.as_bytes()].concat()
    }

    /// The payload of a message on the bus, unless this process has published it.
    fn inside<'a>(&self, message: &'a [u8]) -> Option<&'a [u8]> {
        (!message.starts_with(self.head.as_bytes())).then(|| &message[self.head.len()..][..self.payload])
    }
}

async fn read(stream: &TcpStream, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        stream.readable().await?;
        into.reserve(65536);
        match stream.try_read_buf(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done.map(drop),
        }
    }
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
