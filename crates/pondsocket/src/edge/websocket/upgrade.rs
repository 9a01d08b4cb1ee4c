//! From a request to a WebSocket.

use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};
use pondsocket_proto::ws::{self, Decoder, Handshake, Limits};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Frames;
use super::offer::{Offer, Stream};
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
use crate::websocket::WebSocket;

/// A request for an upgrade that can be granted.
pub(crate) struct Upgrade {
    handshake: Handshake,
    offer: Offer,
}

impl Upgrade {
    /// What a request asks for. The host offers the upgrade, if it can.
    pub(crate) fn of(parts: &Parts, offer: Option<Offer>, settings: &Settings) -> Result<Upgrade, Refused> {
        let handshake = ws::accept_parts(parts, settings.enable_compression).map_err(|refusal| {
            let error = Error::new(refusal.status().as_u16(), refusal.to_string());
            Refused { error, reason: DeclineReason::Handshake, headers: refusal.headers() }
        })?;
        let Some(offer) = offer else {
            let error = Error::internal("the HTTP server does not offer upgrades");
            return Err(Refused::new(error, DeclineReason::Handshake));
        };
        Ok(Upgrade { handshake, offer })
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

async fn serve_pond(Upgrade { handshake, offer }: Upgrade, endpoint: Arc<EndpointInner>, newcomer: Newcomer) {
    let Some((stream, first)) = upgraded(offer, &endpoint).await else { return };
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
    Upgrade { handshake, offer }: Upgrade,
    endpoint: Arc<EndpointInner>,
    _places: Places,
    handler: RawHandler,
) {
    let Some((stream, first)) = upgraded(offer, &endpoint).await else { return };
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

/// Waits for the upgrade.
async fn upgraded(offer: Offer, endpoint: &EndpointInner) -> Option<(Stream, Vec<u8>)> {
    let settings = endpoint.settings();
    // The answer has been given: a client that takes so long to read it will not read anything else.
    let (stream, first) = match timeout(settings.write_wait, offer.granted()).await {
        Ok(Ok(granted)) => granted,
        failed => {
            let path = &*endpoint.observer.endpoint;
            tracing::debug!(target: "pondsocket::connection", endpoint = path, error = ?failed.err(), "upgrade failed");
            let (switching, reason) = (StatusCode::SWITCHING_PROTOCOLS.as_u16(), DeclineReason::Upgrade);
            endpoint.observer.count(|metrics, path| metrics.connection_declined(path, switching, reason));
            return None;
        }
    };
    if let Stream::Tcp(stream) = &stream {
        tune(stream, &settings);
    }
    Some((stream, first))
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
