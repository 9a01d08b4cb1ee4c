//! The requests of a connection and their order: one queue for each of its channels.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;

use pondsocket_proto::id::{ChannelName, RequestId};
use pondsocket_proto::wire::ClientText;
use pondsocket_proto::wire::client::{self, ClientEnvelope, ClientMessage, MalformedMessage};
use tokio::time::Instant;

use super::running::{PendingGap, RunningHandler, RunningHandlers};
use super::subscription::{Backlog, JoinRequest, QueuedRequests, Request, SubscriptionId, Subscriptions};
use crate::context::{ChannelMembership, EventMessage};
use crate::endpoint::{EndpointInner, EndpointSettings};
use crate::engine::closing::{Close, Closure};
use crate::engine::handle::ConnectionHandle;
use crate::engine::ids;
use crate::engine::live::ChangedChannels;
use crate::error::{Error, Result};
use crate::limits::message_rate::Rates;
use crate::limits::turns;
use crate::lobby::LobbyInner;
use crate::metrics::{CloseReason, Limit, Queue};

/// The channels of one connection, and its running handlers.
pub(crate) struct Session {
    pub(super) endpoint: Arc<EndpointInner>,
    pub(super) handle: Arc<ConnectionHandle>,
    pub(super) options: Arc<EndpointSettings>,
    rates: Option<Box<Rates>>,
    pub(super) subscriptions: Subscriptions,
    pub(super) running: RunningHandlers,
    /// The channels whose requests wait because too many handlers run.
    #[expect(clippy::box_collection, reason = "8 bytes of each idle connection in place of 32")]
    pub(super) waiting_for_handler: Option<Box<VecDeque<SubscriptionId>>>,
    /// `None` while no request is queued.
    pub(super) waiting: Option<Box<QueuedRequests>>,
    /// The channels that were changed since the connection's task last flushed, and those over their soft limit.
    pub(super) changed: ChangedChannels<LobbyInner>,
    /// The limit for which reading is paused.
    paused: Option<ReadPause>,
    /// The gap at the front of the outbox. Boxed, because hardly any connection ever has one.
    pub(super) gap: Option<Box<PendingGap>>,
    /// True if a queued request was started since the last call of `take_progress`.
    progressed: bool,
    pub(super) departed: bool,
    /// True once the client has joined a channel, also after it has left that channel.
    pub(super) has_joined: bool,
    /// True if this is an event stream whose client has gone without a request.
    pub(super) is_lost: bool,
}

/// A limit that a connection has reached, so that it is not read until there is room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReadPause {
    /// `receive_channel_buffer` messages are queued.
    Messages,
    /// `receive_bytes` are queued.
    Bytes,
    /// `max_pending_joins` joins are undecided.
    Joins,
}

impl Session {
    pub(super) fn new(
        endpoint: Arc<EndpointInner>,
        handle: Arc<ConnectionHandle>,
        options: Arc<EndpointSettings>,
    ) -> Session {
        Session {
            endpoint,
            handle,
            rates: Rates::new(&options, Instant::now()),
            options,
            subscriptions: Subscriptions::default(),
            running: RunningHandlers::default(),
            waiting_for_handler: None,
            waiting: None,
            changed: ChangedChannels::default(),
            paused: None,
            gap: None,
            progressed: false,
            departed: false,
            has_joined: false,
            is_lost: false,
        }
    }

    pub(crate) fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.handle
    }

    /// The limit for which the connection must not be read now; `None` if it may be read.
    pub(crate) fn pause(&self) -> Option<ReadPause> {
        let QueuedRequests { messages, bytes, joins } = self.queued();
        if messages >= self.options.receive_channel_buffer {
            return Some(ReadPause::Messages);
        }
        if bytes >= self.options.receive_bytes {
            return Some(ReadPause::Bytes);
        }
        // Checked first, so that the handlers of most connections need not be counted.
        let most = self.options.max_pending_joins;
        (joins + self.running.len() >= most && joins + self.undecided_joins() >= most).then_some(ReadPause::Joins)
    }

    fn queued(&self) -> QueuedRequests {
        self.waiting.as_deref().copied().unwrap_or_default()
    }

    /// Notes whether reading pauses; each pause is counted once.
    pub(super) fn note_pause(&mut self) {
        let pause = self.pause();
        if pause != std::mem::replace(&mut self.paused, pause) {
            match pause {
                Some(ReadPause::Bytes) => self.handle.reached(Limit::ReceiveBytes),
                Some(ReadPause::Joins) => self.handle.reached(Limit::PendingJoins),
                // Counted by the metric `queue_depth`.
                Some(ReadPause::Messages) | None => {}
            }
        }
    }

    /// Returns whether requests are queued.
    pub(super) fn is_waiting(&self) -> bool {
        self.queued().messages > 0
    }

    /// The number of bytes of messages that are not handled yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.queued().bytes + self.running.iter().map(|handler| handler.bytes).sum::<usize>()
    }

    /// Returns whether the client must not be read: its outbox, or the queue of a channel that it publishes into, is over
    /// its bounds.
    pub(crate) fn must_pause(&self) -> bool {
        self.handle.is_congested() || self.changed.is_crowded()
    }

    /// Returns whether a queued request was started since the last call.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progressed)
    }

    /// Returns whether the connection has ended and all its messages have been handled.
    pub(super) fn is_done(&self) -> bool {
        self.departed && self.running.is_empty() && self.waiting_for_handler.is_none()
    }

    /// The earliest deadline of a running handler.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let running = self.running.iter().filter_map(|handler| handler.deadline);
        running.chain(self.gap.as_ref().map(|gap| gap.until)).min()
    }

    /// Handles a binary message as a text, if it is UTF-8 (docs/protocol.md, Envelope).
    pub(crate) fn on_binary(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.on_text(text, cx),
            Err(_) => self.on_malformed(client::not_utf8(bytes), cx),
        }
    }

    pub(crate) fn on_text(&mut self, text: &str, cx: &mut Context<'_>) {
        let message = client::decode(text);
        if let Ok(ClientMessage::Leave(message)) = &message
            && let Some(subscription) = self.subscriptions.find(&message.channel)
        {
            // Not limited: each leave needs a join before it, which is.
            let request = Request::Leave { request_id: message.request_id.as_ref().into() };
            return self.submit(subscription, request, cx);
        }
        let refused = self.admit(text.len()).err();
        match (message, refused) {
            (Ok(ClientMessage::Event(message)), None) => self.on_event(message, text.len(), cx),
            (Ok(ClientMessage::Event(message)), Some(error)) => {
                self.refuse_event(&message.channel, &message.request_id, &error);
            }
            // A client that is a member would take a decline as the end of its membership.
            (Ok(ClientMessage::Join(message)), Some(error)) if !self.is_in(&message.channel) => {
                self.decline(&message.channel, &message.request_id, &error);
            }
            (Ok(ClientMessage::Join(message)), _) => self.on_join(message, cx),
            // A leave is always answered (docs/protocol.md, Leaving).
            (Ok(ClientMessage::Leave(message)), _) => self.acknowledge_exit(&message.channel, &message.request_id),
            (Ok(ClientMessage::Ping), _) => {}
            (Err(malformed), _) => self.on_malformed(malformed, cx),
        }
    }

    fn on_malformed(&mut self, malformed: MalformedMessage, cx: &mut Context<'_>) {
        self.log_malformed(&malformed);
        if !malformed.is_join {
            return self.answer_malformed(&malformed);
        }
        let error = Error::new(malformed.code, malformed.reason.to_string());
        let channel = malformed.channel.as_ref().and_then(ClientText::exact);
        match channel.and_then(|channel| self.subscriptions.find(channel)) {
            // Queued, because an earlier request may make the client a member: then it must not be declined.
            Some(subscription) => {
                self.submit(subscription, Request::MalformedJoin { malformed: Box::new(malformed), error }, cx)
            }
            None => self.decline_malformed(&malformed, &error),
        }
    }

    fn is_in(&mut self, channel: &str) -> bool {
        self.subscriptions.find(channel).is_some_and(|subscription| self.membership(subscription).is_some())
    }

    /// Checks the message rate. After too many refused messages the connection is closed.
    fn admit(&mut self, bytes: usize) -> Result<()> {
        let Some(rates) = &mut self.rates else { return Ok(()) };
        let Err((after, limit)) = rates.admit(bytes, Instant::now()) else { return Ok(()) };
        let is_enough = rates.refused() >= self.options.max_refusals;
        self.handle.reached(limit);
        if is_enough {
            let closure = Closure { code: 1008, text: "too many messages".into(), reason: CloseReason::RateLimit };
            self.handle.close(Close::Graceful(closure));
        }
        Err(Error::too_many_requests("too many messages").with_retry_after(after))
    }

    fn on_event(&mut self, message: ClientEnvelope<'_>, bytes: usize, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.find(&message.channel) else {
            return self.not_joined(&message.channel, &message.request_id);
        };
        turns::work_for_members();
        let (connection, channel, event) = (self.handle.id(), &*message.channel, &*message.event);
        tracing::trace!(target: "pondsocket::message", %connection, channel, event, bytes, "received");
        self.handle.count(|metrics, me| metrics.message_received(me, channel, event, bytes));
        let request = Request::Event(EventMessage::new(&message.event, &message.request_id, message.payload));
        self.submit(subscription, request, cx);
    }

    fn on_join(&mut self, message: ClientEnvelope<'_>, cx: &mut Context<'_>) {
        if message.channel.len() > self.options.max_channel_name {
            self.handle.reached(Limit::ChannelName);
        }
        let name = self.endpoint.channel_name(&message.channel);
        let name = name.and_then(|name| self.check_channel_limit(&name).map(|()| name));
        match name {
            Ok(name) => {
                let (request_id, payload) = (message.request_id.as_ref().into(), message.payload.into());
                let subscription = self.subscriptions.find_or_insert(&name);
                let request = Request::Join(JoinRequest { request_id, payload, is_second: false });
                self.submit(subscription, request, cx);
            }
            Err(error) => self.decline(&message.channel, &message.request_id, &error),
        }
    }

    /// Checks that the connection may join one more channel.
    fn check_channel_limit(&mut self, name: &ChannelName) -> Result<()> {
        if self.subscriptions.find(name.as_str()).is_some() {
            return Ok(());
        }
        let most = self.options.max_channels_per_connection;
        if self.subscriptions.len() >= most {
            // Memberships that others have ended do not count. They are found only here, so that an eviction needs no access
            // to the session.
            let me = self.handle.id();
            let is_seated = |membership: &ChannelMembership| membership.live.is_seated(membership.slot, me);
            self.subscriptions.retain(|subscription| {
                subscription.backlog.is_some() || subscription.membership.as_ref().is_some_and(is_seated)
            });
        }
        if self.subscriptions.len() >= most {
            self.handle.reached(Limit::Channels);
            return Err(Error::too_many_requests("too many channels"));
        }
        Ok(())
    }

    fn undecided_joins(&self) -> usize {
        self.running.iter().filter(|handler| handler.task.kind.is_join()).count()
    }

    /// Handles a request now, or queues it behind the earlier ones of its channel.
    fn submit(&mut self, id: SubscriptionId, request: Request, cx: &mut Context<'_>) {
        let has_enough = self.is_at_handler_limit();
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        if let Some(backlog) = &mut subscription.backlog {
            self.waiting.get_or_insert_default().add(&request);
            backlog.queue.push_back(request);
        } else if has_enough {
            self.waiting.get_or_insert_default().add(&request);
            subscription.backlog = Some(Box::new(Backlog { queue: VecDeque::from([request]), ended: None }));
            self.waiting_for_handler.get_or_insert_default().push_back(id);
        } else {
            return self.run_requests(id, Some(request), cx);
        }
        let waiting = self.queued().messages;
        self.endpoint.observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Receive, waiting));
    }

    /// Handles one request after the other, until a handler is pending or the queue is empty.
    pub(super) fn run_requests(&mut self, id: SubscriptionId, mut first: Option<Request>, cx: &mut Context<'_>) {
        loop {
            let request = first.take().or_else(|| self.next_request(id));
            let bytes = request.as_ref().map_or(0, Request::bytes);
            let task = match request {
                Some(request) => self.start(id, request),
                None => self.start_final_leave(id),
            };
            if let Some(task) = task
                && let Some(task) = self.advance(id, task, cx)
            {
                let deadline = task.kind.deadline(self.options.handler_timeout);
                if let Some(subscription) = self.subscriptions.get_mut(id) {
                    subscription.backlog.get_or_insert_default();
                }
                self.running.push(RunningHandler { subscription: id, deadline, bytes, task });
                return;
            }
            if self.is_idle(id) {
                return;
            }
        }
    }

    /// The next channel whose requests wait because too many handlers run.
    pub(super) fn next_waiting_for_handler(&mut self) -> Option<SubscriptionId> {
        let waiting = self.waiting_for_handler.as_mut()?;
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting_for_handler = None;
        }
        next
    }

    /// Returns whether `max_concurrent_handlers` run.
    pub(super) fn is_at_handler_limit(&self) -> bool {
        self.running.iter().filter(|handler| handler.task.kind.is_handler()).count()
            >= self.options.max_concurrent_handlers
    }

    /// Handles a request again, ahead of those that wait behind it.
    pub(super) fn put_first(&mut self, id: SubscriptionId, request: Request) {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        self.waiting.get_or_insert_default().add(&request);
        subscription.backlog.get_or_insert_default().queue.push_front(request);
    }

    fn next_request(&mut self, id: SubscriptionId) -> Option<Request> {
        let request = self.subscriptions.get_mut(id)?.backlog.as_mut()?.queue.pop_front()?;
        if let Some(waiting) = &mut self.waiting {
            waiting.remove(&request);
        }
        if self.queued().messages == 0 {
            self.waiting = None;
        }
        self.progressed = true;
        Some(request)
    }

    /// Returns whether no request is left in the channel. A subscription without membership is removed then.
    fn is_idle(&mut self, id: SubscriptionId) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return true };
        if let Some(backlog) = &subscription.backlog
            && (!backlog.queue.is_empty() || backlog.ended.as_ref().is_some_and(|ended| !ended.leave_started))
        {
            return false;
        }
        subscription.backlog = None;
        if subscription.membership.is_none() {
            self.subscriptions.remove(id);
        }
        true
    }

    /// The membership, if it has not ended meanwhile.
    pub(super) fn membership(&mut self, id: SubscriptionId) -> Option<ChannelMembership> {
        let subscription = self.subscriptions.get_mut(id)?;
        let membership = subscription.membership.as_ref()?;
        if membership.live.is_seated(membership.slot, self.handle.id()) {
            return subscription.membership.clone();
        }
        membership.live.send_flush_marker(&mut self.changed, &self.handle);
        subscription.membership = None;
        None
    }
}

/// A request id, for the answer to a message without one.
pub(super) fn fresh_request_id() -> Arc<str> {
    RequestId::from_u128(ids::fresh()).as_str().into()
}
