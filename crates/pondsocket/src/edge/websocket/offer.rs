//! The upgrades that a host offers: the request becomes a byte stream after the response 101.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::engine::socket::Io;
use crate::engine::sync::Mutex;
use crate::handler::BoxFuture;
#[cfg(feature = "server")]
use crate::serve::ObservedStream;

/// The offer of a host that has no upgrades of hyper 1, to be inserted into the extensions of a request: when the pond
/// answers with 101 (Switching Protocols), it takes the bytes that follow from this.
///
/// Such a connection is read and written by its own task, without access to the socket: the host decides about
/// `read_buffer_size`, `write_buffer_size` and `TCP_NODELAY`. The host must send written bytes through a bounded buffer, and
/// end its side when the other end is shut down or dropped.
///
/// ```
/// use http::Request;
/// use pondsocket::{HostUpgrade, PondSocket};
/// use tower_service::Service;
///
/// # async fn answer(pond: PondSocket, mut request: Request<String>) {
/// // The host copies the one to and from its client, and the pond uses the other.
/// let (host, ours) = tokio::io::duplex(64 * 1024);
/// request.extensions_mut().insert(HostUpgrade::new(async { Ok(ours) }));
/// let answer = pond.service().call(request).await;
/// # }
/// ```
#[derive(Clone)]
pub struct HostUpgrade(Arc<Mutex<Option<UpgradeFuture>>>);

type UpgradeFuture = BoxFuture<'static, io::Result<Box<dyn Io>>>;

impl HostUpgrade {
    /// Creates an offer. The future completes with the stream after the response; if it takes longer than `write_wait`, the
    /// client is disconnected. It is dropped if the client is refused.
    pub fn new<F, S>(upgrade: F) -> HostUpgrade
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let upgrade: UpgradeFuture = Box::pin(async { Ok(Box::new(upgrade.await?) as Box<dyn Io>) });
        HostUpgrade(Arc::new(Mutex::new(Some(upgrade))))
    }

    async fn granted(self) -> io::Result<Box<dyn Io>> {
        let upgrade = self.0.lock().take();
        upgrade.ok_or_else(|| io::Error::other("the upgrade was taken before"))?.await
    }
}

impl fmt::Debug for HostUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostUpgrade")
    }
}

/// An offer of any kind.
#[derive(Clone)]
pub(crate) enum UpgradeOffer {
    Hyper(OnUpgrade),
    Host(HostUpgrade),
}

/// The upgraded form of a connection.
pub(super) enum UpgradedStream {
    Tcp(RecoveredStream),
    Io(Box<dyn Io>),
}

/// A TCP stream that was taken back from the host.
pub(crate) struct RecoveredStream {
    pub(crate) stream: TcpStream,
    /// Bytes that were read already.
    pub(crate) first: Vec<u8>,
    /// The head of the response, if the host has held it back: it is to be written ahead of everything else.
    pub(crate) head: Vec<u8>,
}

impl UpgradeOffer {
    /// Takes the offer out of a request.
    pub(crate) fn take(extensions: &mut Extensions) -> Option<UpgradeOffer> {
        let host = extensions.remove().map(UpgradeOffer::Host);
        host.or_else(|| extensions.remove().map(UpgradeOffer::Hyper))
    }

    /// Waits for the stream. A plain TCP stream is recovered from the standalone server, from hyper, or from the builder
    /// that detects HTTP versions (which axum uses), so that deliveries can write to it.
    pub(super) async fn granted(self) -> Result<UpgradedStream, Box<dyn Error + Send + Sync>> {
        match self {
            UpgradeOffer::Host(upgrade) => Ok(UpgradedStream::Io(upgrade.granted().await?)),
            UpgradeOffer::Hyper(upgrade) => Ok(match recover(upgrade.await?) {
                Ok(recovered) => UpgradedStream::Tcp(recovered),
                Err(upgraded) => UpgradedStream::Io(Box::new(TokioIo::new(upgraded))),
            }),
        }
    }
}

pub(crate) fn recover(upgraded: Upgraded) -> Result<RecoveredStream, Upgraded> {
    #[cfg(feature = "server")]
    let upgraded = match upgraded.downcast::<TokioIo<ObservedStream<TcpStream>>>() {
        Ok(parts) => {
            let (stream, head) = parts.io.into_inner().into_parts();
            return Ok(RecoveredStream { stream, first: parts.read_buf.into(), head });
        }
        Err(upgraded) => upgraded,
    };
    let (io, read) = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => (parts.io, parts.read_buf),
        Err(upgraded) => {
            let parts = hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)?;
            (parts.io, parts.read_buf)
        }
    };
    let stream = io.into_inner();
    // As the standalone server does when it accepts: small frames must not wait for the acknowledgement of earlier ones.
    // Without the option the connection works, too.
    let _ = stream.set_nodelay(true);
    Ok(RecoveredStream { stream, first: read.into(), head: Vec::new() })
}
