//! An HTTP request becomes a decision, and then a refusal or a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pondsocket_proto::id::{ConnectionId, RequestId, UserId};
use pondsocket_proto::pattern::Match;
use pondsocket_proto::wire::{Action, GATEWAY, server};
use pondsocket_proto::ws::{self, Decoder, Handshake, Limits};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{Instrument, debug_span};

use crate::context::{Connected, ConnectionContext};
use crate::edge::body::Body;
use crate::edge::connection::{Connection, Places};
use crate::endpoint::{Door, EndpointInner, Settings};
use crate::engine::framing::Framing;
use crate::engine::ids;
use crate::engine::link::{Identity, Link, Terms};
use crate::engine::outbox::{Bounds, Writer};
use crate::engine::sync::Mutex;
use crate::engine::transport::{Io, Transport};
use crate::error::Error;
use crate::handler::guard;
use crate::handler::{BoxFuture, Erased};
use crate::metrics::{Component, ConnectionInfo, DeclineReason, HandlerKind, Limit};
use crate::pond::PondSocket;
#[cfg(feature = "server")]
use crate::serve::Watched;
use crate::websocket::WebSocket;

/// The address of the peer. A host that knows it inserts it into the request's extensions; with the feature `axum`
/// its `ConnectInfo<SocketAddr>` is understood too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerAddr(pub SocketAddr);

/// Whether some endpoint takes this request.
pub(crate) fn is_ours<B>(pond: &PondSocket, request: &Request<B>) -> bool {
    request.method() == Method::GET && pond.endpoint_for(&target(request), 0).is_some()
}

/// Answers a request for whatever endpoint takes it.
pub(crate) async fn answer<B>(pond: PondSocket, mut request: Request<B>) -> Response<Body> {
    let target = target(&request);
    // The handler sees the URI that its endpoint was matched against.
    *request.uri_mut() = original_uri(&request).clone();
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let peer = peer(&request);
    let mut parts = request.into_parts().0;
    let mut from = 0;
    if parts.method != Method::GET {
        return refuse(StatusCode::NOT_FOUND, "not found");
    }
    while let Some((at, route, endpoint)) = pond.endpoint_for(&target, from) {
        let settings = endpoint.settings();
        let answered = admit(&endpoint, &settings, Arrival { parts, route, peer, upgrade: upgrade.clone() }).await;
        let refused = match answered {
            Ok(response) => return with_cors(&settings, response),
            Err(refused) => refused,
        };
        match refused.into_passed() {
            Ok(passed) if pond.endpoint_for(&target, at + 1).is_some() => {
                parts = passed.parts;
                from = at + 1;
            }
            Ok(_) => {
                let refused = Refused::new(Error::not_found("not found"), DeclineReason::Handler);
                return with_cors(&settings, decline(&endpoint, refused));
            }
            Err(refused) => return with_cors(&settings, decline(&endpoint, refused)),
        }
    }
    refuse(StatusCode::NOT_FOUND, "not found")
}

/// A request that has come to an endpoint.
struct Arrival {
    parts: Parts,
    route: Match,
    peer: Option<SocketAddr>,
    upgrade: Option<OnUpgrade>,
}

/// Why a request is not let in.
struct Refused {
    error: Error,
    reason: DeclineReason,
    headers: HeaderMap,
}

impl Refused {
    fn new(error: Error, reason: DeclineReason) -> Refused {
        Refused { error, reason, headers: HeaderMap::new() }
    }

    /// Declined by the application, or by its time being over.
    fn by_handler(error: Error) -> Refused {
        let reason = if guard::is_timeout(&error) { DeclineReason::Timeout } else { DeclineReason::Handler };
        Refused::new(error, reason)
    }

    /// What the connection handler was called with, if it leaves the decision to the next endpoint.
    fn into_passed(self) -> Result<ConnectionContext, Refused> {
        let Refused { error, reason, headers } = self;
        error.into_passed().map_err(|error| Refused { error, reason, headers })
    }
}

/// Lets a request in: the answer is 101, and a task waits for the upgrade. What costs least is asked first, and the
/// application last.
async fn admit(
    endpoint: &Arc<EndpointInner>,
    settings: &Settings,
    arrival: Arrival,
) -> Result<Response<Body>, Refused> {
    let Arrival { parts, route, peer, upgrade } = arrival;
    let common = &endpoint.common;
    let draining = || {
        let error = Error::unavailable("shutting down").with_retry_after(settings.retry_after);
        Refused::new(error, DeclineReason::Draining)
    };
    if common.drain.has_begun() {
        return Err(draining());
    }
    let handshake = ws::accept_parts(&parts, settings.enable_compression).map_err(|refusal| {
        let error = Error::new(refusal.status().as_u16(), refusal.to_string());
        Refused { error, reason: DeclineReason::Handshake, headers: refusal.headers() }
    })?;
    if !settings.origins.allow(&parts.headers) {
        return Err(Refused::new(Error::forbidden("origin not allowed"), DeclineReason::Origin));
    }
    let client = peer.map(|peer| common.proxies.client(peer.ip(), &parts.headers));
    let admitted = endpoint.admissions.admit(settings, client);
    let admission = admitted.map_err(|(error, reason)| Refused::new(error, reason))?;
    let Some(upgrade) = upgrade else {
        let error = Error::internal("the HTTP server does not offer upgrades");
        return Err(Refused::new(error, DeclineReason::Handshake));
    };
    let response = handshake.response().map(|()| Body::default());
    let upgrading = |ticket| {
        let places = Places { admission: Some(admission), ticket };
        Upgrading { upgrade, endpoint: Arc::clone(endpoint), handshake, places }
    };
    match &endpoint.door {
        Door::Raw(handler) => {
            let ticket = common.drain.admit().ok_or_else(draining)?;
            tokio::spawn(serve_raw(upgrading(ticket), Arc::clone(handler)));
        }
        Door::Pond(handler) => {
            let id = ConnectionId::from_u128(ids::fresh());
            let (states, observer) = (endpoint.states().clone(), Arc::clone(&endpoint.observer));
            let ctx = ConnectionContext { parts, route, id, peer, client, states, observer };
            let connected = decide(endpoint, settings, handler, ctx).await.map_err(Refused::by_handler)?;
            // It may have begun meanwhile.
            let ticket = common.drain.admit().ok_or_else(draining)?;
            let user = connected.user.clone().unwrap_or_else(|| UserId::from(id));
            let identity = Identity { id, user, ip: client };
            let assigns = Mutex::new(connected.assigns.clone());
            let info = ConnectionInfo {
                endpoint: &endpoint.observer.endpoint,
                id,
                user: &identity.user,
                ip: client,
                assigns: &assigns,
            };
            let allowed = common.hooks.ask(|hooks| hooks.on_connect(&info));
            allowed.map_err(|error| Refused::new(error, DeclineReason::Hook))?;
            tokio::spawn(serve_pond(upgrading(ticket), identity, connected));
        }
    }
    Ok(response)
}

/// Lets the application decide. A shutdown waits for it.
async fn decide(
    endpoint: &EndpointInner,
    settings: &Settings,
    handler: &Erased<ConnectionContext>,
    ctx: ConnectionContext,
) -> Result<Connected, Error> {
    let _ticket = endpoint.common.drain.handlers.ticket();
    let started = endpoint.observer.start();
    let path = &*endpoint.observer.endpoint;
    let span = debug_span!(target: "pondsocket::handler", "connect", endpoint = path, connection = %ctx.id);
    let deciding = span.in_scope(|| endpoint.connect(handler, ctx));
    let decided = guard::run(deciding, settings.handler_timeout).instrument(span).await;
    let decided = decided.and_then(|mut connected| match connected.error.take() {
        Some(error) => Err(error),
        None => Ok(connected),
    });
    let decided = decided.and_then(|connected| match connected.assigns.to_json().len() > settings.max_assigns_size {
        true => Err(endpoint.observer.too_large(Limit::Assigns, "assigns")),
        false => Ok(connected),
    });
    endpoint.finish(HandlerKind::Connection, None, started, decided.as_ref().err());
    decided
}

/// A client that has been let in, and is not a WebSocket yet.
struct Upgrading {
    upgrade: OnUpgrade,
    endpoint: Arc<EndpointInner>,
    handshake: Handshake,
    places: Places,
}

async fn serve_pond(upgrading: Upgrading, identity: Identity, connected: Connected) {
    let Upgrading { upgrade, endpoint, handshake, places } = upgrading;
    let Some((stream, first)) = upgraded(upgrade, &endpoint).await else { return };
    let (transport, writer) = match stream {
        Stream::Tcp(stream) => Transport::tcp(stream),
        Stream::Io(io) => Transport::io(io),
    };
    let deflate = handshake.deflate();
    let connection = establish(endpoint, deflate, (transport, writer, first), identity, connected, places);
    // A task of its own: what the upgrade needed is given back.
    tokio::spawn(connection);
}

/// Makes the connection, with the frames that it begins with queued: nothing can come before them, since it is in no
/// channel.
fn establish(
    endpoint: Arc<EndpointInner>,
    deflate: Option<ws::Deflate>,
    (transport, writer, first): (Transport, Writer, Vec<u8>),
    identity: Identity,
    connected: Connected,
    places: Places,
) -> Connection {
    let settings = endpoint.settings();
    let framing = deflate.map_or(Framing::Plain, |deflate| Framing::Deflate { window_bits: deflate.window_bits() });
    let bounds =
        Bounds { frames: settings.send_channel_buffer, bytes: settings.outbox_bytes, policy: settings.slow_client };
    let terms = Terms { framing, bounds, max_assigns: settings.max_assigns_size };
    let id = identity.id.to_string();
    let link = Link::new(identity, Arc::clone(&endpoint.observer), terms, connected.assigns, writer);
    let decoder = Decoder::new(Limits { max_message_size: settings.max_message_size }, deflate);
    let connection = Connection::new(transport, first, decoder, endpoint, Arc::clone(&link), places);

    let mut text = Vec::new();
    let request_id = RequestId::from_u128(ids::fresh());
    server::connection(&mut text, &id, request_id.as_str());
    link.send_text(&text);
    for (event, payload) in connected.replies {
        text.clear();
        let request_id = RequestId::from_u128(ids::fresh());
        server::message(&mut text, Action::System, &event, GATEWAY, request_id.as_str(), payload.as_str());
        link.send_text(&text);
    }
    connection
}

async fn serve_raw(upgrading: Upgrading, handler: Arc<dyn Fn(WebSocket) -> BoxFuture<()> + Send + Sync>) {
    let Upgrading { upgrade, endpoint, handshake, places: _places } = upgrading;
    let Some((stream, first)) = upgraded(upgrade, &endpoint).await else { return };
    let io: Box<dyn Io> = match stream {
        Stream::Tcp(stream) => Box::new(stream),
        Stream::Io(io) => io,
    };
    let limits = Limits { max_message_size: endpoint.settings().max_message_size };
    let decoder = Decoder::new(limits, handshake.deflate());
    let common = Arc::clone(&endpoint.common);
    let draining = Box::pin(async move { common.drain.begun().await });
    tokio::select! {
        () = handler(WebSocket::new(io, first, decoder, handshake.deflate(), draining)) => {}
        // The socket goes with the handler.
        () = endpoint.common.drain.over() => {
            tracing::warn!(target: "pondsocket::connection", endpoint = &*endpoint.observer.endpoint, "raw WebSocket cut off");
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Io(Box<dyn Io>),
}

/// Waits for the upgrade. A plain TCP stream is recovered from our own server, from hyper, or from the builder that
/// detects HTTP versions (which axum uses): then deliverers can write to it. Bytes that were read already come along.
async fn upgraded(upgrade: OnUpgrade, endpoint: &EndpointInner) -> Option<(Stream, Vec<u8>)> {
    let settings = endpoint.settings();
    // The answer has been given: a client that takes so long to read it will not read anything else.
    let upgraded = match timeout(settings.write_wait, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        failed => {
            let path = &*endpoint.observer.endpoint;
            tracing::debug!(target: "pondsocket::connection", endpoint = path, error = ?failed.err(), "upgrade failed");
            let (switching, reason) = (StatusCode::SWITCHING_PROTOCOLS.as_u16(), DeclineReason::Upgrade);
            endpoint.observer.count(|metrics, path| metrics.connection_declined(path, switching, reason));
            return None;
        }
    };
    Some(match recover(upgraded) {
        Ok((stream, first)) => {
            tune(&stream, &settings);
            (Stream::Tcp(stream), first)
        }
        Err(upgraded) => (Stream::Io(Box::new(TokioIo::new(upgraded))), Vec::new()),
    })
}

/// A system that refuses is one with other limits: the connection works all the same.
fn tune(stream: &TcpStream, settings: &Settings) {
    // Small frames must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    if settings.read_buffer_size > 0 {
        let _ = socket.set_recv_buffer_size(settings.read_buffer_size);
    }
    if settings.write_buffer_size > 0 {
        let _ = socket.set_send_buffer_size(settings.write_buffer_size);
    }
}

pub(crate) fn recover(upgraded: Upgraded) -> Result<(TcpStream, Vec<u8>), Upgraded> {
    #[cfg(feature = "server")]
    let upgraded = match upgraded.downcast::<TokioIo<Watched<TcpStream>>>() {
        Ok(parts) => return Ok((parts.io.into_inner().into_inner(), parts.read_buf.into())),
        Err(upgraded) => upgraded,
    };
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return Ok((parts.io.into_inner(), parts.read_buf.into())),
        Err(upgraded) => upgraded,
    };
    let parts = hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)?;
    Ok((parts.io.into_inner(), parts.read_buf.into()))
}

/// The URI as the client sent it, whatever the host has stripped.
fn original_uri<B>(request: &Request<B>) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions().get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    request.uri()
}

/// The path and query of the original URI.
fn target<B>(request: &Request<B>) -> String {
    let uri = original_uri(request);
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), |target| target.as_str().to_owned())
}

fn peer<B>(request: &Request<B>) -> Option<SocketAddr> {
    let extensions = request.extensions();
    let peer = extensions.get::<PeerAddr>().map(|peer| peer.0);
    #[cfg(feature = "axum")]
    let peer = peer.or_else(|| extensions.get::<axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0));
    peer
}

fn decline(endpoint: &EndpointInner, Refused { error, reason, headers }: Refused) -> Response<Body> {
    let path = &*endpoint.observer.endpoint;
    if error.is_unexpected() {
        let component = if reason == DeclineReason::Hook { Component::Hook } else { Component::ConnectionHandler };
        tracing::error!(target: "pondsocket::handler", endpoint = path, %component, ?error, "connection handler failed");
        endpoint.observer.count(|metrics, _| metrics.error(component, &error));
    } else if matches!(reason, DeclineReason::ConnectionLimit | DeclineReason::Timeout) {
        tracing::warn!(target: "pondsocket::connection", endpoint = path, %reason, ?error, "declined");
    } else {
        tracing::debug!(target: "pondsocket::connection", endpoint = path, %reason, ?error, "declined");
    }
    endpoint.observer.count(|metrics, path| metrics.connection_declined(path, error.code(), reason));
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = refuse(status, error.message());
    response.headers_mut().extend(headers);
    if let Some(after) = error.retry_after() {
        // Whole seconds, and not too early (RFC 9110 section 10.2.3).
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Which pages of other origins may read the answer.
fn with_cors(settings: &Settings, mut response: Response<Body>) -> Response<Body> {
    let origin = HeaderValue::from_str(&settings.cors_allow_origin);
    if let Some(origin) = origin.ok().filter(|origin| !origin.is_empty()) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if settings.cors_allow_credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    response
}

/// A plain-text answer (docs/protocol.md, HTTP answers before the upgrade).
pub(crate) fn refuse(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::text(format!("{reason}\n")));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &str); 2] =
        [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
