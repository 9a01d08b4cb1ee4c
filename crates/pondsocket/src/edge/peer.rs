//! The peer of a request, from its extensions.

use std::net::SocketAddr;

/// The address of the peer. A host that knows it inserts it into the request's extensions; with the feature `axum`
/// its `ConnectInfo<SocketAddr>` is understood too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerAddr(pub SocketAddr);

/// Says of a request that it has come over a Unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnixPeer;
