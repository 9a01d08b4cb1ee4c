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
use super::error::{Asked, ConnectError, Failure, Refusal};
use super::events::{Events, headers_for};
use super::inbox::{Inbox, Recent};
use super::line::{Line, Opened, Patience};
use super::received::Kind;
use crate::edge::body::Body;
use crate::edge::peer::PeerAddr;
use crate::handler::BoxFuture;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The most bytes on their way in either direction, as in a socket's buffers.
const ON_THE_WAY: usize = 64 * 1024;

/// The most bytes that the client reads at once.
const READ: usize = 8 * 1024;

/// A client that is not connected yet: the server it connects to, and the request that it connects with. Every
/// [`connect`](Self::connect) makes another connection.
///
/// ```
/// # use pondsocket::{ConnectionContext, Error, PondSocket};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pond = PondSocket::new();
/// pond.create_endpoint("/api/socket", async |ctx: ConnectionContext| match ctx.header("origin") {
///     Some("https://example.com") => Ok(ctx.accept()),
///     _ => Err(Error::forbidden("not from there")),
/// });
/// let client = pond.test_client().header("origin", "https://evil.example");
/// let refused = client.connect("/api/socket").await.unwrap_err();
/// assert_eq!((refused.code(), refused.refusal().unwrap().text().as_str()), (Some(403), "not from there"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connector {
    serve: Serve,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    patience: Patience,
    over_events: bool,
}

/// Serves one connection.
type Serve = Arc<dyn Fn(DuplexStream, Option<SocketAddr>) -> BoxFuture<()> + Send + Sync>;

impl Connector {
    /// Clients of a whole HTTP service, such as an axum router in which a pond is mounted behind layers of its own.
    /// For a pond alone there is [`PondSocket::test_client`](crate::PondSocket::test_client).
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
        let patience = Patience { deadline: Duration::from_secs(5), silence: Duration::from_millis(100) };
        Connector { serve, headers: HeaderMap::new(), peer: None, patience, over_events: false }
    }

    /// Comes over an event stream, not over a WebSocket. Everything else is as before, but that a message which the
    /// server does not take ends the connection in a failure.
    #[must_use]
    pub fn over_events(mut self) -> Connector {
        self.over_events = true;
        self
    }

    /// Sends a header with each request, in place of the client's own one of that name. Several of one name
    /// are all sent.
    ///
    /// # Panics
    /// If it is no valid header.
    #[must_use]
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Connector {
        let name: HeaderName = name.parse().unwrap_or_else(|_| panic!("`{name}` is no name of a header"));
        let value: HeaderValue = value.parse().unwrap_or_else(|_| panic!("`{value}` is no value of a header"));
        self.headers.append(name, value);
        self
    }

    /// Comes from this address: the server finds it as [`PeerAddr`]. Without it, it knows of none.
    #[must_use]
    pub fn peer(mut self, address: SocketAddr) -> Connector {
        self.peer = Some(address);
        self
    }

    /// Sets the longest time that anything awaited may take; 5 s by default. It is tokio's time, which a test can
    /// pause.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Connector {
        self.patience.deadline = deadline;
        self
    }

    /// Sets the time for which [`assert_silence`](super::Room::assert_silence) listens; 100 ms by default. It is
    /// tokio's time too.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Connector {
        self.patience.silence = silence;
        self
    }

    /// Connects to a path with its query, and waits for the server's first message. It needs a runtime, on whose tasks
    /// both ends of the connection run.
    ///
    /// # Errors
    /// If the server refuses, or does not answer as a PondSocket endpoint does.
    #[track_caller]
    pub fn connect(&self, path: &str) -> impl Future<Output = Result<Client, ConnectError>> + Send {
        let asked = Asked::here(format!("connect to `{path}`"));
        async move {
            let deadline = self.patience.deadline;
            let opened = timeout(deadline, self.open(path)).await;
            let why = match opened {
                Ok(Ok(opened)) => return Ok(self.greet(&asked, opened).await?),
                Ok(Err(NotOpen::Refused(response))) => {
                    return Err(ConnectError::Refused(Refusal::new(asked, response)));
                }
                Ok(Err(NotOpen::Failed(error))) => error.to_string(),
                Err(_) => format!("no answer within {deadline:?}"),
            };
            Err(Failure::new(asked, why, Recent::default()).into())
        }
    }

    async fn open(&self, path: &str) -> Result<Opened, NotOpen> {
        if self.over_events { self.open_events(path).await } else { self.open_websocket(path).await }
    }

    async fn open_events(&self, path: &str) -> Result<Opened, NotOpen> {
        let uri: Uri = path.parse()?;
        let mut request = Request::new(Body::default());
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers_over(&[(HOST, "test"), (ACCEPT, "text/event-stream")])?;
        let response = self.ask(request, StatusCode::OK).await?;
        let headers = headers_for(&self.headers_over(&[(HOST, "test")])?, response.headers())?;
        let (stream, requests) = (response.into_body(), self.dial().await?);
        Ok(Opened::Events(Box::new(Events { stream, requests, uri, headers })))
    }

    /// An HTTP connection.
    async fn dial(&self) -> Result<SendRequest<Body>, BoxError> {
        let (near, far) = tokio::io::duplex(ON_THE_WAY);
        tokio::spawn((self.serve)(far, self.peer));
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(near)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// Makes a request, to which this must be the answer.
    async fn ask(&self, request: Request<Body>, expected: StatusCode) -> Result<Response<Incoming>, NotOpen> {
        let response = self.dial().await?.send_request(request).await?;
        if response.status() == expected {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let response = Response::from_parts(parts, body.collect().await?.to_bytes());
        Err(NotOpen::Refused(Box::new(response)))
    }

    async fn open_websocket(&self, path: &str) -> Result<Opened, NotOpen> {
        let request = self.request(path)?;
        let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let response = self.ask(request, StatusCode::SWITCHING_PROTOCOLS).await?;
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        if accepted.is_none() || accepted != key.as_deref().map(str::as_bytes) {
            return Err(NotOpen::Failed("the upgrade is not for our Sec-WebSocket-Key".into()));
        }
        let io = TokioIo::new(hyper::upgrade::on(response).await?);
        let config = WebSocketConfig::default().read_buffer_size(READ);
        let socket = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
        Ok(Opened::WebSocket(Box::new(socket)))
    }

    /// The upgrade request (RFC 6455 section 4.1).
    fn request(&self, path: &str) -> Result<Request<Body>, NotOpen> {
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

    /// The test's headers, and those of the client that the test does not set.
    fn headers_over(&self, own: &[(HeaderName, &str)]) -> Result<HeaderMap, BoxError> {
        let mut headers = self.headers.clone();
        for (name, value) in own {
            headers.entry(name).or_insert(HeaderValue::from_str(value)?);
        }
        Ok(headers)
    }

    /// Waits for the first message (docs/protocol.md, Connecting).
    async fn greet(&self, asked: &Asked, opened: Opened) -> Result<Client, Failure> {
        let mut inbox = Inbox::default();
        let gateway = inbox.open(GATEWAY);
        let line = Line::new(opened, inbox, self.patience);
        let first = line.wait(asked, |inbox| inbox.take(gateway, |message| message.kind == Kind::Connect)).await?;
        let id = first.payload["connectionId"].as_str().unwrap_or_default().to_owned();
        Ok(Client::new(line, gateway, id))
    }
}

/// The reason for which there is no connection.
enum NotOpen {
    Refused(Box<Response<Bytes>>),
    Failed(BoxError),
}

impl<E: Into<BoxError>> From<E> for NotOpen {
    fn from(error: E) -> NotOpen {
        NotOpen::Failed(error.into())
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
    // However it ends, the client learns it.
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
