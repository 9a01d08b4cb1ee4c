//! The choice of the endpoint that answers a request.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as HttpBody;

use crate::edge::admit::{Admitted, ConnectionRequest, admit};
use crate::edge::body::Body;
use crate::edge::events;
use crate::edge::origin::PeerAddr;
use crate::edge::refusal::{HttpRefusal, decline, refuse, with_cors};
use crate::edge::websocket::UpgradeOffer;
use crate::endpoint::EndpointInner;
use crate::error::Error;
use crate::metrics::DeclineReason;
use crate::pond::PondSocket;

/// Returns whether a request is for an endpoint and not for the host: a connect request, or one for an event stream.
pub(crate) fn is_ours<B>(pond: &PondSocket, request: &Request<B>) -> bool {
    let mut endpoints = matching(pond, target(request));
    match *request.method() {
        Method::GET => endpoints.next().is_some(),
        _ => events::is_for_event_stream(request) && endpoints.any(|endpoint| endpoint.offers_event_streams()),
    }
}

/// Answers a request, with 404 or 405 if it is for no endpoint.
pub(crate) async fn answer<B: HttpBody>(pond: PondSocket, request: Request<B>) -> Response<Body> {
    // Before the first client, and behind the registration of handlers.
    pond.common.restore();
    if request.method() == Method::GET {
        // The body of a connect request is not read.
        return receive(pond, request.map(drop)).await;
    }
    let endpoints: Vec<_> = matching(&pond, target(&request)).collect();
    if endpoints.is_empty() {
        return refuse(StatusCode::NOT_FOUND, "not found");
    }
    let streaming: Vec<_> = endpoints.into_iter().filter(|endpoint| endpoint.offers_event_streams()).collect();
    if streaming.is_empty() {
        return events::refuse_method("GET");
    }
    let peer = peer(&request);
    events::answer(streaming, peer, request).await
}

/// Opens a connection for the client, if an endpoint accepts it.
async fn receive(pond: PondSocket, mut request: Request<()>) -> Response<Body> {
    let target = target(&request);
    // The handler sees the URI against which its endpoint was matched.
    *request.uri_mut() = original_uri(&request).clone();
    let offer = UpgradeOffer::take(request.extensions_mut());
    let peer = peer(&request);
    let mut parts = request.into_parts().0;
    let (mut from, mut has_turn) = (0, false);
    while let Some((at, route, endpoint)) = pond.endpoint_for(&target, from) {
        let settings = endpoint.settings();
        let connect = ConnectionRequest { parts, route, peer, offer: offer.clone(), has_turn };
        let answered = admit(&endpoint, &settings, connect).await;
        let response = match answered {
            Ok(Admitted::Answered(response)) => response,
            Ok(Admitted::Passed(ctx)) if pond.endpoint_for(&target, at + 1).is_some() => {
                (parts, from, has_turn) = (ctx.parts, at + 1, true);
                continue;
            }
            // If all matching endpoints pass the client on, the last one counts it.
            Ok(Admitted::Passed(_)) => {
                decline(&endpoint, HttpRefusal::new(Error::not_found("not found"), DeclineReason::Handler))
            }
            Err(refused) => decline(&endpoint, refused),
        };
        return with_cors(&settings, response);
    }
    refuse(StatusCode::NOT_FOUND, "not found")
}

/// The endpoints whose pattern matches, in the order of their registration.
fn matching(pond: &PondSocket, target: String) -> impl Iterator<Item = Arc<EndpointInner>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let (at, _, endpoint) = pond.endpoint_for(&target, from)?;
        from = at + 1;
        Some(endpoint)
    })
}

/// The URI as the client sent it, with the prefix that the host may have stripped.
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
