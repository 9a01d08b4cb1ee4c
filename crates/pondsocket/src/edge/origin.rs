//! The origin of a request: its peer, and the page that makes it.

use std::net::SocketAddr;

use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Uri};

use crate::edge::refusal::HttpRefusal;
use crate::endpoint::{EndpointInner, EndpointSettings};
use crate::error::Error;
use crate::limits::origin::OriginCheck;
use crate::metrics::DeclineReason;

/// The address of the peer. A host that knows it inserts it into the request's extensions; with the feature `axum`
/// its `ConnectInfo<SocketAddr>` is understood too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerAddr(pub SocketAddr);

/// A mark of a request that was received over a Unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnixPeer;

/// A mark of a request whose client has authenticated itself with a TLS certificate, which a browser does for any page that
/// asks ([`CheckOrigin::WithCredentials`](crate::CheckOrigin::WithCredentials)). The standalone server knows that
/// by itself; another host that asks for certificates inserts this into the request's extensions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientCertificate;

/// The parts of a request that tell where it comes from.
#[derive(Clone, Copy)]
pub(super) struct RequestOrigin<'a> {
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    uri: &'a Uri,
    peer: Option<SocketAddr>,
}

impl RequestOrigin<'_> {
    pub(super) fn of(parts: &Parts, peer: Option<SocketAddr>) -> RequestOrigin<'_> {
        RequestOrigin { headers: &parts.headers, extensions: &parts.extensions, uri: &parts.uri, peer }
    }

    pub(super) fn of_request<B>(request: &Request<B>, peer: Option<SocketAddr>) -> RequestOrigin<'_> {
        RequestOrigin { headers: request.headers(), extensions: request.extensions(), uri: request.uri(), peer }
    }
}

/// Refuses a request of a page of another origin, where it matters. The log names the reason, because a proxy that does not
/// forward the requested host causes the same refusal.
pub(super) fn check_origin(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    origin: RequestOrigin<'_>,
) -> Result<(), HttpRefusal> {
    let proxies = &endpoint.common.proxies;
    let forwarded = match origin.extensions.get::<UnixPeer>() {
        Some(_) => proxies.forwarded_over_unix(origin.headers),
        None => proxies.forwarded(origin.peer, origin.headers),
    };
    let request = OriginCheck {
        headers: origin.headers,
        authority: origin.uri.authority().map(|authority| authority.as_str()),
        forwarded: &forwarded,
        certificate: origin.extensions.get::<ClientCertificate>().is_some(),
    };
    settings.origins.check(request).map_err(|foreign| {
        let (path, hint) = (&*endpoint.observer.endpoint, foreign.hint());
        let (origin, host, forwarded_host) = (&foreign.origin, &foreign.host, &foreign.forwarded_host);
        tracing::warn!(target: "pondsocket::connection", endpoint = path, ?origin, ?host, ?forwarded_host, hint, "origin not allowed");
        HttpRefusal::new(Error::forbidden("origin not allowed"), DeclineReason::Origin)
    })
}
