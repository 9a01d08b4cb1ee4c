//! Whether the page that makes a request may be here.

use std::net::SocketAddr;

use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Uri};

use crate::edge::peer::UnixPeer;
use crate::edge::refusal::Refused;
use crate::endpoint::{EndpointInner, Settings};
use crate::error::Error;
use crate::limits::origin::Asked;
use crate::metrics::DeclineReason;

/// Says that the client of a request has proved who it is with a certificate for TLS, which a browser does for whatever
/// page asks ([`CheckOrigin::WithCredentials`](crate::CheckOrigin::WithCredentials)). The standalone server knows that by
/// itself; another host that asks for certificates inserts this into the request's extensions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientCertificate;

/// What of a request tells where it comes from.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    uri: &'a Uri,
    peer: Option<SocketAddr>,
}

impl Asker<'_> {
    pub(super) fn of(parts: &Parts, peer: Option<SocketAddr>) -> Asker<'_> {
        Asker { headers: &parts.headers, extensions: &parts.extensions, uri: &parts.uri, peer }
    }

    pub(super) fn of_request<B>(request: &Request<B>, peer: Option<SocketAddr>) -> Asker<'_> {
        Asker { headers: request.headers(), extensions: request.extensions(), uri: request.uri(), peer }
    }
}

/// Refuses a request of a page of another origin, where it matters. The operator is told why: a proxy that does not say
/// which host was asked for looks the same.
pub(super) fn check_origin(endpoint: &EndpointInner, settings: &Settings, asker: Asker<'_>) -> Result<(), Refused> {
    let proxies = &endpoint.common.proxies;
    let forwarded = match asker.extensions.get::<UnixPeer>() {
        Some(_) => proxies.forwarded_over_unix(asker.headers),
        None => proxies.forwarded(asker.peer, asker.headers),
    };
    let asked = Asked {
        headers: asker.headers,
        authority: asker.uri.authority().map(|authority| authority.as_str()),
        forwarded: &forwarded,
        certificate: asker.extensions.get::<ClientCertificate>().is_some(),
    };
    settings.origins.check(asked).map_err(|foreign| {
        let (path, hint) = (&*endpoint.observer.endpoint, foreign.hint());
        let (origin, host, forwarded_host) = (&foreign.origin, &foreign.host, &foreign.forwarded_host);
        tracing::warn!(target: "pondsocket::connection", endpoint = path, ?origin, ?host, ?forwarded_host, hint, "origin not allowed");
        Refused::new(Error::forbidden("origin not allowed"), DeclineReason::Origin)
    })
}
