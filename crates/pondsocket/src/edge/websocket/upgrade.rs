//! From a request to a WebSocket.

use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pondsocket_proto::ws::{self, Decoder, Handshake, Limits};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Frames;
use crate::edge::body::Body;
use crate::edge::connection::Places;
use crate::edge::newcomer::Newcomer;
use crate::edge::refusal::Refused;
use crate::endpoint::{EndpointInner, Settings};
use crate::engine::framing::Framing;
use crate::engine::socket::{Io, Socket};
use crate::error::Error;
use crate::handler::BoxFuture;
use crate::metrics::DeclineReason;
#[cfg(feature = "server")]
use crate::serve::Watched;
use crate::websocket::WebSocket;

/// A request for an upgrade that can be granted.
pub(crate) struct Upgrade {
    handshake: Handshake,
    upgrade: OnUpgrade,
}

impl Upgrade {
    /// What a request asks for. The host offers the upgrade, if it can.
    pub(crate) fn of(parts: &Parts, upgrade: Option<OnUpgrade>, settings: &Settings) -> Result<Upgrade, Refused> {
        let handshake = ws::accept_parts(parts, settings.enable_compression).map_err(|refusal| {
            let error = Error::new(refusal.status().as_u16(), refusal.to_string());
            Refused { error, reason: DeclineReason::Handshake, headers: refusal.headers() }
        })?;
        let Some(upgrade) = upgrade else {
            let error = Error::internal("the HTTP server does not offer upgrades");
            return Err(Refused::new(error, DeclineReason::Handshake));
        };
        Ok(Upgrade { handshake, upgrade })
    }

    /// Grants it: the answer is 101, and a task waits for the connection.
    pub(crate) fn open(self, endpoint: &Arc<EndpointInner>, newcomer: Newcomer) -> Response<Body> {
        let answer = self.answer();
        tokio::spawn(serve_pond(self, Arc::clone(endpoint), newcomer));
        answer
    }

    /// The same for a WebSocket that does not speak the PondSocket protocol.
    pub(crate) fn open_raw(self, endpoint: &Arc<EndpointInner>, places: Places, handler: RawHandler) -> Response<Body> {
        let answer = self.answer();
        tokio::spawn(serve_raw(self, Arc::clone(endpoint), places, handler));
        answer
    }

    fn answer(&self) -> Response<Body> {
        self.handshake.response().map(|()| Body::default())
    }
}

type RawHandler = Arc<dyn Fn(WebSocket) -> BoxFuture<()> + Send + Sync>;

async fn serve_pond(Upgrade { handshake, upgrade }: Upgrade, endpoint: Arc<EndpointInner>, newcomer: Newcomer) {
    let Some((stream, first)) = upgraded(upgrade, &endpoint).await else { return };
    let (socket, writer) = match stream {
        Stream::Tcp(stream) => Socket::tcp(stream),
        Stream::Io(io) => Socket::io(io),
    };
    let deflate = handshake.deflate();
    let framing = deflate.map_or(Framing::Plain, |deflate| Framing::Deflate { window_bits: deflate.window_bits() });
    let limits = Limits { max_message_size: endpoint.settings().max_message_size };
    let frames = Frames::new(socket, first, Decoder::new(limits, deflate));
    let linked = newcomer.link(&endpoint, framing, writer);
    let id = linked.link.id().to_string();
    let connection = linked.carried_by(frames, &id);
    // A task of its own: what the upgrade needed is given back.
    tokio::spawn(connection);
}

async fn serve_raw(
    Upgrade { handshake, upgrade }: Upgrade,
    endpoint: Arc<EndpointInner>,
    _places: Places,
    handler: RawHandler,
) {
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
