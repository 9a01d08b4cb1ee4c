use std::collections::HashMap;
use std::sync::Arc;

use http::Extensions;
use pondsocket_proto::channel::{LocalTarget, Recovery, ResumeRequest, Step};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::pattern::Match;
use pondsocket_proto::position::Position;
use pondsocket_proto::wire::{Json, Object, Resume};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::recovery::JoinHistory;
use super::route::{Routed, route_methods};
use crate::channel::{Channel, Lossy};
use crate::endpoint::{Connection, EndpointInner};
use crate::engine::handle::ConnectionHandle;
use crate::error::{Error, InCall, Result, encoding};
use crate::handler::pass::{PassSlot, PassSlotRef};
use crate::handler::{Context, Passable, sealed};
use crate::json::decode;
use crate::json::encode::check_event;
use crate::json::received::ReceivedPayload;
use crate::lobby::LobbyInner;
use crate::pond::states::States;
use crate::user::User;

/// The request of a connection to join a channel. The connection is not a member yet: messages for it are chained to
/// `accept()`.
///
/// Returning `Err` declines the join with the error's code, text and details.
#[derive(Debug)]
pub struct JoinContext {
    pub(crate) endpoint: Arc<EndpointInner>,
    pub(crate) handle: Arc<ConnectionHandle>,
    /// The lobby whose handler decides. Hooks and layers of the endpoint see the lobby of the first pattern that
    /// matches. `None` if no pattern matches; only hooks see such a context.
    pub(crate) lobby: Option<Arc<LobbyInner>>,
    pub(crate) name: ChannelName,
    pub(crate) route: Match,
    pub(crate) request_id: Arc<str>,
    pub(crate) payload: Arc<str>,
    pub(crate) received: ReceivedPayload,
    pub(crate) extensions: Extensions,
    /// `None` unless the channel keeps a history. Boxed, because most channels keep none.
    pub(crate) history: Option<Box<JoinHistory>>,
    pub(crate) passing: PassSlotRef<JoinContext>,
}

route_methods!(JoinContext: own "channel");

impl JoinContext {
    /// The payload of the client's join.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        self.received.decode(&self.payload).in_call("ctx.payload")
    }

    /// Replaces the payload for the layers and the handler inside of this layer.
    ///
    /// # Errors
    /// 500 if it does not serialise to a JSON object.
    pub fn set_payload<T: Serialize + ?Sized>(&mut self, payload: &T) -> Result<()> {
        let object = Object::encode(payload).map_err(|error| self.received.explain(payload, error));
        self.payload = object.in_call("ctx.set_payload")?.as_str().into();
        Ok(())
    }

    /// Values that layers pass to the layers and the handler inside of them, by type.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same values, to add to them.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// One assign of the connection.
    ///
    /// # Errors
    /// 404 if it is not set, 500 if it is of another type.
    pub fn assign<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        decode::assign(key, self.handle.assigns().get(key)).in_call("ctx.assign")
    }

    /// All assigns of the connection, as a struct or map.
    ///
    /// # Errors
    /// 500 if they do not fit the type.
    pub fn assigns<T: DeserializeOwned>(&self) -> Result<T> {
        decode::assigns(&self.handle.assigns()).in_call("ctx.assigns")
    }

    /// Sets an assign of the *connection*: the membership of this join starts with it, and so do those of later joins.
    ///
    /// # Errors
    /// 500 if the value does not serialise, 413 if the assigns would be larger than `max_assigns_size`.
    pub fn set_assign<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let value = Json::encode(value).map_err(encoding).in_call("ctx.set_assign")?;
        self.handle.assign(key, value).in_call("ctx.set_assign")
    }

    /// The id of the joining user.
    pub fn user_id(&self) -> &str {
        self.handle.user().as_str()
    }

    /// The id of the joining connection.
    pub fn connection_id(&self) -> String {
        self.handle.id().to_string()
    }

    /// The joining user: its id and the connection's assigns. It has no presence yet, unless another of its
    /// connections is in the channel.
    pub fn user(&self) -> User {
        let member = self.channel().member(self.user_id());
        let presence = member.and_then(|member| member.presence);
        User { id: self.handle.user().clone(), assigns: self.handle.assigns(), presence }
    }

    /// The joining connection. The handle may be kept.
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.handle))
    }

    /// The channel. The handle is not bound to a membership, since there is none yet.
    pub fn channel(&self) -> Channel {
        Channel::new(&self.endpoint, self.name.clone()).answering(&self.received)
    }

    /// The request id of the join.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The presence of the tracked members, by user id.
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn all_presence<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        self.channel().presence().in_call("ctx.all_presence")
    }

    /// The members' assigns, by user id.
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn all_assigns<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        self.channel().assigns().in_call("ctx.all_assigns")
    }

    /// The same as [`all_presence`](Self::all_presence), without the members whose presence is of another type. For
    /// channels in which clients choose their presence: no client can make the call fail for all.
    pub fn all_presence_lossy<T: DeserializeOwned>(&self) -> Lossy<T> {
        self.channel().presence_lossy()
    }

    /// The same as [`all_assigns`](Self::all_assigns), without the members whose assigns are of another type.
    pub fn all_assigns_lossy<T: DeserializeOwned>(&self) -> Lossy<T> {
        self.channel().assigns_lossy()
    }

    /// The outcome for a client that was in the channel before, as of the begin of the join. [`Recovery::New`] if the
    /// channel keeps no history ([`Lobby::history`](crate::Lobby::history)), or the client does not ask to
    /// resume. Messages that are sent while the handler runs are replayed as well, or arrive live.
    ///
    /// An answer of [`Recovery::Resumed`] may become untrue while the handler runs: more than twice the limits of the history is
    /// sent, the memory of all histories is exceeded, the history begins anew, or the user is evicted. A client that has sent its
    /// position is told by the acknowledgement, which has the final outcome. For one that has a session instead, and is told
    /// nothing, the handler and its layers run a second time before the client is acknowledged, and see the gap; unless the chain
    /// has [`replay_from`](Joined::replay_from), because then the client has a snapshot.
    pub fn recovery(&self) -> Recovery {
        self.history.as_ref().map_or(Recovery::New, |history| history.recovery())
    }

    /// Returns `true` if the client gets everything that it missed: then it needs no snapshot of the channel.
    pub fn recovered(&self) -> bool {
        self.recovery().is_complete()
    }

    /// The position of the last message of the channel that is kept; `None` if the channel keeps no history, or is not open
    /// yet. A handler that sends a snapshot asks for the position *before* it reads the snapshot, and has what was sent
    /// since replayed: [`Joined::replay_from`].
    pub fn position(&self) -> Option<Position> {
        self.history.as_ref().and_then(|history| history.position())
    }

    /// Accepts the join. The chained steps follow the acknowledgement, in their order.
    pub fn accept(self) -> Joined {
        Joined { lobby: self.lobby, chain: Vec::new(), error: None, received: self.received, history: self.history }
    }

    /// Leaves the decision to the next channel pattern that matches.
    ///
    /// # Errors
    /// Always: return it.
    pub fn pass<T>(mut self) -> Result<T> {
        // The reference is taken out first, because `leave` moves the context that holds it.
        std::mem::take(&mut self.passing).leave(self);
        Err(Error::passed())
    }
}

impl Routed for JoinContext {
    fn own(&self) -> &Match {
        &self.route
    }
}

impl sealed::Sealed for JoinContext {}

impl Context for JoinContext {
    type Answer = Joined;

    fn states(&self) -> &States {
        self.endpoint.states()
    }
}

impl Passable for JoinContext {
    type Handover = PassSlot<JoinContext>;

    fn handover(&mut self) -> PassSlot<JoinContext> {
        let slot = PassSlot::new();
        self.passing = slot.downgrade();
        slot
    }

    fn take_passed(slot: &PassSlot<JoinContext>) -> Option<JoinContext> {
        slot.take()
    }
}

/// An accepted join, and the steps that follow it. All of it is one atomic step: no action of others comes in between.
///
/// A value that does not serialise to a JSON object declines the join with 500 (with 400, if it is the client's own
/// payload, read as any value), before anything is sent; assigns or a presence that are larger than they may be decline
/// it with 413.
#[derive(Debug)]
#[must_use = "return it from the join handler"]
pub struct Joined {
    /// The lobby whose handler has accepted.
    pub(crate) lobby: Option<Arc<LobbyInner>>,
    chain: Vec<Step>,
    error: Option<Error>,
    received: ReceivedPayload,
    history: Option<Box<JoinHistory>>,
}

impl Joined {
    /// Sets an assign of this membership. The membership starts with a copy of the connection's assigns.
    pub fn assign<T: Serialize + ?Sized>(self, key: &str, value: &T) -> Self {
        let step = Json::encode(value).map_err(encoding).map(|value| Step::Assign(key.to_owned(), value));
        self.then(step.in_call("accept().assign"))
    }

    /// Tracks the user: it is shown to the other tracked members, and they are shown to it.
    pub fn track<T: Serialize + ?Sized>(self, presence: &T) -> Self {
        let step = self.object(presence).map(Step::Track);
        self.then(step.in_call("accept().track"))
    }

    /// Answers the joining connection.
    pub fn reply<T: Serialize + ?Sized>(self, event: &str, payload: &T) -> Self {
        let step = self.message(event, payload).map(|payload| Step::Reply(event.to_owned(), payload));
        self.then(step.in_call("accept().reply"))
    }

    /// Sends to all members, the new one included.
    pub fn broadcast<T: Serialize + ?Sized>(self, event: &str, payload: &T) -> Self {
        let step = self.broadcast_step(LocalTarget::All, event, payload);
        self.then(step.in_call("accept().broadcast"))
    }

    /// Sends to all connections except the joining one: other connections of its user receive it.
    pub fn broadcast_from<T: Serialize + ?Sized>(self, event: &str, payload: &T) -> Self {
        let step = self.message(event, payload).map(|payload| Step::BroadcastFrom(event.to_owned(), payload));
        self.then(step.in_call("accept().broadcast_from"))
    }

    /// Sends to these users. Ids of users that are not members are ignored.
    pub fn broadcast_to<T, I, U>(self, users: I, event: &str, payload: &T) -> Self
    where
        T: Serialize + ?Sized,
        I: IntoIterator<Item = U>,
        U: AsRef<str>,
    {
        let users = users.into_iter().map(|user| user.as_ref().to_owned()).collect();
        let step = self.broadcast_step(LocalTarget::Users(users), event, payload);
        self.then(step.in_call("accept().broadcast_to"))
    }

    /// Replays the last `messages` that the channel has kept, or as many of them as one join may replay
    /// ([`History::replay_at_most`](crate::History::replay_at_most), 1000 messages and 1 MiB by default). Messages that were not for
    /// the user, such as its own by `broadcast_from`, are left out and count all the same, so that fewer may come.
    /// A client that [resumes](JoinContext::recovery) completely gets what it missed in their place: nothing is lost, and
    /// nothing comes twice.
    ///
    /// Without this step a client that resumes gets what it missed directly behind the acknowledgement, and others get
    /// nothing. Only the first replay of a chain has an effect. It precedes the broadcasts of the chain, because positions
    /// ascend.
    ///
    /// # Errors
    /// In a lobby without a history ([`Lobby::history`](crate::Lobby::history)) the join is declined with 500.
    pub fn replay_last(self, messages: usize) -> Self {
        let step = self.replay(Step::ReplayLast(messages));
        self.then(step.in_call("accept().replay_last"))
    }

    /// Replays the messages that were sent since a position, which [`JoinContext::position`] has returned; without one, all
    /// that are kept. For a handler that sends a snapshot: the snapshot and these messages take the place of the client's state, and
    /// of what a client that resumes would get. Such a client is told that it begins anew (`"recovered":false`), and not that it has
    /// missed something. Only the first replay of a chain has an effect.
    ///
    /// However many messages that are, all are replayed: [`History::replay_at_most`](crate::History::replay_at_most) does not limit it. A
    /// position from the beginning of the handler stays within reach until more than twice the limits of the history is sent
    /// meanwhile. If a position is not kept any more, as one of a stored snapshot may not be, all that is kept is replayed, and the
    /// messages between are missing: the acknowledgement of a client that has sent `$resume` has a `gap` then, and
    /// [`Metrics::channel_resumed`](crate::Metrics::channel_resumed) gets it for every client. No other client is told.
    ///
    /// ```
    /// # use pondsocket::{Error, JoinContext, Joined, Result};
    /// # async fn load(_: &str) -> Result<u32> { Ok(1) }
    /// async fn join(ctx: JoinContext) -> Result<Joined> {
    ///     if ctx.recovered() {
    ///         return Ok(ctx.accept());
    ///     }
    ///     // The position first: what is sent while the snapshot is read is replayed.
    ///     let position = ctx.position();
    ///     let snapshot = load(ctx.channel().name()).await?;
    ///     Ok(ctx.accept().reply("snapshot", &serde_json::json!({ "count": snapshot })).replay_from(position))
    /// }
    /// ```
    pub fn replay_from(self, position: impl Into<Option<Position>>) -> Self {
        let step = self.replay(Step::ReplayFrom(position.into()));
        self.then(step.in_call("accept().replay_from"))
    }

    /// Drops what a client that [resumes](JoinContext::recovery) would get: it joins like a new one. For a handler that sends
    /// a snapshot in any case. The steps [`replay_last`](Self::replay_last) and [`replay_from`](Self::replay_from) of the chain
    /// have the effect that they have for a new client.
    pub fn forget(mut self) -> Self {
        if let Some(history) = &mut self.history {
            // A client that has asked by itself is told the position from which it begins.
            let asked = history.resume.is_some_and(|request| request.sent.is_none());
            history.resume = asked.then(|| Resume::FromNothing.into());
        }
        self
    }

    fn replay(&self, step: Step) -> Result<Step> {
        match self.lobby.as_ref().is_some_and(|lobby| lobby.keeps_history()) {
            true => Ok(step),
            false => Err(Error::internal("these channels keep no history")),
        }
    }

    /// The client's request to resume the channel.
    pub(crate) fn resume(&self) -> Option<ResumeRequest> {
        self.history.as_ref()?.resume
    }

    /// Returns `true` if the handler was told that the client gets everything, and has left that to the server. The client is told
    /// nothing.
    pub(crate) fn relies_on_recovery(&self) -> bool {
        let has_snapshot = || self.chain.iter().any(|step| matches!(step, Step::ReplayFrom(_)));
        self.history.as_ref().is_some_and(|history| history.is_promise()) && !has_snapshot()
    }

    /// The payload with which the handler runs a second time.
    pub(crate) fn take_again(&mut self) -> Option<Arc<str>> {
        self.history.as_mut()?.again.take()
    }

    /// Takes the chained steps, or the first error among them.
    pub(crate) fn take_chain(&mut self) -> Result<Vec<Step>> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.chain)),
        }
    }

    fn broadcast_step<T: Serialize + ?Sized>(&self, to: LocalTarget, event: &str, payload: &T) -> Result<Step> {
        self.message(event, payload).map(|payload| Step::Broadcast(to, event.to_owned(), payload))
    }

    fn message<T: Serialize + ?Sized>(&self, event: &str, payload: &T) -> Result<Object> {
        // Checked here and not when the join is executed, so that the error names the call of the chain.
        check_event(event)?;
        self.object(payload)
    }

    fn object<T: Serialize + ?Sized>(&self, value: &T) -> Result<Object> {
        Object::encode(value).map_err(|error| self.received.explain(value, error))
    }

    fn then(mut self, step: Result<Step>) -> Self {
        match step {
            Ok(step) => self.chain.push(step),
            Err(error) => {
                // The chain is a builder that cannot return an error at each step, so the first one is kept until the
                // join is executed.
                self.error.get_or_insert(error);
            }
        }
        self
    }
}
