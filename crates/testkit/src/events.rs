use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pondsocket_proto::wire::strict;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::DEADLINE;
use crate::peer::stream_from;

/// A raw client of an event stream. It checks that everything it receives is accepted by the strictest client, and
/// consists of unnamed events of one line of data, and comments.
#[derive(Debug)]
pub struct EventPeer {
    /// The head of the answer that is the stream.
    pub head: Parts,
    /// The id that the server has sent: the secret that the client's requests carry.
    pub id: String,
    /// The id of the last event that had one, as an `EventSource` remembers it.
    pub last_event: Option<String>,
    /// The number of comments received.
    pub comments: usize,
    /// The address of this machine that the requests are sent from; `None` for the system's choice.
    pub source: Option<IpAddr>,
    address: SocketAddr,
    path: String,
    body: Incoming,
    buffer: Vec<u8>,
    sent: u64,
    /// Kept, because the connection of the stream is closed when it is dropped.
    _sender: SendRequest<Full<Bytes>>,
}

impl EventPeer {
    /// Opens a stream at `path` (with its query) and reads the CONNECTION message.
    pub async fn connect(address: SocketAddr, path: &str) -> EventPeer {
        EventPeer::over(TcpStream::connect(address).await.expect("it listens"), address, path).await
    }

    /// Opens a stream as an `EventSource` does that has received an event with this id on an earlier stream.
    pub async fn connect_after(address: SocketAddr, path: &str, last_event: &str) -> EventPeer {
        let stream = TcpStream::connect(address).await.expect("it listens");
        EventPeer::over_after(stream, address, path, Some(last_event)).await
    }

    /// Opens a stream from another address of this machine, such as 127.0.0.2. The requests are sent from there, too.
    pub async fn connect_from(source: IpAddr, address: SocketAddr, path: &str) -> EventPeer {
        let peer = EventPeer::over(stream_from(source, address).await, address, path).await;
        EventPeer { source: Some(source), ..peer }
    }

    /// Opens a stream with a receive buffer of this size: a client that does not read soon blocks the server's writes.
    pub async fn connect_narrow(address: SocketAddr, path: &str, receive_buffer: u32) -> EventPeer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(receive_buffer).expect("any size is possible");
        EventPeer::over(socket.connect(address).await.expect("it listens"), address, path).await
    }

    async fn over(stream: TcpStream, address: SocketAddr, path: &str) -> EventPeer {
        EventPeer::over_after(stream, address, path, None).await
    }

    async fn over_after(stream: TcpStream, address: SocketAddr, path: &str, last_event: Option<&str>) -> EventPeer {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        // The request asks for an event stream by `Accept` alone, as a browser's `EventSource` does.
        let mut request = Request::get(path).header(HOST, "x").header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event {
            request = request.header("last-event-id", id);
        }
        let answer = sender.send_request(request.body(Full::default()).expect("a request")).await.expect("an answer");
        let (head, body) = answer.into_parts();
        assert_eq!(head.status, StatusCode::OK, "{head:?}");
        let (path, buffer) = (path.to_owned(), Vec::new());
        let mut peer = EventPeer {
            head,
            id: String::new(),
            last_event: last_event.map(str::to_owned),
            comments: 0,
            source: None,
            address,
            path,
            body,
            buffer,
            sent: 0,
            _sender: sender,
        };
        let first = peer.next().await;
        assert_eq!((&first["action"], &first["event"]), (&json!("CONNECT"), &json!("CONNECTION")), "the first message");
        peer.id = first["payload"]["connectionId"].as_str().expect("an id").to_owned();
        peer
    }

    /// Makes a request for the stream.
    pub async fn ask(&self, method: Method, body: impl Into<Bytes>) -> Response<Incoming> {
        let request = Request::builder().method(method).uri(&self.path).header("x-connection-id", &self.id);
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body.into()));
        // Each request has a connection of its own, because the one of the stream is in use until the stream ends.
        request_over(self.stream().await, request.expect("a request")).await
    }

    async fn stream(&self) -> TcpStream {
        match self.source {
            Some(source) => stream_from(source, self.address).await,
            None => TcpStream::connect(self.address).await.expect("it listens"),
        }
    }

    /// Sends any text as a message. Returns the status.
    pub async fn text(&self, text: &str) -> StatusCode {
        self.ask(Method::POST, text.to_owned()).await.status()
    }

    /// Sends a message, which must be accepted. Returns its request id.
    pub async fn send(&mut self, action: &str, event: &str, channel: &str, payload: Value) -> String {
        self.sent += 1;
        let id = format!("q{}", self.sent);
        let message =
            json!({ "action": action, "event": event, "channelName": channel, "requestId": id, "payload": payload });
        assert_eq!(self.text(&message.to_string()).await, StatusCode::ACCEPTED);
        id
    }

    /// Sends a message of the application.
    pub async fn event(&mut self, channel: &str, event: &str, payload: Value) -> String {
        self.send("BROADCAST", event, channel, payload).await
    }

    /// Asks to join and waits for the acknowledgement.
    pub async fn join(&mut self, channel: &str, payload: Value) {
        let id = self.send("JOIN_CHANNEL", "JOIN_CHANNEL", channel, payload).await;
        let answer = self.next().await;
        assert_eq!((&answer["event"], &answer["requestId"]), (&json!("ACKNOWLEDGE"), &json!(id)), "{answer}");
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        let text = self.read().await.expect("a message, and not the end of the stream");
        serde_json::from_str(&text).expect("checked")
    }

    /// The next message with this event name; those before it are dropped.
    pub async fn until(&mut self, event: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["event"] == event {
                return message;
            }
        }
    }

    /// Reads to the end of the stream, which must be orderly. Returns the messages before it.
    pub async fn ended(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(text) = self.read().await {
            messages.push(serde_json::from_str(&text).expect("checked"));
        }
        messages
    }

    /// Waits for a comment.
    pub async fn comment(&mut self) {
        let before = self.comments;
        while self.comments == before {
            if !self.take_comment() {
                assert!(self.receive().await, "the end of the stream, and no comment");
            }
        }
    }

    /// The text of the next message, after a check that a strict client accepts it; `None` at the end of the stream.
    async fn read(&mut self) -> Option<String> {
        let text = self.frame().await?;
        strict::check(&text).unwrap_or_else(|fault| panic!("a client would reject {text}: {fault}"));
        Some(text)
    }

    /// The text of the next message, without a check; `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<String> {
        loop {
            // Comments may come before any event, and belong to none.
            while self.take_comment() {}
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..at + 2).collect();
                let mut event = String::from_utf8(event).expect("UTF-8");
                if let Some((id, rest)) = event.strip_prefix("id: ").and_then(|event| event.split_once('\n')) {
                    self.last_event = Some(id.to_owned());
                    event = rest.to_owned();
                }
                let text = event.strip_prefix("data: ").unwrap_or_else(|| panic!("no unnamed event: {event:?}"));
                return Some(text.trim_end_matches('\n').to_owned());
            }
            if !self.receive().await {
                assert!(self.buffer.is_empty(), "half an event: {:?}", self.buffer);
                return None;
            }
        }
    }

    fn take_comment(&mut self) -> bool {
        let is_one = self.buffer.starts_with(b": keepalive\n\n");
        if is_one {
            self.buffer.drain(..b": keepalive\n\n".len());
            self.comments += 1;
        }
        is_one
    }

    /// Reads more of the stream. Returns `false` at its end.
    async fn receive(&mut self) -> bool {
        let frame = timeout(DEADLINE, self.body.frame()).await.expect("something within the deadline");
        let Some(frame) = frame else { return false };
        self.buffer.extend_from_slice(frame.expect("no broken stream").data_ref().expect("no trailers"));
        true
    }
}

/// Makes a request over a connection of its own.
pub async fn request(address: SocketAddr, request: Request<String>) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    request_over(stream, request.map(|text| Full::new(text.into()))).await
}

/// Makes a request from another address of this machine, such as 127.0.0.2.
pub async fn request_from(source: IpAddr, address: SocketAddr, request: Request<String>) -> Response<Incoming> {
    request_over(stream_from(source, address).await, request.map(|text| Full::new(text.into()))).await
}

async fn request_over(stream: TcpStream, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, "x".parse().expect("a host"));
    timeout(DEADLINE, sender.send_request(request)).await.expect("an answer within the deadline").expect("an answer")
}
