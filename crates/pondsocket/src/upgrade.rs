//! An HTTP request becomes a decision, and then a refusal or a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pondsocket_proto::id::{ConnectionId, RequestId, UserId};
use pondsocket_proto::pattern::Match;
use pondsocket_proto::wire::{Action, GATEWAY, server};
use pondsocket_proto::ws::{self, Decoder, Handshake, Limits};
use tokio::net::TcpStream;

use crate::body::Body;
use crate::connection::Connection;
use crate::context::{Connected, ConnectionContext};
use crate::endpoint::{Door, EndpointInner};
use crate::error::Error;
use crate::framing::Framing;
use crate::guard;
use crate::handler::Erased;
use crate::ids;
use crate::link::Link;
use crate::outbox::{Bounds, Writer};
use crate::pond::PondSocket;
#[cfg(feature = "server")]
use crate::serve::Watched;
use crate::transport::{Io, Transport};
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
        let options = endpoint.current_options();
        let handshake = match ws::accept_parts(&parts, options.enable_compression) {
            Ok(handshake) => handshake,
            Err(refusal) => {
                let mut response = refuse(refusal.status(), &refusal.to_string());
                response.headers_mut().extend(refusal.headers());
                return response;
            }
        };
        let Some(upgrade) = upgrade.clone() else {
            tracing::error!("the HTTP server does not offer upgrades");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
        };
        let response = handshake.response().map(|()| Body::default());
        match &endpoint.door {
            Door::Raw(handler) => {
                tokio::spawn(serve_raw(upgrade, endpoint.clone(), handshake, Arc::clone(handler)));
                return response;
            }
            Door::Pond(handler) => {
                let more = pond.endpoint_for(&target, at + 1).is_some();
                let spare = more.then(|| parts.clone());
                match decide(&endpoint, handler, parts, route, peer).await {
                    Ok((id, connected)) => {
                        tokio::spawn(serve_pond(upgrade, endpoint, handshake, id, connected));
                        return response;
                    }
                    Err(error)
                        if error.is_pass()
                            && let Some(spare) = spare =>
                    {
                        parts = spare;
                        from = at + 1;
                    }
                    Err(error) => return decline(&endpoint, &error),
                }
            }
        }
    }
    refuse(StatusCode::NOT_FOUND, "not found")
}

async fn decide(
    endpoint: &EndpointInner,
    handler: &Erased<ConnectionContext>,
    parts: Parts,
    route: Match,
    peer: Option<SocketAddr>,
) -> Result<(ConnectionId, Connected), Error> {
    let id = ConnectionId::from_u128(ids::fresh());
    let ctx = ConnectionContext { parts, route, id, peer, states: endpoint.states().clone() };
    let deadline = endpoint.current_options().handler_timeout;
    let mut connected = guard::run(guard::call(|| handler(ctx)), deadline).await?;
    match connected.error.take() {
        Some(error) => Err(error),
        None => Ok((id, connected)),
    }
}

async fn serve_pond(
    upgrade: OnUpgrade,
    endpoint: Arc<EndpointInner>,
    handshake: Handshake,
    id: ConnectionId,
    connected: Connected,
) {
    let Some((stream, first)) = upgraded(upgrade).await else { return };
    let (transport, writer) = match stream {
        Stream::Tcp(stream) => Transport::tcp(stream),
        Stream::Io(io) => Transport::io(io),
    };
    let connection = establish(endpoint, handshake.deflate(), (transport, writer, first), id, connected);
    // A task of its own: what the upgrade needed is given back.
    tokio::spawn(connection);
}

/// Makes the connection, with the frames that it begins with queued: nothing can come before them.
fn establish(
    endpoint: Arc<EndpointInner>,
    deflate: Option<ws::Deflate>,
    (transport, writer, first): (Transport, Writer, Vec<u8>),
    id: ConnectionId,
    connected: Connected,
) -> Connection {
    let options = endpoint.current_options();
    let user = connected.user.unwrap_or_else(|| UserId::from(id));
    let framing = deflate.map_or(Framing::Plain, |deflate| Framing::Deflate { window_bits: deflate.window_bits() });
    let bounds = Bounds { frames: options.send_channel_buffer, bytes: options.outbox_bytes };
    let link = Link::new(id, user, framing, bounds, connected.assigns, writer);

    let mut text = Vec::new();
    let request_id = RequestId::from_u128(ids::fresh());
    server::connection(&mut text, &id.to_string(), request_id.as_str());
    link.send_text(&text);
    for (event, payload) in connected.replies {
        text.clear();
        let request_id = RequestId::from_u128(ids::fresh());
        server::message(&mut text, Action::System, &event, GATEWAY, request_id.as_str(), payload.as_str());
        link.send_text(&text);
    }
    let limits = Limits { max_message_size: options.max_message_size };
    Connection::new(transport, first, Decoder::new(limits, deflate), endpoint, link)
}

async fn serve_raw(
    upgrade: OnUpgrade,
    endpoint: Arc<EndpointInner>,
    handshake: Handshake,
    handler: Arc<dyn Fn(WebSocket) -> crate::handler::BoxFuture<()> + Send + Sync>,
) {
    let Some((stream, first)) = upgraded(upgrade).await else { return };
    let io: Box<dyn Io> = match stream {
        Stream::Tcp(stream) => Box::new(stream),
        Stream::Io(io) => io,
    };
    let limits = Limits { max_message_size: endpoint.current_options().max_message_size };
    let decoder = Decoder::new(limits, handshake.deflate());
    handler(WebSocket::new(io, first, decoder, handshake.deflate())).await;
}

enum Stream {
    Tcp(TcpStream),
    Io(Box<dyn Io>),
}

/// Waits for the upgrade. A plain TCP stream is recovered from our own server, from hyper, or from the builder that detects HTTP
/// versions (which axum uses): then deliverers can write to it. Bytes that were read already come along.
async fn upgraded(upgrade: OnUpgrade) -> Option<(Stream, Vec<u8>)> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "upgrade failed");
            return None;
        }
    };
    Some(match recover(upgraded) {
        Ok((stream, first)) => {
            // Small frames must not wait for the acknowledgement of earlier ones.
            let _ = stream.set_nodelay(true);
            (Stream::Tcp(stream), first)
        }
        Err(upgraded) => (Stream::Io(Box::new(TokioIo::new(upgraded))), Vec::new()),
    })
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

fn decline(endpoint: &EndpointInner, error: &Error) -> Response<Body> {
    if error.code() == 500 {
        tracing::error!(endpoint = endpoint.pattern.as_str(), ?error, "connection handler failed");
    } else {
        tracing::debug!(endpoint = endpoint.pattern.as_str(), ?error, "connection declined");
    }
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    refuse(status, error.message())
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
