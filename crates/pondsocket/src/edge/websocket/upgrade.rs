//! The upgrade of a request to a WebSocket.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::ws::{self, Decoder, DecoderLimits, Deflater, Handshake};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::WebSocketTransport;
use super::offer::{RecoveredStream, UpgradeOffer, UpgradedStream};
use super::raw::{Driver, DriverParts};
use crate::edge::accepted::AcceptedConnection;
use crate::edge::body::Body;
use crate::edge::connection::{ConnectionTask, Permits};
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
        tokio::spawn(PondTask::Upgrading(Box::pin(begin(self, Arc::clone(endpoint), accepted))));
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

/// The task of a client from its upgrade on. The upgrade is in a box, whose memory is freed when the connection begins.
#[expect(clippy::large_enum_variant, reason = "it is in the large one for nearly all of its time")]
enum PondTask {
    Upgrading(BoxFuture<'static, Option<ConnectionTask<WebSocketTransport>>>),
    Open(ConnectionTask<WebSocketTransport>),
}

impl Future for PondTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                PondTask::Upgrading(upgrade) => match ready!(upgrade.as_mut().poll(cx)) {
                    Some(connection) => *self = PondTask::Open(connection),
                    None => return Poll::Ready(()),
                },
                PondTask::Open(connection) => return Pin::new(connection).poll(cx),
            }
        }
    }
}

/// Begins the connection of a client when its stream is there. `None` if the upgrade fails.
async fn begin(
    Upgrade { handshake, offer, .. }: Upgrade,
    endpoint: Arc<EndpointInner>,
    accepted: AcceptedConnection,
) -> Option<ConnectionTask<WebSocketTransport>> {
    let ((socket, writer), first, head) = match upgraded(offer, &endpoint).await? {
        UpgradedStream::Tcp(RecoveredStream { stream, first, head }) => (Socket::tcp(stream), first, head),
        UpgradedStream::Io(io) => (Socket::io(io), Vec::new(), Vec::new()),
    };
    let deflate = handshake.deflate();
    let framing = deflate.map_or(Framing::Plain, |deflate| Framing::Deflate { window_bits: deflate.window_bits() });
    let limits = DecoderLimits { max_message_size: endpoint.settings().max_message_size };
    let frames = WebSocketTransport::new(socket, first, Decoder::new(limits, deflate));
    let prepared = accepted.with_handle(&endpoint, framing, writer);
    let (handle, is_held) = (Arc::clone(&prepared.handle), !head.is_empty());
    handle.send_head(head);
    let id = handle.id().to_string();
    let connection = prepared.into_task(frames, &id);
    if is_held {
        // Before the first read: a client that has ended its side already gets the response all the same.
        poll_fn(|cx| {
            // What the socket does not take is left to the task of the connection, and so is a failure.
            let _ = handle.poll_flush(cx, None, Instant::now(), &mut false);
            Poll::Ready(())
        })
        .await;
    }
    Some(connection)
}

async fn serve_raw(
    upgrade: Upgrade,
    endpoint: Arc<EndpointInner>,
    client: Option<IpAddr>,
    permits: Permits,
    handler: RawHandler,
) {
    let Upgrade { handshake, offer, offered, preferred: agreed } = upgrade;
    let Some(stream) = upgraded(offer, &endpoint).await else { return };
    let (io, first, head): (Box<dyn Io>, _, _) = match stream {
        UpgradedStream::Tcp(RecoveredStream { stream, first, head }) => (Box::new(stream), first, head),
        UpgradedStream::Io(io) => (io, Vec::new(), Vec::new()),
    };
    let settings = endpoint.settings();
    let decoder = Decoder::new(DecoderLimits { max_message_size: settings.max_message_size }, handshake.deflate());
    let bounds = SocketBounds {
        messages: settings.receive_channel_buffer,
        message_bytes: settings.max_message_size,
        sent_bytes: settings.outbox_bytes,
    };
    let shared = SharedSocket::new(bounds, &endpoint.common.memory);
    shared.change(|state| state.push_frame(&head));
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
async fn upgraded(offer: UpgradeOffer, endpoint: &EndpointInner) -> Option<UpgradedStream> {
    let settings = endpoint.settings();
    // Limited, because a client may never read the response.
    let stream = match timeout(settings.write_wait, offer.granted()).await {
        Ok(Ok(granted)) => granted,
        failed => {
            let path = &*endpoint.observer.endpoint;
            tracing::debug!(target: "pondsocket::connection", endpoint = path, error = ?failed.err(), "upgrade failed");
            let (switching, reason) = (StatusCode::SWITCHING_PROTOCOLS.as_u16(), DeclineReason::Upgrade);
            endpoint.observer.count(|metrics, path| metrics.connection_declined(path, switching, reason));
            return None;
        }
    };
    if let UpgradedStream::Tcp(RecoveredStream { stream, .. }) = &stream {
        tune(stream, &settings);
    }
    Some(stream)
}

/// Sets the sizes of the socket's buffers. A failure is ignored, because the connection works without them.
fn tune(stream: &TcpStream, settings: &EndpointSettings) {
    let socket = SockRef::from(stream);
    if settings.read_buffer_size > 0 {
        let _ = socket.set_recv_buffer_size(settings.read_buffer_size);
    }
    if settings.write_buffer_size > 0 {
        let _ = socket.set_send_buffer_size(settings.write_buffer_size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle connection has one. The runtime adds 104 bytes and takes memory in steps of 128: this is the size of a step.
    #[test]
    fn a_connection_takes_three_steps_of_memory_for_its_task() {
        assert!(size_of::<PondTask>() <= 3 * 128 - 104);
    }
}
