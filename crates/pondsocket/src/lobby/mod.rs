use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pondsocket_proto::channel::{HistoryRules, ResumeRules, SlowClient};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::pattern::{Match, Pattern};

use crate::context::{ConnectionContext, EventContext, GapContext, JoinContext, Joined, LeaveContext};
use crate::error::{Error, OrPanic, Result};
use crate::handler::dispatch::{Dispatch, HandlerFuture, Routes};
use crate::handler::guard;
use crate::handler::{BoxFuture, Erased, Handler, erase};
use crate::metrics::Observer;
use crate::middleware::{Layer, LayerStack};
use crate::outgoing::{self, ErasedOutgoing, OutgoingHandler, OutgoingLayer, OutgoingStack};
use crate::pond::registration::{check_new, check_parameters, parse};
use crate::pond::states::States;

mod event_handlers;
mod filter;
mod history;

use event_handlers::EventHandlers;
pub use history::History;

/// The longest presence grace. Nodes keep the users of a node that seems dead for as long.
const MAX_GRACE: Duration = Duration::from_secs(60);

/// The channels of one pattern, with their handlers and layers.
///
/// Cheap to clone. Handlers and layers may be registered at any time, and apply to later messages.
#[derive(Clone, Debug)]
pub struct Lobby(pub(crate) Arc<LobbyInner>);

pub(crate) struct LobbyInner {
    pub(crate) pattern: Arc<Pattern>,
    join: Erased<JoinContext>,
    states: States,
    observer: Arc<Observer>,
    /// The layers of the endpoint.
    outer: Arc<Layers>,
    layers: Layers,
    events: RwLock<EventHandlers>,
    outgoing: RwLock<Vec<PatternEntry<ErasedOutgoing>>>,
    slow_clients: RwLock<Vec<PatternEntry<SlowClient>>>,
    /// Set once `outgoing`, `slow_clients`, the layers around outgoing messages or the events that a history leaves out have
    /// an entry. Until then every message has the default policy, and no lock is taken to find that out.
    has_event_policies: AtomicBool,
    leave: RwLock<Option<Erased<LeaveContext>>>,
    gap: RwLock<Option<Erased<GapContext>>>,
    history: RwLock<Option<KeptHistory>>,
    /// Set once `history` has rules, so that other lobbies take no lock to find out.
    keeps_history: AtomicBool,
    /// The time for which a member without connections stays, in milliseconds.
    presence_grace: AtomicU64,
    /// True once it was logged that the grace is in vain for a user.
    has_vain_grace: AtomicBool,
}

/// The history of the channels of a lobby.
struct KeptHistory {
    rules: Arc<HistoryRules>,
    /// The events that are not kept.
    without: Vec<Pattern>,
    resuming: ResumeRules,
}

/// Layers around each kind of handler, of an endpoint or of a lobby.
#[derive(Default)]
pub(crate) struct Layers {
    pub(crate) connection: LayerStack<ConnectionContext>,
    pub(crate) join: LayerStack<JoinContext>,
    pub(crate) event: LayerStack<EventContext>,
    pub(crate) leave: LayerStack<LeaveContext>,
    pub(crate) outgoing: OutgoingStack,
}

/// A value that was registered for a pattern.
struct PatternEntry<T> {
    pattern: Pattern,
    value: T,
}

impl Lobby {
    /// The pattern that channel names are matched against.
    pub fn pattern(&self) -> &str {
        self.0.pattern.as_str()
    }

    /// Handles the messages whose event name matches `pattern`. The first pattern registered that matches wins.
    ///
    /// # Panics
    /// If the pattern is invalid or taken, or has a parameter of the name that one of the channel's pattern has, or a
    /// [`State`](crate::State) is missing. See
    /// [`try_on_event`](Self::try_on_event).
    #[track_caller]
    pub fn on_event<M>(&self, pattern: &str, handler: impl Handler<EventContext, M>) -> &Self {
        self.try_on_event(pattern, handler).or_panic()
    }

    /// Handles the messages of an event, like [`on_event`](Self::on_event), with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if the pattern is invalid, 409 if it is taken or has a parameter of the name that one of the channel's
    /// pattern has.
    pub fn try_on_event<M>(&self, pattern: &str, handler: impl Handler<EventContext, M>) -> Result<&Self> {
        let pattern = parse(pattern)?;
        check_parameters("event", &pattern, &self.0.pattern)?;
        let value = erase(handler, &self.0.states);
        // Held from the check to the insertion: two registrations of one pattern cannot both succeed.
        let mut events = self.0.events.write().unwrap_or_else(PoisonError::into_inner);
        check_new("event", &pattern, events.patterns())?;
        events.push(pattern, value);
        Ok(self)
    }

    /// Decides about each broadcast and reply whose event name matches `pattern`, for each recipient. The first pattern
    /// registered that matches wins. Such a message is delivered recipient by recipient, and encoded anew for each
    /// recipient that gets another payload. The cost of other events does not change.
    ///
    /// # Panics
    /// If the pattern is invalid or taken, or has a parameter of the name that one of the channel's pattern has, or a
    /// [`State`](crate::State) is missing. See
    /// [`try_on_outgoing`](Self::try_on_outgoing).
    #[track_caller]
    pub fn on_outgoing<M>(&self, pattern: &str, handler: impl OutgoingHandler<M>) -> &Self {
        self.try_on_outgoing(pattern, handler).or_panic()
    }

    /// Decides about outgoing messages, like [`on_outgoing`](Self::on_outgoing), with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if the pattern is invalid, 409 if it is taken or has a parameter of the name that one of the channel's
    /// pattern has.
    pub fn try_on_outgoing<M>(&self, pattern: &str, handler: impl OutgoingHandler<M>) -> Result<&Self> {
        let pattern = parse(pattern)?;
        check_parameters("outgoing", &pattern, &self.0.pattern)?;
        let value = outgoing::erase(handler, &self.0.states);
        let mut routes = self.0.outgoing.write().unwrap_or_else(PoisonError::into_inner);
        check_new("outgoing", &pattern, routes.iter().map(|route| &route.pattern))?;
        routes.push(PatternEntry { pattern, value });
        // Behind the insertion. A message on another thread may still miss both; it counts as sent before the
        // registration.
        self.0.has_event_policies.store(true, Ordering::Relaxed);
        Ok(self)
    }

    /// Handles the end of memberships, each once, when the last connection of the user has left the channel and its
    /// last messages have been handled. A later registration replaces an earlier one.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn on_leave<M>(&self, handler: impl Handler<LeaveContext, M>) -> &Self {
        let handler = erase(handler, &self.0.states);
        *self.0.leave.write().unwrap_or_else(PoisonError::into_inner) = Some(handler);
        self
    }

    /// Handles the gaps of members that stay connected: a client read so slowly that messages which were to be sent later
    /// from the history are not kept any more. It is not called for clients that send their position, which are told
    /// themselves (docs/protocol.md, Gaps). Without a handler, or if it fails, the connection ends with 1012: the client
    /// connects and joins again. A later registration replaces an earlier one.
    ///
    /// ```
    /// # use pondsocket::{GapContext, Lobby, Result};
    /// # async fn load(_: &str) -> Result<serde_json::Value> { Ok(serde_json::json!({})) }
    /// # fn register(chat: &Lobby) {
    /// chat.on_gap(async |ctx: GapContext| {
    ///     let snapshot = load(ctx.channel().name()).await?;
    ///     ctx.send("snapshot", &snapshot)
    /// });
    /// # }
    /// ```
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn on_gap<M>(&self, handler: impl Handler<GapContext, M>) -> &Self {
        let handler = erase(handler, &self.0.states);
        *self.0.gap.write().unwrap_or_else(PoisonError::into_inner) = Some(handler);
        self
    }

    /// Sets the policy for broadcasts whose event name matches `pattern` when a client does not keep up, in place of
    /// [`Options::slow_client`](crate::Options::slow_client). The first pattern registered that matches wins.
    ///
    /// # Panics
    /// If the pattern is invalid or taken.
    #[track_caller]
    pub fn slow_client(&self, pattern: &str, policy: SlowClient) -> &Self {
        let parsed = parse(pattern).or_panic();
        let mut routes = self.0.slow_clients.write().unwrap_or_else(PoisonError::into_inner);
        check_new("slow-client", &parsed, routes.iter().map(|route| &route.pattern)).or_panic();
        routes.push(PatternEntry { pattern: parsed, value: policy });
        self.0.has_event_policies.store(true, Ordering::Relaxed);
        self
    }

    /// Keeps the last broadcasts of each channel, so that clients that were away get what they missed
    /// (docs/protocol.md, Positions). A later call replaces the rules; channels that are open keep theirs.
    ///
    /// A channel whose broadcasts are kept stays open without members, until its last message has expired. A broadcast opens it,
    /// also before the first member, except on a node whose bus has no store of histories.
    ///
    /// Nodes whose bus has a [store](crate::cluster::HistoryStore) share the history: it is in one order for all of them, and a
    /// client resumes on any.
    ///
    /// # Panics
    /// If a limit is zero, or too large, or a pattern is invalid.
    #[track_caller]
    pub fn history(&self, history: History) -> &Self {
        let resuming = history.resuming;
        let (rules, without) = history.check().or_panic();
        let has_event_policies = !without.is_empty();
        *self.0.history.write().unwrap_or_else(PoisonError::into_inner) =
            Some(KeptHistory { rules: Arc::new(rules), without, resuming });
        self.0.keeps_history.store(true, Ordering::Relaxed);
        if has_event_policies {
            self.0.has_event_policies.store(true, Ordering::Relaxed);
        }
        self
    }

    /// The time for which a user stays a member after its last connection in a channel was lost, so that others do not see it
    /// leave and join while it reconnects (docs/protocol.md, Presence grace). Default zero: it leaves at once.
    ///
    /// In that time the user is a *ghost*: it is in presence lists, in the number of members and in the lists of users, keeps
    /// its assigns, and can be evicted, removed, tracked and assigned to. Broadcasts count it and reach nobody. It is the same
    /// membership when it joins again: the join handler decides as always, others see no JOIN, and the assigns of the new
    /// connection overwrite those of the membership key by key. A declined join ends the grace at once, if it is
    /// declined with a code below 500; not if the server has failed (500, 503, 504), as when a handler panics or is late.
    ///
    /// A ghost that has not come back leaves at the end of the grace, or up to a second later: others see a LEAVE, and the
    /// leave handler runs, with [`LeaveReason::Closed`](crate::LeaveReason). Lost connections are those without a close frame or with
    /// 1001, 1012 or 1013 from either side, silent and slow clients, and those of a server that shuts down. A client that leaves, closes with 1000
    /// or without a code, or deletes its event stream, and a user that is evicted, removed or disconnected leave at once. So
    /// does a user whose id was generated and that has no [session](crate::Connected::session): it could not come back. The first
    /// of these that joins is logged.
    ///
    /// In a cluster the user may join on any node. Users of a node that has stopped or died are shown for the grace as well
    /// (docs/cluster.md, Presence grace). The time counts for other nodes from the opening of a channel on them.
    ///
    /// A shutdown does not wait for ghosts: their leave handlers run at its end. With a
    /// [`history_file`](crate::Options#structfield.history_file) they go on in the next server instead. A later call replaces the time, for
    /// connections that are lost from then on. The number of ghosts is limited:
    /// [`Options::max_ghosts`](crate::Options::max_ghosts).
    ///
    /// # Panics
    /// If the time is longer than 60 seconds.
    #[track_caller]
    pub fn presence_grace(&self, grace: Duration) -> &Self {
        let millis = match grace > MAX_GRACE {
            true => Err(Error::bad_request("the presence grace must not be longer than 60 seconds")),
            // Rounded up: zero alone means none.
            false => Ok(grace.as_nanos().div_ceil(1_000_000) as u64),
        };
        self.0.presence_grace.store(millis.or_panic(), Ordering::Relaxed);
        self
    }

    /// Puts a layer around every event of these channels, also around those that no handler matches.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer<M>(&self, layer: impl Layer<EventContext, M>) -> &Self {
        self.0.layers.event.push(layer, &self.0.states);
        self
    }

    /// Puts a layer around every join of these channels.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_join<M>(&self, layer: impl Layer<JoinContext, M>) -> &Self {
        self.0.layers.join.push(layer, &self.0.states);
        self
    }

    /// Puts a layer around every leave of these channels, also where there is no leave handler.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_leave<M>(&self, layer: impl Layer<LeaveContext, M>) -> &Self {
        self.0.layers.leave.push(layer, &self.0.states);
        self
    }

    /// Puts a layer around every broadcast and reply of these channels, for each recipient. From then on all of them
    /// are delivered recipient by recipient.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_outgoing<M>(&self, layer: impl OutgoingLayer<M>) -> &Self {
        self.0.layers.outgoing.push(layer, &self.0.states);
        self.0.has_event_policies.store(true, Ordering::Relaxed);
        self
    }
}

impl LobbyInner {
    pub(crate) fn new(
        pattern: Pattern,
        join: Erased<JoinContext>,
        states: States,
        observer: Arc<Observer>,
        outer: Arc<Layers>,
    ) -> Arc<LobbyInner> {
        Arc::new(LobbyInner {
            pattern: Arc::new(pattern),
            join,
            states,
            observer,
            outer,
            layers: Layers::default(),
            events: RwLock::default(),
            outgoing: RwLock::default(),
            slow_clients: RwLock::default(),
            has_event_policies: AtomicBool::new(false),
            leave: RwLock::new(None),
            gap: RwLock::new(None),
            history: RwLock::new(None),
            keeps_history: AtomicBool::new(false),
            presence_grace: AtomicU64::new(0),
            has_vain_grace: AtomicBool::new(false),
        })
    }

    /// Logs, once, that a user has joined for whom the presence grace is in vain, because it cannot come back as the same one.
    pub(crate) fn note_vain_grace(&self) {
        // Relaxed: it orders nothing else.
        if !self.has_vain_grace.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "pondsocket::channel",
                endpoint = &*self.observer.endpoint,
                pattern = self.pattern.as_str(),
                "presence grace in vain: users have neither an id of their own nor a session"
            );
        }
    }

    /// The match of the lobby's pattern in the name of one of its channels.
    pub(crate) fn channel_route(&self, name: &ChannelName) -> Match {
        self.pattern.matches(name.as_str()).unwrap_or_default()
    }

    /// Lets the join handler decide, with the lobby's layers around it.
    pub(crate) fn join(&self, ctx: JoinContext) -> BoxFuture<'static, Result<Joined>> {
        if self.layers.join.is_empty() {
            return guard::call(|| (self.join)(ctx));
        }
        let handler = self.layers.join.around(Arc::clone(&self.join));
        guard::call(|| handler(ctx))
    }

    /// Lets the handlers of a message's event decide, with all layers around them.
    pub(crate) fn handle(self: &Arc<Self>, mut ctx: EventContext) -> HandlerFuture<EventContext, Arc<LobbyInner>> {
        let me = Arc::clone(self);
        if self.outer.event.is_empty() && self.layers.event.is_empty() {
            return HandlerFuture::Direct(Dispatch::new(me, ctx, 0));
        }
        // Layers around all handlers see the parameters of the first match. The dispatch sets them again for each
        // handler.
        self.route(&mut ctx);
        let router: Erased<EventContext> = Arc::new(move |ctx| Box::pin(Dispatch::new(Arc::clone(&me), ctx, 0)));
        let handler = self.outer.event.around(self.layers.event.around(router));
        HandlerFuture::Layered(guard::call(|| handler(ctx)))
    }

    /// Runs the leave handler and the layers around it; `None` if there is nothing to run.
    pub(crate) fn left(&self, ctx: LeaveContext) -> Option<BoxFuture<'static, Result<()>>> {
        // Cloned out: no lock is held while application code runs.
        let handler = self.leave.read().unwrap_or_else(PoisonError::into_inner).clone();
        if self.outer.leave.is_empty() && self.layers.leave.is_empty() {
            let handler = handler?;
            return Some(guard::call(|| handler(ctx)));
        }
        // Layers run also without a leave handler.
        let handler = handler.unwrap_or_else(|| Arc::new(|_| Box::pin(std::future::ready(Ok(())))));
        let handler = self.outer.leave.around(self.layers.leave.around(handler));
        Some(guard::call(|| handler(ctx)))
    }

    /// Runs the gap handler; `None` if there is none.
    pub(crate) fn gap(&self, ctx: GapContext) -> Option<BoxFuture<'static, Result<()>>> {
        let handler = self.gap.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(guard::call(|| handler(ctx)))
    }

    /// Returns `true` if its channels keep a history.
    pub(crate) fn keeps_history(&self) -> bool {
        self.keeps_history.load(Ordering::Relaxed)
    }

    /// The rules of the history of its channels.
    fn history_rules(&self) -> Option<Arc<HistoryRules>> {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        history.as_ref().map(|history| Arc::clone(&history.rules))
    }

    /// The rules by which clients resume its channels.
    pub(crate) fn resume_rules(&self) -> ResumeRules {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        history.as_ref().map(|history| history.resuming).unwrap_or_default()
    }

    /// Returns `true` if messages of an event are kept, where messages are.
    fn is_kept(&self, event: &str) -> bool {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        let without = history.as_ref().map(|history| history.without.as_slice()).unwrap_or_default();
        !without.iter().any(|pattern| pattern.matches(event).is_some())
    }

    /// Sets the match of the first pattern that matches a message's event, for hooks and layers.
    pub(crate) fn route(&self, ctx: &mut EventContext) {
        if let Some((_, matched, _)) = self.event_handler(ctx.event(), 0) {
            ctx.route = matched;
        }
    }

    /// The first event handler whose pattern matches an event, beginning with the `from`-th. Handlers are only ever
    /// appended, so an index stays valid without the lock.
    fn event_handler(&self, event: &str, from: usize) -> Option<(usize, Match, Erased<EventContext>)> {
        self.events.read().unwrap_or_else(PoisonError::into_inner).find(event, from)
    }

    /// The first pattern that matches an event.
    pub(crate) fn event_pattern(self: &Arc<Self>, event: &str) -> Option<Box<str>> {
        self.event_handler(event, 0).and_then(|(at, ..)| self.pattern(at))
    }

    /// The first outgoing handler whose pattern matches an event.
    fn outgoing_handler(&self, event: &str) -> Option<(Match, ErasedOutgoing)> {
        let routes = self.outgoing.read().unwrap_or_else(PoisonError::into_inner);
        routes.iter().find_map(|route| Some((route.pattern.matches(event)?, Arc::clone(&route.value))))
    }

    /// The pattern of the outgoing handler of an event.
    fn outgoing_pattern(&self, event: &str) -> Option<Box<str>> {
        let routes = self.outgoing.read().unwrap_or_else(PoisonError::into_inner);
        let pattern = routes.iter().map(|route| &route.pattern).find(|pattern| pattern.matches(event).is_some());
        pattern.map(|pattern| pattern.as_str().into())
    }

    fn policy(&self, event: &str) -> Option<SlowClient> {
        let routes = self.slow_clients.read().unwrap_or_else(PoisonError::into_inner);
        routes.iter().find(|route| route.pattern.matches(event).is_some()).map(|route| route.value)
    }
}

impl Routes<EventContext> for Arc<LobbyInner> {
    fn start(&self, mut ctx: EventContext, from: usize) -> Result<(usize, BoxFuture<'static, Result<()>>)> {
        let Some((at, matched, handler)) = self.event_handler(ctx.event(), from) else {
            let details = serde_json::json!({ "event": ctx.event() });
            return Err(Error::unrouted("no handler for this event").with_details(&details));
        };
        ctx.route = matched;
        Ok((at, guard::call(|| handler(ctx))))
    }

    fn pattern(&self, at: usize) -> Option<Box<str>> {
        let events = self.events.read().unwrap_or_else(PoisonError::into_inner);
        events.patterns().nth(at).map(|pattern| pattern.as_str().into())
    }
}

impl fmt::Debug for LobbyInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lobby").field("pattern", &self.pattern.as_str()).finish_non_exhaustive()
    }
}
