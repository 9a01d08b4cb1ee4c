//! The admission of clients. The cheapest checks come first, and the handler of the application last.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::pattern::Match;
use pondsocket_proto::position::Position;
use tracing::{Instrument, debug_span};

use crate::context::{Connected, ConnectionContext};
use crate::edge::accepted::AcceptedConnection;
use crate::edge::body::Body;
use crate::edge::connection::Permits;
use crate::edge::events;
use crate::edge::origin::{RequestOrigin, UnixPeer, check_origin};
use crate::edge::refusal::HttpRefusal;
use crate::edge::websocket::{OfferedSubprotocols, Upgrade, UpgradeOffer};
use crate::endpoint::{EndpointInner, EndpointKind, EndpointSettings};
use crate::engine::handle::Identity;
use crate::engine::ids;
use crate::engine::session_key::SessionKey;
use crate::engine::sessions::ConnectionSession;
use crate::engine::sync::Mutex;
use crate::error::{Error, InCall};
use crate::handler::dispatch::HandlerOutcome;
use crate::handler::pass::PassSlotRef;
use crate::handler::{Erased, Passable, guard};
use crate::limits::admission::{Admission, AdmissionError};
use crate::limits::arrivals::TooMany;
use crate::limits::gauge::Permit;
use crate::limits::memory::Charge;
use crate::limits::stored::TooLarge;
use crate::metrics::{ConnectionInfo, DeclineReason, HandlerKind};

/// A connect request at an endpoint.
pub(super) struct ConnectionRequest {
    pub(super) parts: Parts,
    pub(super) route: Match,
    pub(super) peer: Option<SocketAddr>,
    pub(super) offer: Option<UpgradeOffer>,
    /// True if it was passed on by an endpoint, and has waited for its turn there.
    pub(super) has_turn: bool,
}

/// The outcome for a request that is not refused.
pub(super) enum Admitted {
    /// A connection begins with this answer.
    Answered(Response<Body>),
    /// The endpoint's handler leaves the decision to the next endpoint.
    Passed(Box<ConnectionContext>),
}

/// Admits a connect request, or refuses it.
pub(super) async fn admit(
    endpoint: &Arc<EndpointInner>,
    settings: &EndpointSettings,
    request: ConnectionRequest,
) -> Result<Admitted, HttpRefusal> {
    let ConnectionRequest { parts, route, peer, offer, has_turn } = request;
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
            // Before limits and permits: a request that is no valid handshake takes none of them.
            let upgrade = Upgrade::of(&parts, offer, settings)?;
            check_origin(endpoint, settings, RequestOrigin::of(&parts, peer))?;
            let admission = Some(admit_client(endpoint, settings, client)?);
            if !has_turn {
                wait_for_turn(endpoint, settings, &parts).await?;
            }
            let permits = Permits { admission, permit: count_connection(endpoint, settings)? };
            Ok(Admitted::Answered(upgrade.open_raw(endpoint, client, permits, Arc::clone(handler))))
        }
        EndpointKind::Pond(handler) => {
            let upgrade = match events::wants_event_stream(endpoint, &parts) {
                true => None,
                false => Some(Upgrade::of(&parts, offer, settings)?),
            };
            check_origin(endpoint, settings, RequestOrigin::of(&parts, peer))?;
            let admission = admit_client(endpoint, settings, client)?;
            if !has_turn {
                wait_for_turn(endpoint, settings, &parts).await?;
            }
            let version = parts.version;
            let offered = upgrade.as_ref().map(|upgrade| upgrade.offered().clone());
            let handler_request = HandlerRequest { parts, route, peer, client, offered };
            let asking = pin!(ask(endpoint, settings, handler, handler_request, admission));
            let accepted = match endpoint.arrivals.in_steps(settings, &endpoint.observer, asking).await? {
                ConnectDecision::Accepted(accepted) => accepted,
                ConnectDecision::Passed(ctx) => return Ok(Admitted::Passed(ctx)),
            };
            let response = match upgrade {
                Some(upgrade) => upgrade.open(endpoint, accepted),
                None => events::open(endpoint, accepted, version)?,
            };
            Ok(Admitted::Answered(response))
        }
    }
}

fn draining(settings: &EndpointSettings) -> HttpRefusal {
    let error = Error::unavailable("shutting down").with_retry_after(settings.retry_after);
    HttpRefusal::new(error, DeclineReason::Draining)
}

/// Reserves a place for a client, within the limits of memory, connections and address.
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
    endpoint.admissions.admit(settings, client).map_err(|refused| {
        let reason = match refused {
            AdmissionError::Connections => DeclineReason::ConnectionLimit,
            AdmissionError::Address => DeclineReason::AddressLimit,
        };
        HttpRefusal::new(Error::from(refused).with_retry_after(settings.retry_after), reason)
    })
}

/// Waits until the connection handler may run, behind other clients that arrive. Cancel-safe: a client that goes away is
/// passed over.
async fn wait_for_turn(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    parts: &Parts,
) -> Result<(), HttpRefusal> {
    let waiting = endpoint.arrivals.connect(settings, &endpoint.observer).map_err(|TooMany| {
        let error = Error::unavailable("too many clients arrive").with_retry_after(settings.retry_after);
        HttpRefusal::new(error, DeclineReason::Overloaded)
    })?;
    let Some(waiting) = waiting else { return Ok(()) };
    let mut charge = Charge::new(&endpoint.common.memory);
    charge.set(parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum());
    waiting.turn(&endpoint.arrivals, &endpoint.observer).await;
    // It may have begun during the wait.
    if endpoint.common.drain.has_begun() { Err(draining(settings)) } else { Ok(()) }
}

/// Counts a connection, so that a shutdown waits for it. Fails if the shutdown has begun.
fn count_connection(endpoint: &EndpointInner, settings: &EndpointSettings) -> Result<Permit, HttpRefusal> {
    endpoint.common.drain.admit().ok_or_else(|| draining(settings))
}

/// A connect request for the handler of the application.
struct HandlerRequest {
    parts: Parts,
    route: Match,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    /// The subprotocols that the client offers; `None` over an event stream, which has no negotiation.
    offered: Option<OfferedSubprotocols>,
}

/// The decision of the application about a client that it has not declined. `A` is the type of an accepted one.
enum ConnectDecision<A> {
    Accepted(A),
    Passed(Box<ConnectionContext>),
}

/// Runs the handler and the hook, and creates the accepted connection.
async fn ask(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    handler: &Erased<ConnectionContext>,
    HandlerRequest { parts, route, peer, client, offered }: HandlerRequest,
    admission: Admission,
) -> Result<ConnectDecision<AcceptedConnection>, HttpRefusal> {
    let id = ConnectionId::from_u128(ids::fresh());
    // A WebSocket has no events, whatever the header says.
    let last_event = offered.is_none().then(|| events::last_event(&parts.headers)).flatten();
    let (states, observer) = (endpoint.states().clone(), Arc::clone(&endpoint.observer));
    let passing = PassSlotRef::default();
    let ctx = ConnectionContext { parts, route, id, peer, client, states, observer, passing };
    let connected = match decide(endpoint, settings, handler, ctx, offered).await? {
        ConnectDecision::Accepted(connected) => connected,
        ConnectDecision::Passed(ctx) => return Ok(ConnectDecision::Passed(ctx)),
    };
    // Counted only now, because a handler may take long; so the shutdown may have begun meanwhile.
    let permit = count_connection(endpoint, settings)?;
    let session = claim_session(endpoint, settings, &connected, last_event).await?;
    let resumed = session.as_ref().and_then(|session| session.user());
    let user = connected.user.clone().or(resumed).unwrap_or_else(|| UserId::from(id));
    let identity = Identity { id, user, ip: client };
    let assigns = Mutex::new(connected.assigns.clone());
    let info = ConnectionInfo {
        endpoint: &endpoint.observer.endpoint,
        id,
        user: &identity.user,
        ip: client,
        assigns: &assigns,
    };
    let allowed = endpoint.common.hooks.decide(|hooks| hooks.on_connect(&info));
    allowed.map_err(|error| HttpRefusal::new(error, DeclineReason::Hook))?;
    let permits = Permits { admission: Some(admission), permit };
    Ok(ConnectDecision::Accepted(AcceptedConnection { identity, connected, session, permits }))
}

/// The fewest characters of a session key that gives the user id back.
const SECRET_KEY: usize = 22;

/// Claims the session that the handler has named.
async fn claim_session(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    connected: &Connected,
    last_event: Option<Position>,
) -> Result<Option<Box<ConnectionSession>>, HttpRefusal> {
    let Some(key) = connected.session.as_deref() else { return Ok(None) };
    if connected.user.is_none() && key.chars().count() < SECRET_KEY {
        let error = Error::bad_request(format!("without a user id a session key has at least {SECRET_KEY} characters"));
        return Err(HttpRefusal::new(error.in_call("accept().session"), DeclineReason::Handler));
    }
    let user = connected.user.as_ref();
    Ok(endpoint.sessions.claim(SessionKey::of(key, user), user, last_event, settings.pong_proofs).await)
}

/// Runs the connection handler within its time limit. A shutdown waits for it.
async fn decide(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    handler: &Erased<ConnectionContext>,
    mut ctx: ConnectionContext,
    offered: Option<OfferedSubprotocols>,
) -> Result<ConnectDecision<Connected>, HttpRefusal> {
    let _permit = endpoint.common.drain.handlers.permit();
    let started = endpoint.observer.start();
    let path = &*endpoint.observer.endpoint;
    let span = debug_span!(target: "pondsocket::handler", "connect", endpoint = path, connection = %ctx.id);
    let handover = ctx.handover();
    let deciding = span.in_scope(|| endpoint.connect(handler, ctx));
    let returned = guard::run(deciding, settings.handler_timeout).instrument(span).await;
    let decided = match returned.map(|returned| HandlerOutcome::<ConnectionContext>::of(returned, &handover)) {
        Ok(HandlerOutcome::Answered(connected)) => check_accepted(endpoint, settings, connected, offered.as_ref()),
        Ok(HandlerOutcome::Passed(ctx)) => {
            // Metrics show a handler that has not decided as one that has found nothing.
            endpoint.finish(HandlerKind::Connection, None, started, Some(&Error::passed()));
            return Ok(ConnectDecision::Passed(Box::new(ctx)));
        }
        Ok(HandlerOutcome::Failed(error)) => Err(error),
        Err(late) => {
            let error = Error::from(late);
            endpoint.finish(HandlerKind::Connection, None, started, Some(&error));
            return Err(HttpRefusal::new(error, DeclineReason::Timeout));
        }
    };
    endpoint.finish(HandlerKind::Connection, None, started, decided.as_ref().err());
    decided.map(ConnectDecision::Accepted).map_err(|error| HttpRefusal::new(error, DeclineReason::Handler))
}

/// Checks the assigns and the subprotocol with which the handler has accepted a client.
fn check_accepted(
    endpoint: &EndpointInner,
    settings: &EndpointSettings,
    mut connected: Connected,
    offered: Option<&OfferedSubprotocols>,
) -> Result<Connected, Error> {
    if let Some(error) = connected.error.take() {
        return Err(error);
    }
    if !connected.assigns.is_empty() && connected.assigns.size() > settings.max_assigns_size {
        return Err(endpoint.observer.too_large(TooLarge::Assigns)).in_call("accept().assign");
    }
    if let (Some(offered), Some(name)) = (offered, &connected.subprotocol)
        && !offered.contains(name)
    {
        let error = Error::internal(format!("the client does not offer the subprotocol `{name}`"));
        return Err(error.in_call("accept().subprotocol"));
    }
    Ok(connected)
}
