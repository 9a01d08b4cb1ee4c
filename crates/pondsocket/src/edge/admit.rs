//! Who comes in, and by which entrance. What costs least is asked first, and the application last.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::pattern::Match;
use tracing::{Instrument, debug_span};

use crate::context::{Connected, ConnectionContext};
use crate::edge::body::Body;
use crate::edge::connection::Places;
use crate::edge::events;
use crate::edge::newcomer::Newcomer;
use crate::edge::origin::{Asker, check_origin};
use crate::edge::peer::UnixPeer;
use crate::edge::refusal::Refused;
use crate::edge::websocket::{Offer, Offered, Upgrade};
use crate::endpoint::{Door, EndpointInner, Settings};
use crate::engine::ids;
use crate::engine::link::Identity;
use crate::engine::sync::Mutex;
use crate::error::{Error, InCall};
use crate::handler::{Erased, guard};
use crate::limits::admission::Admission;
use crate::limits::gauge::Ticket;
use crate::limits::memory::Pressure;
use crate::metrics::{ConnectionInfo, DeclineReason, HandlerKind, Limit};

/// A request that has come to an endpoint.
pub(super) struct Arrival {
    pub(super) parts: Parts,
    pub(super) route: Match,
    pub(super) peer: Option<SocketAddr>,
    pub(super) offer: Option<Offer>,
}

/// Lets a request in: a connection begins with the answer.
pub(super) async fn admit(
    endpoint: &Arc<EndpointInner>,
    settings: &Settings,
    arrival: Arrival,
) -> Result<Response<Body>, Refused> {
    let Arrival { parts, route, peer, offer } = arrival;
    let common = &endpoint.common;
    if common.drain.has_begun() {
        return Err(draining(settings));
    }
    let client = match peer {
        Some(peer) => Some(common.proxies.client(peer.ip(), &parts.headers)),
        None if parts.extensions.get::<UnixPeer>().is_some() => common.proxies.client_over_unix(&parts.headers),
        None => None,
    };
    match &endpoint.door {
        Door::Raw(handler) => {
            let upgrade = Upgrade::of(&parts, offer, settings)?;
            check_origin(endpoint, settings, Asker::of(&parts, peer))?;
            let admission = Some(find_room(endpoint, settings, client)?);
            let places = Places { admission, ticket: count_in(endpoint, settings)? };
            Ok(upgrade.open_raw(endpoint, client, places, Arc::clone(handler)))
        }
        Door::Pond(handler) => {
            let upgrade = match events::are_wanted(endpoint, &parts) {
                true => None,
                false => Some(Upgrade::of(&parts, offer, settings)?),
            };
            check_origin(endpoint, settings, Asker::of(&parts, peer))?;
            let admission = find_room(endpoint, settings, client)?;
            let version = parts.version;
            let offered = upgrade.as_ref().map(|upgrade| upgrade.offered().clone());
            let asking = Asking { parts, route, peer, client, offered };
            let newcomer = ask(endpoint, settings, handler, asking, admission).await?;
            match upgrade {
                Some(upgrade) => Ok(upgrade.open(endpoint, newcomer)),
                None => events::open(endpoint, newcomer, version),
            }
        }
    }
}

fn draining(settings: &Settings) -> Refused {
    let error = Error::unavailable("shutting down").with_retry_after(settings.retry_after);
    Refused::new(error, DeclineReason::Draining)
}

/// A place for a client, if there is one.
fn find_room(endpoint: &EndpointInner, settings: &Settings, client: Option<IpAddr>) -> Result<Admission, Refused> {
    let memory = &endpoint.common.memory;
    if memory.pressure() == Pressure::Full {
        memory.refuse();
        let full = Error::unavailable("out of memory").with_retry_after(settings.retry_after);
        return Err(Refused::new(full, DeclineReason::MemoryLimit));
    }
    let admitted = endpoint.admissions.admit(settings, client);
    admitted.map_err(|(error, reason)| Refused::new(error, reason))
}

/// From here on a shutdown waits for the client, unless it has begun.
fn count_in(endpoint: &EndpointInner, settings: &Settings) -> Result<Ticket, Refused> {
    endpoint.common.drain.admit().ok_or_else(|| draining(settings))
}

/// A client that the application has to decide about.
struct Asking {
    parts: Parts,
    route: Match,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    /// The subprotocols of which it can be told one; none over an event stream.
    offered: Option<Offered>,
}

/// Asks the application whether a client may come in.
async fn ask(
    endpoint: &EndpointInner,
    settings: &Settings,
    handler: &Erased<ConnectionContext>,
    Asking { parts, route, peer, client, offered }: Asking,
    admission: Admission,
) -> Result<Newcomer, Refused> {
    let id = ConnectionId::from_u128(ids::fresh());
    let (states, observer) = (endpoint.states().clone(), Arc::clone(&endpoint.observer));
    let ctx = ConnectionContext { parts, route, id, peer, client, states, observer };
    let connected = decide(endpoint, settings, handler, ctx, offered).await.map_err(Refused::by_handler)?;
    // It may have begun meanwhile.
    let ticket = count_in(endpoint, settings)?;
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
    allowed.map_err(|error| Refused::new(error, DeclineReason::Hook))?;
    Ok(Newcomer { identity, connected, places: Places { admission: Some(admission), ticket } })
}

/// Lets the application decide. A shutdown waits for it.
async fn decide(
    endpoint: &EndpointInner,
    settings: &Settings,
    handler: &Erased<ConnectionContext>,
    ctx: ConnectionContext,
    offered: Option<Offered>,
) -> Result<Connected, Error> {
    let _ticket = endpoint.common.drain.handlers.ticket();
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
