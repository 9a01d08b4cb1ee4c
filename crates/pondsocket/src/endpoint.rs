use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use pondsocket_proto::channel::{Channel as Core, ChannelLimits, Departure, Full, Lists, Outbound, Target};
use pondsocket_proto::cluster::{ChannelKey, endpoint_name};
use pondsocket_proto::id::{ChannelName, ConnectionId};
use pondsocket_proto::pattern::{Match, Pattern};
use pondsocket_proto::wire::{Json, Object};
use serde::Serialize;
use tracing::{Instrument, debug_span};

use crate::channel::Channel;
use crate::channel::evictions::Evictions;
use crate::cluster::node::Node;
use crate::context::{ConnectionContext, EventContext, JoinContext, Joined, LeaveContext, LeaveReason};
use crate::delivery::{Delivery, Remote};
use crate::engine::closing::{Close, Closure};
use crate::engine::handle::ConnectionHandle;
use crate::engine::hub::Hub;
use crate::engine::ids;
use crate::engine::live::{LiveChannel, Pacing};
use crate::engine::outbox::{Bounds, OutboxLimits};
use crate::engine::pace::PacingLimits;
use crate::engine::stream::Streams;
use crate::engine::sync::Mutex;
use crate::error::{Error, InCall, OrPanic, Result, encoding};
use crate::failure::{Around, backtrace, chain};
use crate::handler::dispatch::{Dispatch, HandlerFuture, Routes};
use crate::handler::guard;
use crate::handler::{BoxFuture, Erased, Handler, erase};
use crate::json::encode::{Encoded, MessageError, with_broadcast};
use crate::json::received::ReceivedPayload;
use crate::limits::admission::Admissions;
use crate::limits::memory::{Memory, Pressure};
use crate::limits::origin::Origins;
use crate::limits::stored::{NoRoom, TooLarge};
use crate::lobby::{Layers, Lobby, LobbyInner};
use crate::metrics::{CloseReason, Component, HandlerKind, Observer};
use crate::middleware::Layer;
use crate::options::{EndpointOptions, Options};
use crate::outgoing::OutgoingLayer;
use crate::pond::common::Common;
use crate::pond::host::EndpointHost;
use crate::pond::registration::{check_new, parse};
use crate::pond::states::States;
use crate::user::User;
use crate::websocket::WebSocket;

/// What a connection handler is about to say.
type ConnectFuture = BoxFuture<Result<crate::context::Connected>>;

/// A live channel of connections.
pub(crate) type Live = LiveChannel<LobbyInner>;

/// Where clients connect: who may come in, the channels they can join, and the connections there are.
///
/// Cheap to clone. Everything may be called at any time, and affects later connections and joins.
#[derive(Clone, Debug)]
pub struct Endpoint(pub(crate) Arc<EndpointInner>);

/// Whence a broadcast comes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BroadcastSource<'a> {
    /// The channel that its sender is in.
    pub(crate) channel: Option<&'a Arc<Live>>,
    /// The user whose message it answers: other nodes see it as from that user.
    pub(crate) user: Option<&'a str>,
}

/// The failure of a broadcast. Nothing was enqueued.
#[derive(Debug)]
pub(crate) enum BroadcastError {
    Message(MessageError),
    NoRoom(NoRoom),
}

impl BroadcastError {
    /// The error of an application that has broadcast `payload` while it handled what was received.
    pub(crate) fn explain<T: Serialize + ?Sized>(self, received: &ReceivedPayload, payload: &T) -> Error {
        match self {
            BroadcastError::Message(error) => error.explain(received, payload),
            BroadcastError::NoRoom(reason) => reason.into(),
        }
    }
}

/// What happens to those who come in.
#[derive(Clone)]
pub(crate) enum EndpointKind {
    /// They speak the PondSocket protocol, if the handler lets them.
    Pond(Erased<ConnectionContext>),
    /// They get a raw WebSocket.
    Raw(Arc<dyn Fn(WebSocket) -> BoxFuture<()> + Send + Sync>),
}

pub(crate) struct EndpointInner {
    pub(crate) pattern: Pattern,
    pub(crate) kind: EndpointKind,
    pub(crate) hub: Arc<Hub<LobbyInner>>,
    /// What other nodes call it.
    topic: Arc<str>,
    pub(crate) common: Arc<Common>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) admissions: Arc<Admissions>,
    /// Bytes that its connections have sent and that are not handled yet.
    pub(crate) received: AtomicUsize,
    pub(crate) evictions: Evictions,
    layers: Arc<Layers>,
    settings: RwLock<Arc<EndpointSettings>>,
    lobbies: RwLock<Vec<Arc<LobbyInner>>>,
    connections: Mutex<HashMap<ConnectionId, Arc<ConnectionHandle>>>,
    /// Those of the connections that are event streams.
    pub(crate) streams: Streams,
}

/// The options of one endpoint, and what is made of them once.
#[derive(Debug)]
pub(crate) struct EndpointSettings {
    options: Options,
    pub(crate) origins: Origins,
    /// What the outboxes of its connections share.
    pub(crate) outboxes: Arc<OutboxLimits>,
}

impl EndpointSettings {
    fn new(options: Options, memory: &Arc<Memory>) -> Result<EndpointSettings> {
        options.validate()?;
        let bounds = Bounds {
            frames: options.send_channel_buffer,
            bytes: options.outbox_bytes,
            policy: options.slow_client,
            pacing: PacingLimits { wait: options.pacing_wait, rate: options.pacing_rate },
        };
        let outboxes = Arc::new(OutboxLimits { bounds, memory: Arc::clone(memory) });
        Ok(EndpointSettings { origins: Origins::new(&options)?, outboxes, options })
    }
}

impl Deref for EndpointSettings {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

impl Endpoint {
    /// The pattern that paths are matched against.
    pub fn path(&self) -> &str {
        self.0.pattern.as_str()
    }

    /// Overrides options for this endpoint. It affects later connections.
    ///
    /// # Panics
    /// If they can't work; the message names the field. See [`try_options`](Self::try_options).
    #[must_use]
    #[track_caller]
    pub fn options(self, options: EndpointOptions) -> Self {
        self.try_options(options).or_panic()
    }

    /// The same, with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if they can't work; the message names the field.
    pub fn try_options(self, options: EndpointOptions) -> Result<Self> {
        let settings = EndpointSettings::new(options.over(&self.0.common.options), &self.0.common.memory)?;
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(self)
    }

    /// Puts a layer around the connection handler (see [`middleware`](crate::middleware)).
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer<M>(&self, layer: impl Layer<ConnectionContext, M>) -> &Self {
        self.0.layers.connection.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every join of the endpoint's channels.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_joins<M>(&self, layer: impl Layer<JoinContext, M>) -> &Self {
        self.0.layers.join.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every event of the endpoint's channels, also around those that no handler matches.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_events<M>(&self, layer: impl Layer<EventContext, M>) -> &Self {
        self.0.layers.event.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every leave of the endpoint's channels, also where there is no leave handler.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_leaves<M>(&self, layer: impl Layer<LeaveContext, M>) -> &Self {
        self.0.layers.leave.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every broadcast and reply of the endpoint's channels, for each recipient: none of them is
    /// delivered as one message for all any more.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_outgoing<M>(&self, layer: impl OutgoingLayer<M>) -> &Self {
        self.0.layers.outgoing.push(layer, self.0.states());
        self
    }

    /// Decides the joins of channels whose name matches `pattern`. The first pattern registered that matches wins.
    ///
    /// # Panics
    /// If the pattern is invalid or taken, or a [`State`](crate::State) is missing. See
    /// [`try_create_channel`](Self::try_create_channel).
    #[track_caller]
    pub fn create_channel<M>(&self, pattern: &str, join: impl Handler<JoinContext, M>) -> Lobby {
        self.try_create_channel(pattern, join).or_panic()
    }

    /// The same, with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if the pattern is invalid, 409 if it is taken.
    pub fn try_create_channel<M>(&self, pattern: &str, join: impl Handler<JoinContext, M>) -> Result<Lobby> {
        let pattern = parse(pattern)?;
        let join = erase(join, self.0.states());
        let mut lobbies = self.0.lobbies.write().unwrap_or_else(PoisonError::into_inner);
        check_new("channel", &pattern, lobbies.iter().map(|lobby| &*lobby.pattern))?;
        let (states, observer) = (self.0.states().clone(), Arc::clone(&self.0.observer));
        let lobby = LobbyInner::new(pattern, join, states, observer, Arc::clone(&self.0.layers));
        lobbies.push(Arc::clone(&lobby));
        Ok(Lobby(lobby))
    }

    /// The channel of this exact name, whether or not anybody is in it.
    ///
    /// # Errors
    /// 404 if no pattern matches it, 400 if it is reserved or over-long.
    pub fn channel(&self, name: &str) -> Result<Channel> {
        let name = self.0.channel_name(name)?;
        self.0.lobby_for(name.as_str(), 0).ok_or_else(|| Error::not_found("no channel pattern matches"))?;
        Ok(Channel::new(&self.0, name))
    }

    /// All connections of this endpoint on this node.
    pub fn connections(&self) -> Vec<Connection> {
        let handles = self.0.handles().into_iter();
        handles.filter(|handle| handle.is_open()).map(Connection).collect()
    }

    /// The connection with this id, if it is on this node.
    pub fn connection(&self, id: &str) -> Option<Connection> {
        self.0.connection(id.parse().ok()?).map(Connection)
    }

    /// Closes a connection with close code 1000: its memberships end at once, and it gets what was sent to it before.
    ///
    /// # Errors
    /// 404 if there is none with this id.
    pub fn disconnect(&self, id: &str) -> Result<()> {
        let connection = self.connection(id).ok_or_else(|| Error::not_found("no such connection"))?;
        connection.disconnect();
        Ok(())
    }
}

/// A connection, to act on from anywhere.
#[derive(Clone, Debug)]
pub struct Connection(pub(crate) Arc<ConnectionHandle>);

impl Connection {
    /// The connection's id.
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// The id of its user.
    pub fn user_id(&self) -> &str {
        self.0.user().as_str()
    }

    /// The user id, and the connection's assigns.
    pub fn user(&self) -> User {
        User { id: self.0.user().clone(), assigns: self.0.assigns(), presence: None }
    }

    /// Sets an assign of the connection: later joins start with it.
    ///
    /// # Errors
    /// 500 if the value does not serialise, 413 if the assigns would be larger than `max_assigns_size`.
    pub fn set_assign<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let value = Json::encode(value).map_err(encoding).in_call("connection.set_assign")?;
        self.0.assign(key, value).in_call("connection.set_assign")
    }

    /// Closes it with close code 1000: its memberships end at once. What was sent to it before reaches it, if it reads.
    pub fn disconnect(&self) {
        self.0.close(Close::Graceful(disconnected("disconnected by the server")));
    }
}

/// The application ends a connection.
pub(crate) fn disconnected(text: &'static str) -> Closure {
    Closure { code: 1000, text: text.into(), reason: CloseReason::Server }
}

impl EndpointInner {
    pub(crate) fn new(pattern: Pattern, kind: EndpointKind, common: Arc<Common>) -> Result<Arc<EndpointInner>> {
        let settings = EndpointSettings::new(common.options.clone(), &common.memory)?;
        let limits = ChannelLimits {
            soft_messages: settings.channel_queue,
            soft_bytes: settings.channel_queue_bytes,
            presence_bytes: settings.max_channel_presence,
            lists: Lists { max_bytes: settings.max_presence_list, repeated_bytes: settings.presence_batch },
            ..ChannelLimits::default()
        };
        let pacing = Pacing { budget: settings.pacing_budget, timer: common.shared_timer.clone() };
        let observer = Arc::new(Observer { endpoint: pattern.as_str().into(), meter: common.meter.clone() });
        let topic: Arc<str> = endpoint_name(pattern.as_str()).into();
        let node = common.node().cloned();
        let replication = node.as_ref().map(|node| node.replication(&topic));
        let endpoint = Arc::new(EndpointInner {
            pattern,
            kind,
            hub: Hub::new(limits, pacing, Arc::clone(&common.memory), replication),
            topic: Arc::clone(&topic),
            common,
            observer,
            admissions: Arc::default(),
            received: AtomicUsize::new(0),
            evictions: Evictions::default(),
            layers: Arc::default(),
            settings: RwLock::new(Arc::new(settings)),
            lobbies: RwLock::new(Vec::new()),
            connections: Mutex::new(HashMap::new()),
            streams: Streams::default(),
        });
        if let Some(node) = node {
            node.add_host(&topic, EndpointHost::of(&endpoint));
        }
        Ok(endpoint)
    }

    /// This node among others, if it is one.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.common.node()
    }

    /// Begins to hear what others say in a channel, if that takes time ([`Node::listen`]).
    pub(crate) fn listen(&self, channel: &ChannelName) -> Option<BoxFuture<()>> {
        self.node()?.subscribe(self.key(channel))
    }

    /// What other nodes know a channel of this endpoint by.
    pub(crate) fn key(&self, channel: &ChannelName) -> ChannelKey {
        ChannelKey { endpoint: Arc::clone(&self.topic), channel: channel.clone() }
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
    /// 400 if it is no name for a channel, or too long; 404 if it is not in canonical form, where that is asked for.
    pub(crate) fn channel_name(&self, name: &str) -> Result<ChannelName> {
        let settings = self.settings();
        let named = ChannelName::new(name, settings.max_channel_name);
        let named = named.map_err(|error| Error::bad_request(error.to_string()))?;
        if settings.canonical_channel_names && !is_canonical(name) {
            return Err(Error::not_found("no such channel: its name is not in canonical form"));
        }
        Ok(named)
    }

    /// Lets the connection handler decide, with all layers around it.
    pub(crate) fn connect(&self, handler: &Erased<ConnectionContext>, ctx: ConnectionContext) -> ConnectFuture {
        if self.layers.connection.is_empty() {
            return guard::call(|| handler(ctx));
        }
        let handler = self.layers.connection.around(Arc::clone(handler));
        guard::call(|| handler(ctx))
    }

    /// Lets the join handlers that match decide, from the `from`-th lobby on, with all layers around them.
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
        let lobbies = self.lobbies.read().unwrap_or_else(PoisonError::into_inner);
        let mut rest = lobbies.iter().enumerate().skip(from);
        rest.find_map(|(at, lobby)| Some((at, lobby.pattern.matches(name)?, Arc::clone(lobby))))
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<Arc<ConnectionHandle>> {
        self.connections.lock().get(&id).filter(|handle| handle.is_open()).cloned()
    }

    pub(crate) fn register(&self, handle: &Arc<ConnectionHandle>) {
        self.connections.lock().insert(handle.id(), Arc::clone(handle));
    }

    pub(crate) fn unregister(&self, id: ConnectionId) {
        let gone = self.connections.lock().remove(&id);
        drop(gone);
    }

    /// Encodes a broadcast and enqueues it: in the origin's room while that lives, else in whatever channel has its
    /// name now; and for other nodes, if it may concern anybody there.
    pub(crate) fn broadcast<T: Serialize + ?Sized>(
        &self,
        source: BroadcastSource<'_>,
        name: &ChannelName,
        to: &Target,
        event: &str,
        payload: &T,
    ) -> Result<Delivery, BroadcastError> {
        let sent =
            with_broadcast(name.as_str(), event, payload, |message| self.enqueue(source, name, to, event, message));
        let delivery = sent.map_err(BroadcastError::Message)?.map_err(BroadcastError::NoRoom)?;
        let (endpoint, channel, members) = (&*self.observer.endpoint, name.as_str(), delivery.local);
        tracing::trace!(target: "pondsocket::message", endpoint, channel, event, members, "broadcast");
        self.observer.count(|metrics, endpoint| metrics.message_broadcast(endpoint, channel, event, members));
        Ok(delivery)
    }

    fn enqueue(
        &self,
        source: BroadcastSource<'_>,
        name: &ChannelName,
        to: &Target,
        event: &str,
        message: &Encoded<'_>,
    ) -> Result<Delivery, NoRoom> {
        let Encoded { request_id, payload, text } = *message;
        if self.is_out_of_memory() {
            return Err(self.refuse(name, NoRoom::OutOfMemory));
        }
        let mut channel = source.channel.cloned();
        loop {
            let Some(live) = channel.take().or_else(|| self.hub.get(name.as_str())) else {
                return Ok(Delivery { local: 0, remote: self.publish_remote(source, name, to, event, message) });
            };
            let policy = live.delivery_policy(event);
            let sent = live.change(|channel| {
                let local = channel.broadcast(to, text, policy)?;
                let has_room = self.node().is_none_or(|node| node.has_room());
                let remote = match channel.forward(source.user, to, event, request_id, payload) {
                    false => Remote::None,
                    true if has_room => Remote::Queued,
                    true => Remote::Dropped,
                };
                Ok(Delivery { local, remote })
            });
            match sent {
                Ok(Ok(delivery)) => return Ok(delivery),
                Ok(Err(Full)) => return Err(self.refuse(name, NoRoom::QueueFull)),
                Err(_closed) => self.hub.remove(&live),
            }
        }
    }

    /// Logs and counts that a channel takes no further message.
    pub(crate) fn refuse(&self, name: &ChannelName, reason: NoRoom) -> NoRoom {
        let (endpoint, limit) = (&*self.observer.endpoint, reason.limit());
        tracing::warn!(target: "pondsocket::limit", endpoint, channel = name.as_str(), %limit, "limit reached");
        self.observer.count(|metrics, endpoint| metrics.limit_reached(endpoint, limit));
        reason
    }

    /// Returns `true` if `memory_limit` is reached: newcomers and broadcasts are refused then.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.common.memory.pressure() == Pressure::Full
    }

    /// Nobody here is in the channel: somebody elsewhere may be.
    fn publish_remote(
        &self,
        source: BroadcastSource<'_>,
        name: &ChannelName,
        to: &Target,
        event: &str,
        message: &Encoded<'_>,
    ) -> Remote {
        let Some(node) = self.node() else { return Remote::None };
        let mut nobody =
            Core::<Arc<ConnectionHandle>>::new(name.clone(), ChannelLimits::default(), ids::fresh).replicated();
        nobody.forward(source.user, to, event, message.request_id, message.payload);
        let messages = nobody.take_outbound().into_iter().filter_map(|outbound| match outbound {
            Outbound::Message(message) => Some(message),
            Outbound::Change(_) => None,
        });
        let taken =
            messages.map(|message| node.publish_message(self.key(name), message)).reduce(|all, taken| all && taken);
        match taken {
            None => Remote::None,
            Some(true) => Remote::Queued,
            Some(false) => Remote::Dropped,
        }
    }

    /// A user has left a channel: it is counted, and what is to be run is answered, if anything.
    pub(crate) fn leave(
        self: &Arc<Self>,
        name: ChannelName,
        lobby: &Arc<LobbyInner>,
        departure: Departure,
        reason: LeaveReason,
    ) -> Option<BoxFuture<Result<()>>> {
        let user = User::of(departure.user, departure.member);
        let (endpoint, channel) = (&*self.observer.endpoint, name.as_str());
        tracing::debug!(target: "pondsocket::channel", endpoint, channel, user = user.id(), %reason, "left");
        self.observer.count(|metrics, endpoint| metrics.channel_left(endpoint, user.id(), channel, reason.kind()));
        let (endpoint, lobby_of) = (Arc::clone(self), Arc::clone(lobby));
        lobby.left(LeaveContext { endpoint, name, user, reason, lobby: lobby_of, route: OnceLock::new() })
    }

    /// Runs the leave handler on a task of its own: whoever took the member out does not wait for it.
    pub(crate) fn spawn_leave(
        self: &Arc<Self>,
        name: ChannelName,
        lobby: &Arc<LobbyInner>,
        departure: Departure,
        reason: LeaveReason,
    ) {
        let (user, endpoint) = (departure.user.clone(), &*self.observer.endpoint);
        // A root: whoever took the member out does not wait for it, and may be the handler of another user.
        let span = debug_span!(target: "pondsocket::handler", parent: None, "leave", endpoint, channel = name.as_str(), %user, %reason);
        let handler = span.in_scope(|| self.leave(name.clone(), lobby, departure, reason));
        let Some(handler) = handler else { return };
        let (endpoint, lobby, deadline) = (Arc::clone(self), Arc::clone(lobby), self.settings().handler_timeout);
        let permit = self.common.drain.handlers.permit();
        let leaving = async move {
            let started = endpoint.observer.start();
            let outcome = guard::run(handler, deadline).await.unwrap_or_else(|late| Err(late.into()));
            endpoint.finish_leave((name.as_str(), user.as_str()), &lobby, started, &outcome);
            drop(permit);
        };
        self.hub.spawn(leaving.instrument(span));
    }

    /// A leave handler has ended: nobody else hears of its failure.
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

    /// A handler has ended, as the application's metrics see it.
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

    /// Refuses a presence that is larger than that of a member may be.
    pub(crate) fn check_presence(&self, presence: &Object) -> Result<(), TooLarge> {
        let fits = presence.as_str().len() <= self.settings().max_presence_size;
        if fits { Ok(()) } else { Err(self.observer.too_large(TooLarge::Presence)) }
    }

    /// All connections whose task has not ended: also those that are closing, or have gone and left work behind.
    pub(crate) fn handles(&self) -> Vec<Arc<ConnectionHandle>> {
        self.connections.lock().values().cloned().collect()
    }
}

impl Routes<JoinContext> for Arc<EndpointInner> {
    fn start(&self, mut ctx: JoinContext, from: usize) -> Result<(usize, BoxFuture<Result<Joined>>)> {
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
