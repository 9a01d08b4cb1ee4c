//! A server on a free port, and raw clients of its WebSockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use pondsocket::{PondSocket, Server, ServerOptions};
use pondsocket_proto::wire::strict;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
pub use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::DEADLINE;

/// Serves a pond on a free port of 127.0.0.1 for as long as the server is kept.
pub async fn serve(pond: &PondSocket) -> (Server, SocketAddr) {
    serve_with(pond, ServerOptions::default()).await
}

/// Serves a pond on a free port with these options.
pub async fn serve_with(pond: &PondSocket, options: ServerOptions) -> (Server, SocketAddr) {
    let mut server = Server::with_options(pond.clone(), options).expect("valid options");
    // Port 0: the system chooses a free port, so tests can run side by side.
    server.start("127.0.0.1:0").await.expect("a free port");
    let address = server.local_addr().expect("it runs");
    (server, address)
}

/// Serves one client of a pond over an in-memory stream that holds `capacity` bytes in each direction. No kernel
/// buffers anything, so a client that does not read blocks the server's writes at once, also with the clock paused.
pub fn serve_in_memory(pond: &PondSocket, capacity: usize) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(capacity);
    let service = pond.service();
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |request| {
            let mut service = service.clone();
            tower_service::Service::call(&mut service, request)
        });
        let http = hyper::server::conn::http1::Builder::new();
        http.serve_connection(TokioIo::new(theirs), service).with_upgrades().await
    });
    ours
}

/// Connects to `path` over an in-memory stream.
pub async fn connect_in_memory(pond: &PondSocket, path: &str, capacity: usize) -> WebSocketStream<DuplexStream> {
    let stream = serve_in_memory(pond, capacity);
    client_async(format!("ws://localhost{path}"), stream).await.expect("the server lets us in").0
}

/// A connection from another address of this machine: on Linux all addresses that begin with 127 are.
pub(crate) async fn stream_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((source, 0).into()).expect("an address of this machine");
    socket.connect(address).await.expect("it listens")
}

/// A raw client. It checks that the strictest client would accept every text that it receives.
#[derive(Debug)]
pub struct Peer {
    /// The WebSocket, for tests of what no proper client does.
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The id that the server gave to the connection.
    pub id: String,
    sent: u64,
}

impl Peer {
    /// Connects to `path` (with its query) and reads the CONNECTION message.
    pub async fn connect(address: SocketAddr, path: &str) -> Peer {
        let mut peer = Peer::connect_silently(address, path).await;
        peer.read_connection_message().await;
        peer
    }

    /// Connects from another address of this machine, such as 127.0.0.2.
    pub async fn connect_from(source: IpAddr, address: SocketAddr, path: &str) -> Peer {
        let stream = MaybeTlsStream::Plain(stream_from(source, address).await);
        let socket = client_async(format!("ws://{address}{path}"), stream).await.expect("the server lets us in").0;
        Peer::over(socket).await
    }

    /// Takes over a WebSocket that was opened in some other way, and reads the CONNECTION message.
    pub async fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Peer {
        let mut peer = Peer { socket, id: String::new(), sent: 0 };
        peer.read_connection_message().await;
        peer
    }

    async fn read_connection_message(&mut self) {
        let first = self.next().await;
        assert_eq!((&first["action"], &first["event"]), (&json!("CONNECT"), &json!("CONNECTION")), "the first message");
        self.id = first["payload"]["connectionId"].as_str().expect("an id").to_owned();
    }

    /// Connects without reading anything.
    pub async fn connect_silently(address: SocketAddr, path: &str) -> Peer {
        let socket = connect_async(format!("ws://{address}{path}")).await.expect("the server lets us in").0;
        Peer { socket, id: String::new(), sent: 0 }
    }

    /// Connects like [`connect`](Self::connect), with a receive buffer of this size: a client that does not read soon
    /// blocks the server's writes.
    pub async fn connect_narrow(address: SocketAddr, path: &str, receive_buffer: u32) -> Peer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(receive_buffer).expect("any size is possible");
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.expect("the server listens"));
        let socket = client_async(format!("ws://{address}{path}"), stream).await.expect("the server lets us in").0;
        Peer::over(socket).await
    }

    /// Connects, which must be refused. Returns the status and the body.
    pub async fn refused(address: SocketAddr, path: &str) -> (u16, String) {
        match connect_async(format!("ws://{address}{path}")).await {
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                (response.status().as_u16(), String::from_utf8_lossy(&body).into_owned())
            }
            other => panic!("not refused over HTTP: {other:?}"),
        }
    }

    /// Sends a message. Returns its request id.
    pub async fn send(&mut self, action: &str, event: &str, channel: &str, payload: Value) -> String {
        self.sent += 1;
        let id = format!("q{}", self.sent);
        let message =
            json!({ "action": action, "event": event, "channelName": channel, "requestId": id, "payload": payload });
        self.text(&message.to_string()).await;
        id
    }

    /// Sends a message of the application without content, under this request id.
    pub async fn send_as(&mut self, channel: &str, event: &str, id: &str) {
        let message =
            json!({ "action": "BROADCAST", "event": event, "channelName": channel, "requestId": id, "payload": {} });
        self.text(&message.to_string()).await;
    }

    /// Sends a message as [`send_as`](Self::send_as) does, and returns the next one, which must be its answer.
    pub async fn ask_as(&mut self, channel: &str, event: &str, id: &str) -> Value {
        self.send_as(channel, event, id).await;
        let answer = self.next().await;
        assert_eq!(answer["requestId"], json!(id), "{answer}");
        answer
    }

    /// Sends any text.
    pub async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the server reads");
    }

    /// Sends one fragment of a text message (RFC 6455 section 5.4), masked with zeros, and so not changed by it.
    pub async fn fragment(&mut self, part: &[u8], first: bool, last: bool) {
        let mut frame = vec![u8::from(first) | if last { 0x80 } else { 0 }];
        match u8::try_from(part.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length),
            _ => {
                let length = u16::try_from(part.len()).expect("a fragment of less than 64 KiB");
                frame.push(0x80 | 126);
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        // The masking key: a client's frame must have one (RFC 6455 section 5.1).
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(part);
        self.bytes(&frame).await;
    }

    /// Sends bytes as they are, past the WebSocket.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).await.expect("the server reads");
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

    /// Asks to join, which must be declined. Returns the payload of the decline.
    pub async fn join_declined(&mut self, channel: &str, payload: Value) -> Value {
        let id = self.send("JOIN_CHANNEL", "JOIN_CHANNEL", channel, payload).await;
        let answer = self.until("UNAUTHORIZED").await;
        assert_eq!(answer["requestId"], json!(id));
        answer["payload"].clone()
    }

    /// Leaves and waits for the acknowledgement, dropping what comes before it.
    pub async fn leave(&mut self, channel: &str) {
        let id = self.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", channel, json!({})).await;
        let answer = self.until("EXIT_ACKNOWLEDGE").await;
        assert_eq!(answer["requestId"], json!(id));
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        let message = timeout(DEADLINE, self.message()).await.expect("a message within the deadline");
        message.unwrap_or_else(|other| panic!("no text message but {other:?}"))
    }

    /// The next message, without a deadline; `Err` has another frame that was received in its place, or `None` at the
    /// end of the stream. Cancel-safe.
    pub async fn message(&mut self) -> Result<Value, Option<Message>> {
        loop {
            match self.socket.next().await.and_then(Result::ok) {
                Some(Message::Text(text)) => {
                    strict::check(&text).unwrap_or_else(|fault| panic!("a client would reject {text}: {fault}"));
                    return Ok(serde_json::from_str(&text).expect("checked"));
                }
                // tungstenite answers pings by itself at the next read or write.
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => return Err(other),
            }
        }
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

    /// The next frame of any kind; `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<Message> {
        let next = timeout(DEADLINE, self.socket.next()).await.expect("a frame within the deadline");
        next.and_then(Result::ok)
    }

    /// Resets the connection, without a close frame.
    pub fn reset(self) {
        let MaybeTlsStream::Plain(stream) = self.socket.get_ref() else { unreachable!("no TLS here") };
        // With a linger time of 0 the kernel sends a reset in place of an orderly end.
        SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// The close frame that ends the connection; messages before it are dropped. `None` if it just ends.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.frame().await {
                Some(Message::Close(frame)) => return frame,
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// Checks that nothing is received before the reply to `event`, which the server must reply to. So a test need not
    /// wait to see that nothing comes.
    pub async fn nothing_before_reply(&mut self, channel: &str, event: &str) {
        let id = self.event(channel, event, json!({})).await;
        let answer = self.next().await;
        assert_eq!(answer["requestId"], json!(id), "something came before the reply: {answer}");
    }
}
