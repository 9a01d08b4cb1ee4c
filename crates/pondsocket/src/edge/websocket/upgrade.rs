//! The upgrade of a request to a WebSocket.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::ws::{self, Decoder, DecoderLimits, Deflater, Handshake};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::WebSocketTransport;
use super::offer::{UpgradeOffer, UpgradedStream};
use super::raw::{Driver, DriverParts};
use crate::edge::accepted::AcceptedConnection;
use crate::edge::body::Body;
use crate::edge::connection::Permits;
use crate::edge::refusal::HttpRefusal;
use crate::endpoint::{EndpointInner, EndpointSettings};
use crate::engine::framing::Framing;
use crate::engine::handle::Identity;
use crate::engine::ids;
use crate::engine::socket::{Io, Socket};
use crate::error::{Error, Result};
use crate::failure::{backtrace, chain};
use crate::handler::{BoxFuture, guard};
use crate::metrics::{Component, DeclineReason};
use crate::websocket::{SharedSocket, SocketBounds, Subprotocols, WebSocket};

/// A valid request for an upgrade.
pub(crate) struct Upgrade {
    handshake: Handshake,
    offer: UpgradeOffer,
    offered: OfferedSubprotocols,
    /// The subprotocol that is agreed on if the application selects none.
    preferred: Option<Box<str>>,
}

/// The subprotocols that a client offers.
pub(crate) type OfferedSubprotocols = Box<[Box<str>]>;

impl Upgrade {
    /// Validates the handshake of a request. `offer` is the upgrade that the host offers, if it can.
    pub(crate) fn of(
        parts: &Parts,
        offer: Option<UpgradeOffer>,
        settings: &EndpointSettings,
    ) -> Result<Upgrade, HttpRefusal> {
        let handshake = ws::accept_parts(parts, settings.enable_compression).map_err(|refusal| {
            let error = Error::new(refusal.status().as_u16(), refusal.to_string());
            HttpRefusal { error, reason: DeclineReason::Handshake, headers: refusal.headers() }
        })?;
        let Some(offer) = offer else {
            let error = Error::internal("the HTTP server does not offer upgrades");
            return Err(HttpRefusal::new(error, DeclineReason::Handshake));
        };
        let offered: OfferedSubprotocols = ws::subprotocols(&parts.headers).map(Into::into).collect();
        let mut known = settings.subprotocols.iter().map(|name| name.as_str().into());
        let preferred = known.find(|name| offered.contains(name));
        Ok(Upgrade { handshake, offer, offered, preferred })
    }

    pub(crate) fn offered(&self) -> &OfferedSubprotocols {
        &self.offered
    }

    /// Accepts the upgrade: returns the response 101, and spawns a task that waits for the stream.
    pub(crate) fn open(self, endpoint: &Arc<EndpointInner>, accepted: AcceptedConnection) -> Response<Body> {
        let answer = self.answer(accepted.connected.subprotocol.as_deref());
        tokio::spawn(serve_pond(self, Arc::clone(endpoint), accepted));
        answer
    }

    /// Accepts the upgrade to a raw WebSocket.
    pub(crate) fn open_raw(
        self,
        endpoint: &Arc<EndpointInner>,
        client: Option<IpAddr>,
        permits: Permits,
        handler: RawHandler,
    ) -> Response<Body> {
        let answer = self.answer(None);
        tokio::spawn(serve_raw(self, Arc::clone(endpoint), client, permits, handler));
        answer
    }

    /// The response 101. It names one subprotocol or none, and never repeats other offers of the client, which may contain a
    /// secret.
    fn answer(&self, chosen: Option<&str>) -> Response<Body> {
        let mut answer = self.handshake.response().map(|()| Body::default());
        let agreed = chosen.or(self.preferred.as_deref()).and_then(|name| HeaderValue::from_str(name).ok());
        if let Some(agreed) = agreed {
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, agreed);
        }
        answer
    }
}

type RawHandler = Arc<dyn Fn(WebSocket) -> BoxFuture<'static, ()> + Send + Sync>;

async fn serve_pond(
    Upgrade { handshake, offer, .. }: Upgrade,
    endpoint: Arc<EndpointInner>,
    accepted: AcceptedConnection,
) {
    let Some((stream, first)) = upgraded(offer, &endpoint).await else { return };
    let (socket, writer) = match stream {
        UpgradedStream::Tcp(stream) => Socket::tcp(stream),
        UpgradedStream::Io(io) => Socket::io(io),
    };
    let deflate = handshake.deflate();
    let framing = deflate.map_or(Framing::Plain, |deflate| Framing::Deflate { window_bits: deflate.window_bits() });
    let limits = DecoderLimits { max_message_size: endpoint.settings().max_message_size };
    let frames = WebSocketTransport::new(socket, first, Decoder::new(limits, deflate));
    let prepared = accepted.with_handle(&endpoint, framing, writer);
    let id = prepared.handle.id().to_string();
    let connection = prepared.into_task(frames, &id);
    // A task of its own, so that the memory of the upgrade is freed.
    tokio::spawn(connection);
}

async fn serve_raw(
    upgrade: Upgrade,
    endpoint: Arc<EndpointInner>,
    client: Option<IpAddr>,
    permits: Permits,
    handler: RawHandler,
) {
    let Upgrade { handshake, offer, offered, preferred: agreed } = upgrade;
    let Some((stream, first)) = upgraded(offer, &endpoint).await else { return };
    let io: Box<dyn Io> = match stream {
        UpgradedStream::Tcp(stream) => Box::new(stream),
        UpgradedStream::Io(io) => io,
    };
    let settings = endpoint.settings();
    let decoder = Decoder::new(DecoderLimits { max_message_size: settings.max_message_size }, handshake.deflate());
    let bounds = SocketBounds {
        messages: settings.receive_channel_buffer,
        message_bytes: settings.max_message_size,
        sent_bytes: settings.outbox_bytes,
    };
    let shared = SharedSocket::new(bounds, &endpoint.common.memory);
    let deflater = handshake.deflate().map(|deflate| Deflater::new(deflate.window_bits()));
    let socket = WebSocket::new(Arc::clone(&shared), deflater, Subprotocols { offered, agreed });
    let id = ConnectionId::from_u128(ids::fresh());
    let identity = Identity { id, user: UserId::from(id), ip: client };
    let Permits { admission, permit } = permits;
    let parts = DriverParts { io, first, decoder, identity, admission };
    let mut driver = Driver::new(parts, shared, Arc::clone(&endpoint), settings);
    let mut running: Option<BoxFuture<'static, Result<()>>> = Some(Box::pin(async move {
        handler(socket).await;
        Ok(())
    }));
    let path = &*endpoint.observer.endpoint;
    let both = poll_fn(|cx| {
        if let Some(Poll::Ready(outcome)) = running.as_mut().map(|running| guard::poll(running, cx)) {
            running = None;
            if let Err(error) = outcome {
                tracing::error!(target: "pondsocket::handler", endpoint = path, error = chain(&error), backtrace = backtrace(&error), "raw WebSocket's handler failed");
                endpoint.observer.count(|metrics, _| metrics.error(Component::ConnectionHandler, &error));
            }
        }
        // After the handler, so that frames that it has queued are written at once.
        match driver.poll(cx) {
            Poll::Ready(()) if running.is_none() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    tokio::select! {
        () = both => {}
        // Dropping the handler closes the socket.
        () = endpoint.common.drain.over() => {
            driver.abort();
            tracing::warn!(target: "pondsocket::connection", endpoint = path, "raw WebSocket cut off");
        }
    }
    drop(permit);
}

/// Waits for the stream of an upgrade.
async fn upgraded(offer: UpgradeOffer, endpoint: &EndpointInner) -> Option<(UpgradedStream, Vec<u8>)> {
    let settings = endpoint.settings();
    // Limited, because a client may never read the response.
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
    if let UpgradedStream::Tcp(stream) = &stream {
        tune(stream, &settings);
    }
    Some((stream, first))
}

/// Sets the options of the socket. A failure is ignored, because the connection works without them.
fn tune(stream: &TcpStream, settings: &EndpointSettings) {
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
