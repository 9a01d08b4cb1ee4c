use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use pondsocket_proto::channel::{ChannelLimits, Lists};
use pondsocket_proto::cluster::{ChannelKey, endpoint_name};
use pondsocket_proto::id::{ChannelName, ConnectionId};
use pondsocket_proto::pattern::{Match, Pattern};
use pondsocket_proto::position::Position;
use pondsocket_proto::wire::Object;

use super::settings::EndpointSettings;
use crate::channel::evictions::Evictions;
use crate::cluster::node::Node;
use crate::context::{ConnectionContext, JoinContext, Joined};
use crate::engine::handle::ConnectionHandle;
use crate::engine::hub::Hub;
use crate::engine::live::{LiveChannel, Pacing};
use crate::engine::sessions::Sessions;
use crate::engine::stream::Streams;
use crate::engine::sync::Mutex;
use crate::error::{Error, Result};
use crate::failure::{Around, backtrace, chain};
use crate::handler::dispatch::{Dispatch, HandlerFuture, Routes};
use crate::handler::guard;
use crate::handler::{BoxFuture, Erased};
use crate::limits::admission::Admissions;
use crate::limits::arrivals::Arrivals;
use crate::limits::memory::Pressure;
use crate::limits::stored::{NoRoom, TooLarge};
use crate::lobby::{Layers, LobbyInner};
use crate::metrics::{Component, HandlerKind, Observer};
use crate::pond::common::Common;
use crate::pond::states::States;
use crate::websocket::WebSocket;

/// A live channel of connections.
pub(crate) type Live = LiveChannel<LobbyInner>;

/// The future of a connection handler.
type ConnectFuture = BoxFuture<'static, Result<crate::context::Connected>>;

/// The protocol that an endpoint speaks with its clients.
#[derive(Clone)]
pub(crate) enum EndpointKind {
    /// The PondSocket protocol, with clients that the handler lets in.
    Pond(Erased<ConnectionContext>),
    /// None: the handler gets a raw WebSocket.
    Raw(Arc<dyn Fn(WebSocket) -> BoxFuture<'static, ()> + Send + Sync>),
}

pub(crate) struct EndpointInner {
    pub(crate) pattern: Pattern,
    pub(crate) kind: EndpointKind,
    pub(crate) hub: Arc<Hub<LobbyInner>>,
    /// The name of the endpoint in messages between nodes.
    pub(crate) name_among_nodes: Arc<str>,
    pub(crate) common: Arc<Common>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) admissions: Arc<Admissions>,
    pub(crate) arrivals: Arrivals,
    /// Bytes that its connections have sent and that are not handled yet.
    pub(crate) received: AtomicUsize,
    pub(crate) evictions: Evictions,
    pub(crate) sessions: Arc<Sessions>,
    pub(super) layers: Arc<Layers>,
    pub(super) settings: RwLock<Arc<EndpointSettings>>,
    pub(super) lobbies: RwLock<Vec<Arc<LobbyInner>>>,
    connections: Mutex<HashSet<ById>>,
    /// The connections that are event streams, by their secret.
    pub(crate) streams: Streams,
}

/// A connection in a set that is searched by its id. In a map each would take the memory of the id once more.
struct ById(Arc<ConnectionHandle>);

impl Borrow<ConnectionId> for ById {
    fn borrow(&self) -> &ConnectionId {
        &self.0.identity.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl Eq for ById {}

impl PartialEq for ById {
    fn eq(&self, other: &ById) -> bool {
        self.0.id() == other.0.id()
    }
}

impl EndpointInner {
    pub(crate) fn new(pattern: Pattern, kind: EndpointKind, common: Arc<Common>) -> Result<Arc<EndpointInner>> {
        let settings = EndpointSettings::new(common.options.clone(), &common.memory)?;
        let limits = ChannelLimits {
            soft_messages: settings.channel_queue,
            soft_bytes: settings.channel_queue_bytes,
            presence_bytes: settings.max_channel_presence,
            lists: Lists {
                max_bytes: settings.max_presence_list,
                repeated_bytes: settings.presence_batch,
                members: settings.large_channel,
            },
            ..ChannelLimits::default()
        };
        let memory = Arc::clone(&common.memory);
        let sessions = Sessions::new(settings.resume_window, settings.proof_interval, settings.max_sessions, memory);
        let pacing = Pacing {
            budget: settings.pacing_budget,
            presence_interval: u32::try_from(settings.presence_interval.as_millis()).unwrap_or(u32::MAX),
            timer: common.shared_timer.clone(),
        };
        let observer = Arc::new(Observer { endpoint: pattern.as_str().into(), meter: common.meter.clone() });
        let name: Arc<str> = endpoint_name(pattern.as_str()).into();
        let replication = common.node().map(|node| node.replication(&name));
        let endpoint = Arc::new(EndpointInner {
            pattern,
            kind,
            hub: Hub::new(limits, pacing, Arc::clone(&common.memory), Arc::clone(&common.histories), replication),
            name_among_nodes: name,
            common,
            observer,
            admissions: Arc::default(),
            arrivals: Arrivals::default(),
            received: AtomicUsize::new(0),
            evictions: Evictions::default(),
            sessions: Arc::new(sessions),
            layers: Arc::default(),
            settings: RwLock::new(Arc::new(settings)),
            lobbies: RwLock::new(Vec::new()),
            connections: Mutex::default(),
            streams: Streams::default(),
        });
        if let Some(restart) = &endpoint.common.restart {
            let endpoint: Weak<EndpointInner> = Arc::downgrade(&endpoint);
            restart.add(endpoint);
        }
        Ok(endpoint)
    }

    /// The node of the server, if it has a bus.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.common.node()
    }

    /// Subscribes to the messages of other nodes for a channel. Returns a future if that takes time ([`Node::subscribe`]).
    pub(crate) fn listen(&self, channel: &ChannelName) -> Option<BoxFuture<'static, ()>> {
        self.node()?.subscribe(self.key(channel))
    }

    /// Opens a channel whose history other nodes share. Returns a future if the history is yet to be read from the store, or to
    /// get to the position of the client, which has received more from another node: a join handler is told what a client has
    /// missed. The future has `true` if this node has all that the store had when the client came, and `false` if the store could not
    /// be read in time.
    pub(crate) fn open_history(
        &self,
        channel: &ChannelName,
        reached: impl FnOnce() -> ReachedPosition,
    ) -> Option<BoxFuture<'static, bool>> {
        let node = self.node().filter(|node| node.shares_histories())?;
        // The channel belongs to the lobby that accepts its first join: usually the first one that matches.
        let (_, _, lobby) = self.lobby_for(channel.as_str(), 0).filter(|(_, _, lobby)| lobby.keeps_history())?;
        let live = self.hub.get_or_create(channel, &lobby);
        let reached = reached();
        let lacks = move |live: &Live| reached.in_history(live).is_some_and(|position| live.lacks(position));
        if !live.is_loading() && !lacks(&live) {
            return None;
        }
        let (node, key) = (Arc::clone(node), self.key(channel));
        Some(Box::pin(async move {
            node.loaded(&key, || live.is_loading()).await;
            !lacks(&live) || node.catch_up(&key, || lacks(&live)).await
        }))
    }

    /// The name of a channel of this endpoint among nodes.
    pub(crate) fn key(&self, channel: &ChannelName) -> ChannelKey {
        ChannelKey { endpoint: Arc::clone(&self.name_among_nodes), channel: channel.clone() }
    }

    pub(crate) fn states(&self) -> &States {
        &self.common.states
    }

    pub(crate) fn settings(&self) -> Arc<EndpointSettings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns `true` if clients may come over event streams.
    pub(crate) fn offers_event_streams(&self) -> bool {
        matches!(self.kind, EndpointKind::Pond(_)) && self.settings().event_streams
    }

    /// # Errors
    /// 400 if the name is invalid or too long; 404 if it is not in canonical form and the options require that.
    pub(crate) fn channel_name(&self, name: &str) -> Result<ChannelName> {
        let settings = self.settings();
        let named = ChannelName::new(name, settings.max_channel_name);
        let named = named.map_err(|error| Error::bad_request(error.to_string()))?;
        if settings.canonical_channel_names && !is_canonical(name) {
            return Err(Error::not_found("no such channel: its name is not in canonical form"));
        }
        Ok(named)
    }

    /// Calls the connection handler, with all layers around it.
    pub(crate) fn connect(&self, handler: &Erased<ConnectionContext>, ctx: ConnectionContext) -> ConnectFuture {
        // Composing the layers allocates, so the usual case without them does not.
        if self.layers.connection.is_empty() {
            return guard::call(|| handler(ctx));
        }
        let handler = self.layers.connection.around(Arc::clone(handler));
        guard::call(|| handler(ctx))
    }

    /// Calls the join handlers that match, from the `from`-th lobby on, with all layers around them.
    pub(crate) fn join(
        self: &Arc<Self>,
        ctx: JoinContext,
        from: usize,
    ) -> HandlerFuture<JoinContext, Arc<EndpointInner>> {
        let me = Arc::clone(self);
        if self.layers.join.is_empty() {
            return HandlerFuture::Direct(Dispatch::new(me, ctx, from));
        }
        let router: Erased<JoinContext> =
            Arc::new(move |ctx: JoinContext| Box::pin(Dispatch::new(Arc::clone(&me), ctx, from)));
        let handler = self.layers.join.around(router);
        HandlerFuture::Layered(guard::call(|| handler(ctx)))
    }

    /// The first lobby whose pattern matches `name`, of those from the `from`-th on.
    pub(crate) fn lobby_for(&self, name: &str, from: usize) -> Option<(usize, Match, Arc<LobbyInner>)> {
        // Matching runs no code of the application, so it may run under the lock.
        let lobbies = self.lobbies.read().unwrap_or_else(PoisonError::into_inner);
        let mut rest = lobbies.iter().enumerate().skip(from);
        rest.find_map(|(at, lobby)| Some((at, lobby.pattern.matches(name)?, Arc::clone(lobby))))
    }

    /// Returns whether this is the `at`-th lobby.
    fn is_lobby(&self, at: usize, lobby: &Arc<LobbyInner>) -> bool {
        let lobbies = self.lobbies.read().unwrap_or_else(PoisonError::into_inner);
        lobbies.get(at).is_some_and(|known| Arc::ptr_eq(known, lobby))
    }

    /// The first lobby that keeps a history among those whose pattern matches `name`.
    pub(crate) fn history_lobby(&self, name: &str) -> Option<Arc<LobbyInner>> {
        let lobbies = self.lobbies.read().unwrap_or_else(PoisonError::into_inner);
        lobbies.iter().find(|lobby| lobby.keeps_history() && lobby.pattern.matches(name).is_some()).cloned()
    }

    /// The lobbies whose pattern matches `name`.
    pub(super) fn lobbies_for(&self, name: &str) -> Vec<Arc<LobbyInner>> {
        let lobbies = self.lobbies.read().unwrap_or_else(PoisonError::into_inner);
        lobbies.iter().filter(|lobby| lobby.pattern.matches(name).is_some()).cloned().collect()
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<Arc<ConnectionHandle>> {
        self.connections.lock().get(&id).filter(|known| known.0.is_open()).map(|known| Arc::clone(&known.0))
    }

    pub(crate) fn register(&self, handle: &Arc<ConnectionHandle>) {
        self.connections.lock().insert(ById(Arc::clone(handle)));
    }

    pub(crate) fn unregister(&self, id: ConnectionId) {
        // Dropped after the lock is released: it may be the last reference, and its outbox goes with it.
        let gone = self.connections.lock().take(&id);
        drop(gone);
    }

    /// Logs and counts that the queue of a channel is full.
    pub(crate) fn refuse(&self, name: &ChannelName, reason: NoRoom) -> NoRoom {
        let (endpoint, limit) = (&*self.observer.endpoint, reason.limit());
        tracing::warn!(target: "pondsocket::limit", endpoint, channel = name.as_str(), %limit, "limit reached");
        self.observer.count(|metrics, endpoint| metrics.limit_reached(endpoint, limit));
        reason
    }

    /// Returns `true` if `memory_limit` is reached: clients and broadcasts are refused then.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.common.memory.pressure() == Pressure::Full
    }

    /// Logs and counts the end of a leave handler. No client gets its failure.
    pub(crate) fn finish_leave(
        &self,
        (channel, user): (&str, &str),
        lobby: &LobbyInner,
        started: Option<tokio::time::Instant>,
        outcome: &Result<()>,
    ) {
        self.finish(HandlerKind::Leave, Some(lobby), started, outcome.as_ref().err());
        if let Err(error) = outcome {
            let around = Around::now();
            tracing::error!(
                target: "pondsocket::handler",
                endpoint = around.missing("endpoint", &*self.observer.endpoint),
                user = around.missing("user", user),
                channel = around.missing("channel", channel),
                pattern = lobby.pattern.as_str(),
                call = error.call(),
                error = chain(error),
                backtrace = backtrace(error),
                "leave handler failed"
            );
            self.observer.count(|metrics, _| metrics.error(Component::LeaveHandler, error));
        }
    }

    /// Counts the end of a handler in the application's metrics.
    pub(crate) fn finish(
        &self,
        kind: HandlerKind,
        lobby: Option<&LobbyInner>,
        started: Option<tokio::time::Instant>,
        error: Option<&Error>,
    ) {
        let Some(started) = started else { return };
        let pattern = lobby.map_or(self.pattern.as_str(), |lobby| lobby.pattern.as_str());
        let (took, code) = (started.elapsed(), error.map(Error::code));
        self.observer.count(|metrics, _| metrics.handler_finished(kind, pattern, took, code));
    }

    /// Checks the size of a presence.
    pub(crate) fn check_presence(&self, presence: &Object) -> Result<(), TooLarge> {
        let fits = presence.as_str().len() <= self.settings().max_presence_size;
        if fits { Ok(()) } else { Err(self.observer.too_large(TooLarge::Presence)) }
    }

    /// All connections whose task has not ended, including those that are closing and those that are closed but still
    /// have messages to be handled.
    pub(crate) fn handles(&self) -> Vec<Arc<ConnectionHandle>> {
        self.connections.lock().iter().map(|known| Arc::clone(&known.0)).collect()
    }
}

/// The position that a client has reached in a channel that it joins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReachedPosition {
    /// That of the last event that it has received, in whichever channel that was.
    pub(crate) last_event: Option<Position>,
    /// That which applies if the event was one of another channel.
    pub(crate) otherwise: Option<Position>,
}

impl ReachedPosition {
    fn in_history(self, live: &Live) -> Option<Position> {
        self.last_event.filter(|position| live.epoch() == Some(position.epoch)).or(self.otherwise)
    }
}

impl Routes<JoinContext> for Arc<EndpointInner> {
    fn start(&self, mut ctx: JoinContext, from: usize) -> Result<(usize, BoxFuture<'static, Result<Joined>>)> {
        // The first attempt has been matched before, for the hooks. A join that was passed on has the lobby that it comes from.
        if let Some(lobby) = ctx.lobby.clone().filter(|lobby| self.is_lobby(from, lobby)) {
            return Ok((from, lobby.join(ctx)));
        }
        let Some((at, route, lobby)) = self.lobby_for(ctx.name.as_str(), from) else {
            return Err(Error::unrouted("no such channel"));
        };
        (ctx.lobby, ctx.route) = (Some(Arc::clone(&lobby)), route);
        Ok((at, lobby.join(ctx)))
    }

    fn pattern(&self, at: usize) -> Option<Box<str>> {
        let lobbies = self.lobbies.read().unwrap_or_else(PoisonError::into_inner);
        lobbies.get(at).map(|lobby| lobby.pattern.as_str().into())
    }
}

/// One slash before each segment, and none at the end (docs/protocol.md, Names and patterns).
fn is_canonical(name: &str) -> bool {
    let path = name.split('?').next().unwrap_or(name);
    path.starts_with('/') && !path.contains("//") && (path == "/" || !path.ends_with('/'))
}

impl fmt::Debug for EndpointInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("pattern", &self.pattern.as_str()).finish_non_exhaustive()
    }
}
