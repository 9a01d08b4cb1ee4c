//! The admission of clients, and the entrance that each takes. What costs least is asked first, and the application
//! last.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::pattern::Match;
use tracing::{Instrument, debug_span};

use crate::context::{Connected, ConnectionContext};
use crate::edge::accepted::AcceptedConnection;
use crate::edge::body::Body;
use crate::edge::connection::Permits;
use crate::edge::events;
use crate::edge::origin::{RequestOrigin, check_origin};
use crate::edge::peer::UnixPeer;
use crate::edge::refusal::HttpRefusal;
use crate::edge::websocket::{OfferedSubprotocols, Upgrade, UpgradeOffer};
use crate::endpoint::{EndpointInner, EndpointKind, EndpointSettings};
use crate::engine::handle::Identity;
use crate::engine::ids;
use crate::engine::sync::Mutex;
use crate::error::{Error, InCall};
use crate::handler::{Erased, guard};
use crate::limits::admission::Admission;
use crate::limits::gauge::Permit;
use crate::metrics::{ConnectionInfo, DeclineReason, HandlerKind, Limit};

/// A request that has come to an endpoint.
pub(super) struct ConnectionRequest {
    pub(super) parts: Parts,
    pub(super) route: Match,
    pub(super) peer: Option<SocketAddr>,
    pub(super) offer: Option<UpgradeOffer>,
}

/// Lets a request in: a connection begins with the answer.
pub(super) async fn admit(
    endpoint: &Arc<EndpointInner>,
    settings: &EndpointSettings,
    request: ConnectionRequest,
) -> Result<Response<Body>, HttpRefusal> {
    let ConnectionRequest { parts, route, peer, offer } = request;
    let common = &endpoint.common;
    if common.drain.has_begun() {
        return Err(draining(settings));
    }
    let client = match peer {
        Some(peer) => Some(common.proxies.client(peer.ip(), &parts.headers)),
        None if parts.extensions.get::<UnixPeer>().is_some() => common.proxies.client_over_unix(&parts.headers),
        None => None,
    };
    match &endpoint.kind {
        EndpointKind::Raw(handler) => {
            let upgrade = Upgrade::of(&parts, offer, settings)?;
            check_origin(endpoint, settings, RequestOrigin::of(&parts, peer))?;
            let admission = Some(admit_client(endpoint, settings, client)?);
            let permits = Permits { admission, permit: count_connection(endpoint, settings)? };
            Ok(upgrade.open_raw(endpoint, client, permits, Arc::clone(handler)))
        }
        EndpointKind::Pond(handler) => {
            let upgrade = match events::are_wanted(endpoint, &parts) {
                true => None,
                false => Some(Upgrade::of(&parts, offer, settings)?),
            };
            check_origin(endpoint, settings, RequestOrigin::of(&parts, peer))?;
            let admission = admit_client(endpoint, settings, client)?;
            let version = parts.version;
            let offered = upgrade.as_ref().map(|upgrade| upgrade.offered().clone());
            let handler_request = HandlerRequest { parts, route, peer, client, offered };
            let accepted = ask(endpoint, settings, handler, handler_request, admission).await?;
            match upgrade {
                Some(upgrade) => Ok(upgrade.open(endpoint, accepted)),
                None => events::open(endpoint, accepted, version),
            }
        }
    }
}

fn draining(settings: &EndpointSettings) -> HttpRefusal {
    let error = Error::unavailable("shutting down").with_retry_after(settings.retry_after);
    HttpRefusal::new(error, DeclineReason::Draining)
}

/// A place for a client, if there is one.
fn admit_client(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    client: Option<IpAddr>,
) -> Result<Admission, HttpRefusal> {
    if endpoint.is_out_of_memory() {
        endpoint.common.memory.refuse();
        let full = Error::unavailable("out of memory").with_retry_after(settings.retry_after);
        return Err(HttpRefusal::new(full, DeclineReason::MemoryLimit));
    }
    let admitted = endpoint.admissions.admit(settings, client);
    admitted.map_err(|(error, reason)| HttpRefusal::new(error, reason))
}

/// From here on a shutdown waits for the client, unless it has begun.
fn count_connection(endpoint: &EndpointInner, settings: &EndpointSettings) -> Result<Permit, HttpRefusal> {
    endpoint.common.drain.admit().ok_or_else(|| draining(settings))
}

/// A client that the application has to decide about.
struct HandlerRequest {
    parts: Parts,
    route: Match,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    /// The subprotocols of which it can be told one; none over an event stream.
    offered: Option<OfferedSubprotocols>,
}

/// Asks the application whether a client may come in.
async fn ask(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    handler: &Erased<ConnectionContext>,
    HandlerRequest { parts, route, peer, client, offered }: HandlerRequest,
    admission: Admission,
) -> Result<AcceptedConnection, HttpRefusal> {
    let id = ConnectionId::from_u128(ids::fresh());
    let (states, observer) = (endpoint.states().clone(), Arc::clone(&endpoint.observer));
    let ctx = ConnectionContext { parts, route, id, peer, client, states, observer };
    let connected = decide(endpoint, settings, handler, ctx, offered).await.map_err(HttpRefusal::by_handler)?;
    // It may have begun meanwhile.
    let permit = count_connection(endpoint, settings)?;
    let user = connected.user.clone().unwrap_or_else(|| UserId::from(id));
    let identity = Identity { id, user, ip: client };
    let assigns = Mutex::new(connected.assigns.clone());
    let info = ConnectionInfo {
        endpoint: &endpoint.observer.endpoint,
        id,
        user: &identity.user,
        ip: client,
        assigns: &assigns,
    };
    let allowed = endpoint.common.hooks.ask(|hooks| hooks.on_connect(&info));
    allowed.map_err(|error| HttpRefusal::new(error, DeclineReason::Hook))?;
    Ok(AcceptedConnection { identity, connected, permits: Permits { admission: Some(admission), permit } })
}

/// Lets the application decide. A shutdown waits for it.
async fn decide(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    handler: &Erased<ConnectionContext>,
    ctx: ConnectionContext,
    offered: Option<OfferedSubprotocols>,
) -> Result<Connected, Error> {
    let _permit = endpoint.common.drain.handlers.permit();
    let started = endpoint.observer.start();
    let path = &*endpoint.observer.endpoint;
    let span = debug_span!(target: "pondsocket::handler", "connect", endpoint = path, connection = %ctx.id);
    let deciding = span.in_scope(|| endpoint.connect(handler, ctx));
    let decided = guard::run(deciding, settings.handler_timeout).instrument(span).await;
    let decided = decided.and_then(|mut connected| match connected.error.take() {
        Some(error) => Err(error),
        None => Ok(connected),
    });
    let decided = decided.and_then(|connected| match connected.assigns.to_json().len() > settings.max_assigns_size {
        true => Err(endpoint.observer.too_large(Limit::Assigns, "assigns").in_call("accept().assign")),
        false => Ok(connected),
    });
    let decided = decided.and_then(|connected| match (&offered, &connected.subprotocol) {
        (Some(offered), Some(name)) if !offered.contains(name) => {
            let error = Error::internal(format!("the client does not offer the subprotocol `{name}`"));
            Err(error.in_call("accept().subprotocol"))
        }
        _ => Ok(connected),
    });
    endpoint.finish(HandlerKind::Connection, None, started, decided.as_ref().err());
    decided
}
