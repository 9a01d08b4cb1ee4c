use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Extensions;
use pondsocket_proto::channel::{Departure, LocalTarget, Member, Membership, Refused, Slot};
use pondsocket_proto::pattern::Match;
use pondsocket_proto::wire::{Json, Object};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::route::{Routed, route_methods};
use crate::channel::{BoundMembership, Channel, Lossy};
use crate::delivery::Delivery;
use crate::endpoint::{Broadcast, BroadcastSource, Connection, EndpointInner, Live};
use crate::engine::answers::Answers;
use crate::engine::handle::ConnectionHandle;
use crate::engine::handled::AnswerKind;
use crate::engine::live::FlushScope;
use crate::engine::sync::Mutex;
use crate::error::{Error, InCall, Result, encoding};
use crate::handler::{Context, Passable, sealed};
use crate::json::encode::with_reply;
use crate::json::received::ReceivedPayload;
use crate::limits::stored::NoRoom;
use crate::pond::states::States;
use crate::user::User;

/// The membership of a connection in a live channel.
#[derive(Clone, Debug)]
pub(crate) struct ChannelMembership {
    pub(crate) live: Arc<Live>,
    pub(crate) slot: Slot,
    /// The membership of the connection's user, which it may share with other connections.
    pub(crate) id: Membership,
}

/// A message of a member, as the client sent it.
#[derive(Debug)]
pub(crate) struct EventMessage {
    /// The event, the request id and the payload, one behind the other: one allocation for each message.
    text: Box<str>,
    /// The end of the event.
    event: usize,
    /// The end of the request id.
    request_id: usize,
}

impl EventMessage {
    pub(crate) fn new(event: &str, request_id: &str, payload: &str) -> EventMessage {
        let text = [event, request_id, payload].concat().into_boxed_str();
        EventMessage { text, event: event.len(), request_id: event.len() + request_id.len() }
    }

    pub(crate) fn event(&self) -> &str {
        &self.text[..self.event]
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.text[self.event..self.request_id]
    }

    pub(crate) fn payload(&self) -> &str {
        &self.text[self.request_id..]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// A message that is being handled.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) endpoint: Arc<EndpointInner>,
    pub(crate) handle: Arc<ConnectionHandle>,
    pub(crate) channel: Arc<Live>,
    pub(crate) slot: Slot,
    /// The membership in which the message was sent.
    pub(crate) membership: Membership,
    pub(crate) message: EventMessage,
    received: ReceivedPayload,
    /// The match of the channel's pattern in its name. It is computed only for handlers that ask for it.
    channel_route: OnceLock<Box<Match>>,
    replied: AtomicBool,
    /// The answers of the session, if the client may send the message again.
    answers: Option<Arc<Answers>>,
    /// The changed parts of a context whose handler has passed the message to the next pattern. They are kept here and
    /// not in a `PassSlot`, so that a message needs no further allocation; and without the context, which holds this
    /// call, so that there is no cycle of references.
    passed: Mutex<Option<ChangedParts>>,
    /// Set when the connection ends while the message waits or is handled, with the member as it was.
    departed: OnceLock<Option<Arc<Departure>>>,
    gone: Notify,
    /// Open while the connection's task runs code of the application for it.
    pub(crate) flush: FlushScope,
}

impl Call {
    pub(crate) fn new(
        endpoint: &Arc<EndpointInner>,
        handle: &Arc<ConnectionHandle>,
        ChannelMembership { live, slot, id: membership }: ChannelMembership,
        message: EventMessage,
        answers: Option<Arc<Answers>>,
    ) -> Arc<Call> {
        Arc::new(Call {
            endpoint: Arc::clone(endpoint),
            handle: Arc::clone(handle),
            channel: live,
            slot,
            membership,
            received: ReceivedPayload::new(message.payload()),
            message,
            channel_route: OnceLock::new(),
            replied: AtomicBool::new(false),
            answers,
            passed: Mutex::new(None),
            departed: OnceLock::new(),
            gone: Notify::new(),
            flush: FlushScope::default(),
        })
    }

    fn channel_route(&self) -> &Match {
        self.channel_route.get_or_init(|| Box::new(self.channel.lobby.channel_route(&self.channel.name)))
    }

    /// The scope in which the handler's changes of a live channel are flushed by its connection: only those of the
    /// channel that the message is in. A channel of the same name that was opened since is another one.
    pub(crate) fn flush_scope(&self, live: &Arc<Live>) -> Option<&FlushScope> {
        Arc::ptr_eq(&self.channel, live).then_some(&self.flush)
    }

    /// Keeps an answer, should the client send the message again.
    pub(crate) fn keep_answer(&self, kind: AnswerKind, text: &[u8]) {
        if let Some(answers) = &self.answers {
            answers.answer(&self.channel.name, self.message.request_id(), kind, text);
        }
    }

    /// Notes that the message is handled to the end.
    pub(crate) fn finish_answers(&self) {
        if let Some(answers) = &self.answers {
            answers.finish(&self.channel.name, self.message.request_id());
        }
    }

    /// Notes that the handler is cancelled. Repeats of the message do not wait for it.
    pub(crate) fn cancel_answers(&self) {
        if let Some(answers) = &self.answers {
            answers.cancel(&self.channel.name, self.message.request_id());
        }
    }

    /// Notes the end of the connection; with the departure, if its user has left the channel with it.
    pub(crate) fn depart(&self, departure: Option<Arc<Departure>>) {
        // Only the first call counts: a connection ends once. The value is set before the waiters are woken, because
        // they read it.
        let _ = self.departed.set(departure);
        self.gone.notify_waiters();
    }
}

/// The failures of a reply other than those of its encoding.
enum ReplyError {
    AlreadyReplied,
    NoRoom(NoRoom),
}

#[diagnostic::do_not_recommend]
impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Error {
        match error {
            ReplyError::AlreadyReplied => Error::conflict("a message has one reply"),
            ReplyError::NoRoom(error) => error.into(),
        }
    }
}

/// A message of a member, for its handler.
///
/// Messages of one connection in one channel are handled one at a time, in the order of their arrival: a handler
/// that waits for a *later* message of its own connection in its own channel waits until its deadline.
///
/// No method waits for a slow client. If the connection ends while the handler runs, the handler still finishes, within
/// its deadline: its broadcasts are sent, its replies are dropped.
///
/// The context belongs to one membership. After the end of that membership, calls that would change it fail with 404,
/// also if the user has joined again: the new membership is another one. A membership continues as long as the user has
/// any connection in the channel on this node.
#[derive(Debug)]
pub struct EventContext {
    pub(crate) call: Arc<Call>,
    pub(crate) route: Match,
    changed: ChangedParts,
}

/// The parts of a context that layers and handlers may change.
#[derive(Debug, Default)]
struct ChangedParts {
    /// The value with which a layer has replaced the payload.
    payload: Option<Object>,
    extensions: Extensions,
}

route_methods!(EventContext: event);

impl EventContext {
    pub(crate) fn new(call: Arc<Call>) -> EventContext {
        EventContext { call, route: Match::default(), changed: ChangedParts::default() }
    }

    /// The name of the event, as the client sent it.
    pub fn event(&self) -> &str {
        self.call.message.event()
    }

    /// The request id of the message: a reply carries it.
    pub fn request_id(&self) -> &str {
        self.call.message.request_id()
    }

    /// The payload that the client sent.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        let payload = self.changed.payload.as_ref().map_or(self.call.message.payload(), Object::as_str);
        self.call.received.decode(payload).in_call("ctx.payload")
    }

    /// Replaces the payload for the layers and the handler inside of this layer.
    ///
    /// # Errors
    /// 500 if it does not serialise to a JSON object.
    pub fn set_payload<T: Serialize + ?Sized>(&mut self, payload: &T) -> Result<()> {
        let object = Object::encode(payload).map_err(|error| self.call.received.explain(payload, error));
        self.changed.payload = Some(object.in_call("ctx.set_payload")?);
        Ok(())
    }

    /// Values that layers pass to the layers and the handler inside of them, by type.
    pub fn extensions(&self) -> &Extensions {
        &self.changed.extensions
    }

    /// The same values, to add to them.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.changed.extensions
    }

    /// The id of the user that sent the message.
    pub fn user_id(&self) -> &str {
        self.call.handle.user().as_str()
    }

    /// The id of the connection that sent the message.
    pub fn connection_id(&self) -> String {
        self.call.handle.id().to_string()
    }

    /// The member that sent the message, as it is now. If its membership has ended with its connection, the member as
    /// it was then, also if the user has joined again.
    ///
    /// # Errors
    /// 403 if the member was removed from the channel while the handler ran.
    pub fn user(&self) -> Result<User> {
        // A user that has joined again has another membership, whose values must not appear in this context.
        let is_mine = |member: &&Member| member.membership == self.call.membership;
        let member =
            self.call.channel.read(|channel| channel.local_members().member(self.user_id()).filter(is_mine).cloned());
        // Only if the membership has ended with the connection. A member that was removed has no state to show any
        // more.
        let departed = || self.call.departed.get()?.as_ref().map(|gone| gone.member.clone());
        let member = member.or_else(departed).ok_or_else(not_a_member).in_call("ctx.user")?;
        Ok(User::of(self.call.handle.user().clone(), member))
    }

    /// One assign of the member.
    ///
    /// # Errors
    /// 404 if it is not set, 500 if it is of another type.
    pub fn assign<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.user().and_then(|user| user.assign(key)).in_call("ctx.assign")
    }

    /// All assigns of the member, as a struct or map.
    ///
    /// # Errors
    /// 500 if they do not fit the type.
    pub fn assigns<T: DeserializeOwned>(&self) -> Result<T> {
        self.user().and_then(|user| user.assigns()).in_call("ctx.assigns")
    }

    /// Sets an assign of the membership, for all connections of the user in this channel.
    ///
    /// # Errors
    /// 500 if the value does not serialise, 404 if the membership has ended, 413 if the assigns would be larger
    /// than `max_assigns_size`.
    pub fn set_assign<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let value = Json::encode(value).map_err(encoding).in_call("ctx.set_assign")?;
        // By the bound handle, which refuses a membership that has ended.
        self.channel().assign_local(self.user_id(), key, value).in_call("ctx.set_assign")
    }

    /// The presence of the member.
    ///
    /// # Errors
    /// 404 if it is not tracked, 500 if its presence is of another type.
    pub fn presence<T: DeserializeOwned>(&self) -> Result<T> {
        self.user().and_then(|user| user.presence()).in_call("ctx.presence")
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

    /// The connection that sent the message. The handle may be kept.
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.call.handle))
    }

    /// The channel. The handle may be kept. Its changes of the member that sent the message apply to this membership
    /// alone: see [`Channel::unbound`].
    pub fn channel(&self) -> Channel {
        let call = &self.call;
        let own = BoundMembership {
            user: call.handle.user().clone(),
            membership: Some((call.channel.serial, call.membership)),
        };
        Channel::new(&call.endpoint, call.channel.name.clone()).bound(own).answering(&call.received).handling(call)
    }

    /// Shows the member to the other tracked members.
    ///
    /// # Errors
    /// 409 if it is tracked already, 404 if the membership has ended, 500 if the value is no JSON object, 413 if it is
    /// larger than `max_presence_size` or all would show more than `max_channel_presence`, 503 if the channel's queue
    /// is full.
    pub fn track<T: Serialize + ?Sized>(&self, presence: &T) -> Result<()> {
        self.channel().track(self.user_id(), presence).in_call("ctx.track")
    }

    /// Shows other members to the tracked members.
    ///
    /// # Errors
    /// As [`track`](Self::track); the members before the failing one are tracked.
    pub fn track_for<T, I, U>(&self, users: I, presence: &T) -> Result<()>
    where
        T: Serialize + ?Sized,
        I: IntoIterator<Item = U>,
        U: AsRef<str>,
    {
        let channel = self.channel();
        users.into_iter().try_for_each(|user| channel.track(user.as_ref(), presence)).in_call("ctx.track_for")
    }

    /// Replaces the presence of the member. A member that is not tracked becomes tracked.
    ///
    /// # Errors
    /// 404 if the membership has ended, 500 if the value is no JSON object, 413 if it is larger than
    /// `max_presence_size` or all would show more than `max_channel_presence`, 503 if the channel's queue is full.
    pub fn update_presence<T: Serialize + ?Sized>(&self, presence: &T) -> Result<()> {
        let presence = Object::encode(presence).map_err(|error| self.call.received.explain(presence, error));
        let presence = presence.in_call("ctx.update_presence")?;
        self.channel().show_local(self.user_id(), presence).in_call("ctx.update_presence")
    }

    /// Replaces the presence of other members, of any node.
    ///
    /// # Errors
    /// As [`update_presence`](Self::update_presence); the members before the failing one are updated.
    pub async fn update_presence_for<T, I, U>(&self, users: I, presence: &T) -> Result<()>
    where
        T: Serialize + ?Sized,
        I: IntoIterator<Item = U>,
        U: AsRef<str>,
    {
        let channel = self.channel();
        for user in users {
            channel.update_presence(user.as_ref(), presence).await.in_call("ctx.update_presence_for")?;
        }
        Ok(())
    }

    /// Hides the member. Nothing happens if it is not tracked.
    ///
    /// # Errors
    /// 404 if the membership has ended.
    pub fn untrack(&self) -> Result<()> {
        self.channel().untrack(self.user_id()).in_call("ctx.untrack")
    }

    /// Hides other members.
    ///
    /// # Errors
    /// As [`untrack`](Self::untrack); the members before the failing one are hidden.
    pub fn untrack_for<I, U>(&self, users: I) -> Result<()>
    where
        I: IntoIterator<Item = U>,
        U: AsRef<str>,
    {
        let channel = self.channel();
        users.into_iter().try_for_each(|user| channel.untrack(user.as_ref())).in_call("ctx.untrack_for")
    }

    /// Answers the connection that sent the message, with its request id. A message has one reply. Use the event name
    /// of the message: the Go client matches replies by it.
    ///
    /// # Errors
    /// 409 the second time, 500 if the payload does not serialise to a JSON object or the event name is reserved; 503
    /// if the channel's queue is full: it was not sent, [`Channel::ready`] waits for room.
    pub fn reply<T: Serialize + ?Sized>(&self, event: &str, payload: &T) -> Result<()> {
        let call = &self.call;
        // Relaxed, here and below: the flag guards no other memory, and the swap alone lets only one of several replies
        // pass. The flag is checked again after the encoding, which runs code of the application that may reply itself.
        if call.replied.load(Ordering::Relaxed) {
            return Err(ReplyError::AlreadyReplied).in_call("ctx.reply");
        }
        let replied = with_reply(call.channel.name.as_str(), event, self.request_id(), payload, |text| {
            if call.replied.swap(true, Ordering::Relaxed) {
                return Err(ReplyError::AlreadyReplied);
            }
            let policy = call.channel.delivery_policy(event);
            match call.channel.reply(Some(&call.flush), &call.handle, call.slot, text, policy) {
                Err(Refused::Full(_)) => {
                    // Nothing was sent, so the handler may try again after `Channel::ready`.
                    call.replied.store(false, Ordering::Relaxed);
                    Err(ReplyError::NoRoom(call.endpoint.refuse(&call.channel.name, NoRoom::QueueFull)))
                }
                // A member that has left gets no reply (docs/protocol.md, Messages and replies). That is no error of
                // the handler.
                Ok(()) | Err(Refused::NotMember(_) | Refused::PresenceLimit) => {
                    call.keep_answer(AnswerKind::Reply, text);
                    Ok(())
                }
            }
        });
        let replied = replied.map_err(|error| error.explain(&call.received, payload)).in_call("ctx.reply")?;
        replied.in_call("ctx.reply")
    }

    /// Sends to all members, the sender included.
    ///
    /// # Errors
    /// 500 if the payload does not serialise to a JSON object or the event name is reserved; 503 if the channel's
    /// queue is full: nothing was enqueued, [`Channel::ready`] waits for room.
    pub fn broadcast<T: Serialize + ?Sized>(&self, event: &str, payload: &T) -> Result<Delivery> {
        self.send(&LocalTarget::All, event, payload).in_call("ctx.broadcast")
    }

    /// Sends to these users. Ids of users that are not members are ignored.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to<T, I, U>(&self, users: I, event: &str, payload: &T) -> Result<Delivery>
    where
        T: Serialize + ?Sized,
        I: IntoIterator<Item = U>,
        U: AsRef<str>,
    {
        let users = users.into_iter().map(|user| user.as_ref().to_owned()).collect();
        self.send(&LocalTarget::Users(users), event, payload).in_call("ctx.broadcast_to")
    }

    /// Sends to all connections except the sending *connection*: other connections of its user receive it.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_from<T: Serialize + ?Sized>(&self, event: &str, payload: &T) -> Result<Delivery> {
        let to = LocalTarget::ExceptConnection((self.call.slot, self.call.handle.id()));
        self.send(&to, event, payload).in_call("ctx.broadcast_from")
    }

    fn send<T: Serialize + ?Sized>(&self, to: &LocalTarget, event: &str, payload: &T) -> Result<Delivery> {
        let call = &*self.call;
        // The live channel of the message, also if another one has its name by now: see `Broadcast::enqueue`.
        let source = BroadcastSource { channel: Some(&call.channel), user: Some(self.user_id()), call: Some(call) };
        let broadcast = Broadcast { endpoint: &call.endpoint, channel: &call.channel.name, source, to, event };
        broadcast.send(payload).map_err(|error| error.explain(&call.received, payload))
    }

    /// Removes a member from the channel, and notifies it of the reason and the others of the removal.
    ///
    /// # Errors
    /// 404 if there is no such member.
    pub async fn evict(&self, user: &str, reason: &str) -> Result<()> {
        self.channel().evict(user, reason).await.in_call("ctx.evict")
    }

    /// Removes a member from the channel without a message to it.
    ///
    /// # Errors
    /// 404 if there is no such member.
    pub async fn remove(&self, user: &str, reason: &str) -> Result<()> {
        self.channel().remove(user, reason).await.in_call("ctx.remove")
    }

    /// Completes when the connection that sent the message has ended: no client waits for the answer any more.
    pub async fn cancelled(&self) {
        // Created before the check: `notify_waiters` wakes only futures that exist by then, and the connection may end
        // between the check and the wait.
        let gone = self.call.gone.notified();
        if self.call.departed.get().is_none() {
            gone.await;
        }
    }

    /// Leaves the message to the next event pattern that matches.
    ///
    /// # Errors
    /// Always: return it.
    pub fn pass<T>(self) -> Result<T> {
        let EventContext { call, changed, .. } = self;
        // The call is not stored with it: see the field.
        *call.passed.lock() = Some(changed);
        Err(Error::passed())
    }
}

impl Routed for EventContext {
    fn own(&self) -> &Match {
        &self.route
    }

    fn of_channel(&self) -> Option<&Match> {
        Some(self.call.channel_route())
    }
}

impl sealed::Sealed for EventContext {}

impl Context for EventContext {
    type Answer = ();

    fn states(&self) -> &States {
        self.call.endpoint.states()
    }
}

impl Passable for EventContext {
    type Handover = Arc<Call>;

    fn handover(&mut self) -> Arc<Call> {
        Arc::clone(&self.call)
    }

    fn take_passed(call: &Arc<Call>) -> Option<EventContext> {
        let changed = call.passed.lock().take()?;
        // The next handler's dispatch sets the match of its own pattern.
        Some(EventContext { call: Arc::clone(call), route: Match::default(), changed })
    }
}

fn not_a_member() -> Error {
    Error::forbidden("not a member of the channel")
}
