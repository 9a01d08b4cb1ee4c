//! The connecting side of a client in memory: hyper on an in-memory stream, at both ends.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use pondsocket_proto::wire::GATEWAY;
use tokio::io::DuplexStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tower_service::Service;

use super::client::Client;
use super::connection::{ClientConnection, ClientTransport, Timeouts};
use super::error::{Awaited, ConnectError, Failure, Refusal};
use super::events::{Events, headers_for};
use super::inbox::{Inbox, RecentFrames};
use super::received::Kind;
use crate::edge::body::Body;
use crate::edge::origin::PeerAddr;
use crate::handler::BoxFuture;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The capacity of the in-memory stream in each direction, in bytes: about that of a socket's buffers, so that a client that
/// does not read slows the server down as over a network.
const STREAM_CAPACITY: usize = 64 * 1024;

/// The size of the client's read buffer, in bytes. tungstenite's default of 128 KiB would dominate the memory of a test with
/// many clients.
const READ_BUFFER: usize = 8 * 1024;

/// A client that is not connected yet: the service it connects to, and the headers and the address it connects with. Each
/// [`connect`](Self::connect) makes a new connection.
///
/// ```
/// # use pondsocket::{ConnectionContext, Error, PondSocket};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pond = PondSocket::new();
/// pond.create_endpoint("/api/socket", async |ctx: ConnectionContext| match ctx.header("origin") {
///     Some("https://example.com") => Ok(ctx.accept()),
///     _ => Err(Error::forbidden("origin not allowed")),
/// });
/// let client = pond.test_client().header("origin", "https://evil.example");
/// let refused = client.connect("/api/socket").await.unwrap_err();
/// assert_eq!((refused.code(), refused.refusal().unwrap().text().as_str()), (Some(403), "origin not allowed"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connector {
    serve: Serve,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    timeouts: Timeouts,
    over_events: bool,
}

/// The function that serves one connection of the in-memory network.
type Serve = Arc<dyn Fn(DuplexStream, Option<SocketAddr>) -> BoxFuture<'static, ()> + Send + Sync>;

impl Connector {
    /// A client of any HTTP service, such as an axum router in which a pond is mounted, with its layers. For a pond alone
    /// there is [`PondSocket::test_client`](crate::PondSocket::test_client).
    pub fn new<S, B>(service: S) -> Connector
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: HttpBody + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let serve: Serve = Arc::new(move |stream, peer| Box::pin(serve(service.clone(), stream, peer)));
        let timeouts = Timeouts { deadline: Duration::from_secs(5), silence: Duration::from_millis(100) };
        Connector { serve, headers: HeaderMap::new(), peer: None, timeouts, over_events: false }
    }

    /// Connects with an event stream instead of a WebSocket. The only difference: a message that the server declines over
    /// HTTP, such as one that is too large, ends the connection with a failure.
    #[must_use]
    pub fn over_events(mut self) -> Connector {
        self.over_events = true;
        self
    }

    /// Adds a header to each request, in place of the client's own header of that name. Several headers of one name are all
    /// sent.
    ///
    /// # Panics
    /// If the name or the value is invalid.
    #[must_use]
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Connector {
        let name: HeaderName = name.parse().unwrap_or_else(|_| panic!("invalid header name `{name}`"));
        let value: HeaderValue = value.parse().unwrap_or_else(|_| panic!("invalid header value `{value}`"));
        self.headers.append(name, value);
        self
    }

    /// Sets the client's address, which the server finds as [`PeerAddr`]. Default none.
    #[must_use]
    pub fn peer(mut self, address: SocketAddr) -> Connector {
        self.peer = Some(address);
        self
    }

    /// Sets the longest time that any wait may take. Default 5 s. It is measured with tokio's clock, which a test can pause.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Connector {
        self.timeouts.deadline = deadline;
        self
    }

    /// Sets the time for which [`assert_silence`](super::Room::assert_silence) waits. Default 100 ms, of tokio's clock.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Connector {
        self.timeouts.silence = silence;
        self
    }

    /// Connects to a path with an optional query, and waits for the server's first message. Both ends of the connection run
    /// on tasks of the current runtime. Cancel-safe: a dropped call closes the connection.
    ///
    /// # Errors
    /// [`ConnectError::Refused`] with the response of a server that declines; [`ConnectError::Failed`] if it does not respond
    /// as a PondSocket endpoint, or not in time.
    #[track_caller]
    pub fn connect(&self, path: &str) -> impl Future<Output = Result<Client, ConnectError>> + Send {
        let awaited = Awaited::here(format!("connect to `{path}`"));
        async move {
            let deadline = self.timeouts.deadline;
            let opened = timeout(deadline, self.open(path)).await;
            let why = match opened {
                Ok(Ok(opened)) => return Ok(self.handshake(&awaited, opened).await?),
                Ok(Err(OpenError::Refused(response))) => {
                    return Err(ConnectError::Refused(Refusal::new(awaited, response)));
                }
                Ok(Err(OpenError::Failed(error))) => error.to_string(),
                Err(_) => format!("no answer within {deadline:?}"),
            };
            Err(Failure::new(awaited, why, RecentFrames::default()).into())
        }
    }

    async fn open(&self, path: &str) -> Result<ClientTransport, OpenError> {
        if self.over_events { self.open_events(path).await } else { self.open_websocket(path).await }
    }

    async fn open_events(&self, path: &str) -> Result<ClientTransport, OpenError> {
        let uri: Uri = path.parse()?;
        let mut request = Request::new(Body::default());
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers_over(&[(HOST, "test"), (ACCEPT, "text/event-stream")])?;
        let response = self.send_request(request, StatusCode::OK).await?;
        let headers = headers_for(&self.headers_over(&[(HOST, "test")])?, response.headers())?;
        // A connection of its own for requests, because that of the stream is busy with its response.
        let (stream, requests) = (response.into_body(), self.open_http().await?);
        Ok(ClientTransport::Events(Box::new(Events { stream, requests, uri, headers })))
    }

    /// Opens a new HTTP connection.
    async fn open_http(&self) -> Result<SendRequest<Body>, BoxError> {
        let (near, far) = tokio::io::duplex(STREAM_CAPACITY);
        tokio::spawn((self.serve)(far, self.peer));
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(near)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// Sends a request on a connection of its own, whose response must have this status.
    async fn send_request(
        &self,
        request: Request<Body>,
        expected: StatusCode,
    ) -> Result<Response<Incoming>, OpenError> {
        let response = self.open_http().await?.send_request(request).await?;
        if response.status() == expected {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let response = Response::from_parts(parts, body.collect().await?.to_bytes());
        Err(OpenError::Refused(Box::new(response)))
    }

    async fn open_websocket(&self, path: &str) -> Result<ClientTransport, OpenError> {
        let request = self.request(path)?;
        // Read from the request, because a test may have set a key of its own.
        let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let response = self.send_request(request, StatusCode::SWITCHING_PROTOCOLS).await?;
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        if accepted.is_none() || accepted != key.as_deref().map(str::as_bytes) {
            return Err(OpenError::Failed("Sec-WebSocket-Accept does not match Sec-WebSocket-Key".into()));
        }
        let io = TokioIo::new(hyper::upgrade::on(response).await?);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let socket = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
        Ok(ClientTransport::WebSocket(Box::new(socket)))
    }

    /// The upgrade request (RFC 6455 section 4.1).
    fn request(&self, path: &str) -> Result<Request<Body>, OpenError> {
        let mut request = Request::new(Body::default());
        *request.uri_mut() = path.parse::<Uri>()?;
        let key = generate_key();
        let own = [
            (HOST, "test"),
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, key.as_str()),
        ];
        *request.headers_mut() = self.headers_over(&own)?;
        Ok(request)
    }

    /// The headers that the test has set, and these for the names that it has not.
    fn headers_over(&self, own: &[(HeaderName, &str)]) -> Result<HeaderMap, BoxError> {
        let mut headers = self.headers.clone();
        for (name, value) in own {
            headers.entry(name).or_insert(HeaderValue::from_str(value)?);
        }
        Ok(headers)
    }

    /// Waits for the first message (docs/protocol.md, Connecting).
    async fn handshake(&self, awaited: &Awaited, opened: ClientTransport) -> Result<Client, Failure> {
        let mut inbox = Inbox::default();
        let gateway = inbox.open(GATEWAY);
        let connection = ClientConnection::new(opened, inbox, self.timeouts);
        let first =
            connection.wait(awaited, |inbox| inbox.take(gateway, |message| message.kind == Kind::Connect)).await?;
        let id = first.payload["connectionId"].as_str().unwrap_or_default().to_owned();
        Ok(Client::new(connection, gateway, id))
    }
}

/// The reason for which a connection could not be opened.
enum OpenError {
    Refused(Box<Response<Bytes>>),
    Failed(BoxError),
}

impl<E: Into<BoxError>> From<E> for OpenError {
    fn from(error: E) -> OpenError {
        OpenError::Failed(error.into())
    }
}

async fn serve<S, B>(service: S, stream: DuplexStream, peer: Option<SocketAddr>)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let service = hyper::service::service_fn(move |request| call(service.clone(), request, peer));
    // An error ends the stream, which the client reports.
    let _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn call<S, B>(
    mut service: S,
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut request = Request::from_parts(parts, Body::whole(body));
    if let Some(peer) = peer {
        request.extensions_mut().insert(PeerAddr(peer));
    }
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("headers", &self.headers).field("peer", &self.peer).finish_non_exhaustive()
    }
}
