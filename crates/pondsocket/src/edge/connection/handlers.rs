//! The handlers of one connection: their start, their polls by its task, and their deadlines.

use std::mem::discriminant;
use std::sync::Arc;
use std::task::{Context, Poll};

use pondsocket_proto::channel::{Channel as Core, Departure};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::wire::ClientText;
use tokio::time::Instant;
use tracing::debug_span;

use super::running::{HandlerTask, RunningHandler, TaskKind};
use super::session::{Session, fresh_request_id};
use super::subscription::{Request, SubscriptionId};
use crate::context::{Call, ChannelMembership, EventContext, EventMessage, LeaveReason};
use crate::endpoint::Leave;
use crate::failure::Around;
use crate::handler::guard::{self, TimedOut};
use crate::lobby::LobbyInner;
use crate::metrics::Component;
use crate::user::User;

impl Session {
    pub(super) fn start(&mut self, id: SubscriptionId, request: Request) -> Option<HandlerTask> {
        match request {
            Request::Event(message) => self.start_event(id, message),
            Request::Join(request) => self.start_join(id, request),
            Request::MalformedJoin { malformed, error } => {
                let request_id = malformed.request_id.clone().unwrap_or_else(|| fresh_request_id().to_string().into());
                if !self.acknowledge_again(id, &request_id) {
                    self.decline_malformed(&malformed, &error);
                }
                None
            }
            Request::Leave { request_id } => self.start_leave(id, &request_id),
        }
    }

    fn start_event(&mut self, id: SubscriptionId, message: EventMessage) -> Option<HandlerTask> {
        let ended = self.subscriptions.get(id).and_then(|subscription| subscription.backlog.as_ref()?.ended.clone());
        let membership = ended.as_ref().map(|ended| ended.membership.clone()).or_else(|| self.membership(id));
        let Some(membership) = membership else {
            let name = self.subscriptions.get(id)?.name.clone();
            self.not_joined(name.as_str(), message.request_id());
            return None;
        };
        let answers = self.answers(id);
        if let Some(answers) = &answers
            && !answers.begin(&membership.live.name, message.request_id())
        {
            // Nobody is there to be answered if the connection has ended.
            return ended.is_none().then(|| self.start_repeat(membership, message, Arc::clone(answers)));
        }
        let call = Call::new(&self.endpoint, &self.handle, membership, message, answers);
        if let Some(ended) = ended {
            call.depart(ended.departure);
        }
        let span = debug_span!(target: "pondsocket::handler", "event", channel = call.channel.name.as_str(), event = call.message.event(), request_id = call.message.request_id());
        let entered = span.enter();
        let mut ctx = EventContext::new(Arc::clone(&call));
        let hooks = &self.endpoint.common.hooks;
        // The hook, and the handler up to its first wait, run in this scope.
        let scope = self.changed.enter(&call.channel, &call.flush);
        if hooks.is_on() {
            call.channel.lobby.route(&mut ctx);
        }
        if let Err(error) = hooks.decide(|hooks| hooks.before_message(&ctx)) {
            drop(scope);
            self.finish_event(&call, Component::Hook, None, Err(error));
            return None;
        }
        let started = self.endpoint.observer.start();
        let future = call.channel.lobby.handle(ctx);
        drop(scope);
        drop(entered);
        Some(HandlerTask { kind: TaskKind::Event { call, future }, started, span })
    }

    /// Acknowledges the join of a member again, without effects. Returns `false` if the connection is no member.
    pub(super) fn acknowledge_again(&mut self, id: SubscriptionId, request_id: &ClientText<'_>) -> bool {
        let Some(ChannelMembership { live, slot, .. }) = self.membership(id) else { return false };
        let again = live.change(&mut self.changed, |channel| channel.rejoin(slot, self.handle.id(), request_id));
        matches!(again, Ok(Ok(())))
    }

    fn start_leave(&mut self, id: SubscriptionId, request_id: &str) -> Option<HandlerTask> {
        let subscription = self.subscriptions.get_mut(id)?;
        let (name, membership) = (subscription.name.clone(), subscription.membership.take());
        if let Some(ChannelMembership { live, slot, .. }) = membership {
            if let Some(session) = &self.handle.session
                && let Some(epoch) = live.epoch()
            {
                // The client leaves for good: nothing of the channel is owed to it any more.
                session.forget(epoch);
            }
            let leave = |channel: &mut Core<_>| channel.leave(slot, self.handle.id(), Some(request_id));
            let left = live.change(&mut self.changed, leave);
            live.send_flush_marker(&mut self.changed, &self.handle);
            if let Ok(Ok(departure)) = left {
                return self.leave_task(&name, Arc::clone(&live.lobby), departure?, LeaveReason::Left);
            }
        }
        self.acknowledge_exit(name.as_str(), request_id);
        None
    }

    /// Starts the leave handler of a connection that has ended, after its last message.
    pub(super) fn start_final_leave(&mut self, id: SubscriptionId) -> Option<HandlerTask> {
        let subscription = self.subscriptions.get_mut(id)?;
        let ended = subscription.backlog.as_mut()?.ended.as_mut()?;
        if std::mem::replace(&mut ended.leave_started, true) {
            return None;
        }
        let departure = Departure::clone(ended.departure.as_ref()?);
        let lobby = Arc::clone(&ended.membership.live.lobby);
        let name = subscription.name.clone();
        self.leave_task(&name, lobby, departure, LeaveReason::Closed)
    }

    fn leave_task(
        &self,
        name: &ChannelName,
        lobby: Arc<LobbyInner>,
        departure: Departure,
        reason: LeaveReason,
    ) -> Option<HandlerTask> {
        let span = debug_span!(target: "pondsocket::handler", "leave", channel = name.as_str(), %reason);
        let started = self.endpoint.observer.start();
        let (endpoint, channel) = (Arc::clone(&self.endpoint), name.clone());
        let leave = Leave { endpoint, channel, lobby: Arc::clone(&lobby), user: User::departed(departure), reason };
        let future = span.in_scope(|| leave.handle())?;
        Some(HandlerTask { kind: TaskKind::Leave { lobby, future }, started, span })
    }

    /// Polls all running handlers, and cancels those whose deadline has passed.
    pub(super) fn poll_running(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut at = 0;
        while let Some(RunningHandler { subscription, deadline, bytes, task }) = self.running.take(at) {
            let before = discriminant(&task.kind);
            let task = self.advance(subscription, task, cx);
            let deadline = match &task {
                // Each step of a join has a time of its own.
                Some(task) if discriminant(&task.kind) != before => task.kind.deadline(self.options.handler_timeout),
                _ => deadline,
            };
            match task {
                Some(task) if deadline.is_none_or(|deadline| now < deadline) => {
                    self.running.put_back(at, RunningHandler { subscription, deadline, bytes, task });
                    at += 1;
                }
                late => {
                    if let Some(task) = late {
                        self.expire(subscription, task);
                    }
                    self.run_requests(subscription, None, cx);
                }
            }
        }
        while !self.is_at_handler_limit()
            && let Some(subscription) = self.next_waiting_for_handler()
        {
            self.run_requests(subscription, None, cx);
        }
        self.running.free_if_empty();
    }

    /// Polls a handler once. Returns it if it is pending; otherwise carries out its decision.
    pub(super) fn advance(
        &mut self,
        id: SubscriptionId,
        mut task: HandlerTask,
        cx: &mut Context<'_>,
    ) -> Option<HandlerTask> {
        let span = task.span.clone();
        let _entered = span.enter();
        match &mut task.kind {
            TaskKind::Event { call, future } => {
                let scope = self.changed.enter(&call.channel, &call.flush);
                let polled = future.poll(cx);
                drop(scope);
                let Poll::Ready(outcome) = polled else { return Some(task) };
                self.finish_event(call, Component::EventHandler, task.started, outcome);
            }
            TaskKind::Join { request_id, future } => {
                let Poll::Ready(answer) = future.poll(cx) else { return Some(task) };
                let name = self.subscriptions.get(id).map(|subscription| &subscription.name);
                let topic = name.filter(|_| answer.is_ok()).and_then(|name| self.endpoint.listen(name));
                match (answer, topic) {
                    (Ok(joined), Some(topic)) => {
                        let (request_id, since) = (Arc::clone(request_id), Instant::now());
                        task.kind = TaskKind::Opening { request_id, joined, topic, since };
                        return self.advance(id, task, cx);
                    }
                    (answer, _) => {
                        self.finish_join(id, request_id, Component::JoinHandler, task.started, answer);
                    }
                }
            }
            TaskKind::Arriving { request, turn } => {
                if turn.as_mut().poll(cx).is_pending() {
                    return Some(task);
                }
                let task = self.load_history(id, request.clone())?;
                return self.advance(id, task, cx);
            }
            TaskKind::Loading { request, history, .. } => {
                let Poll::Ready(is_read) = history.as_mut().poll(cx) else { return Some(task) };
                let task = self.start_join_handler(id, request.clone(), is_read)?;
                return self.advance(id, task, cx);
            }
            TaskKind::Opening { topic, .. } => {
                if topic.as_mut().poll(cx).is_pending() {
                    return Some(task);
                }
                self.finish_opening(id, task);
            }
            TaskKind::Repeat { repeat, finished } => {
                if finished.as_mut().poll(cx).is_pending() {
                    return Some(task);
                }
                self.answer_repeat(repeat);
            }
            TaskKind::Leave { lobby, future } => {
                let Poll::Ready(outcome) = guard::poll(future, cx) else { return Some(task) };
                let channel = self.subscriptions.get(id)?.name.as_str();
                self.endpoint.finish_leave((channel, self.handle.user().as_str()), lobby, task.started, &outcome);
            }
        }
        None
    }

    /// Finishes an accepted join: messages of other nodes for the channel are received, or the wait for that has timed out.
    fn finish_opening(&mut self, id: SubscriptionId, task: HandlerTask) {
        let TaskKind::Opening { request_id, joined, since, .. } = task.kind else { return };
        // The wait does not count as time of the handler.
        let started = task.started.map(|started| started + since.elapsed());
        self.finish_join(id, &request_id, Component::JoinHandler, started, Ok(joined));
    }

    fn expire(&mut self, id: SubscriptionId, task: HandlerTask) {
        match task.kind {
            // A repeat whose message is still being handled is dropped: the client may send it once more.
            TaskKind::Opening { .. } | TaskKind::Repeat { .. } => return self.finish_opening(id, task),
            TaskKind::Loading { request, .. } => {
                return self.finish_join(id, &request.request_id, Component::JoinHandler, None, Err(TimedOut.into()));
            }
            _ => {}
        }
        let Some(name) = self.subscriptions.get(id).map(|subscription| subscription.name.clone()) else { return };
        let span = task.span.clone();
        let _entered = span.enter();
        let around = Around::now();
        let (event, pattern) = match &task.kind {
            TaskKind::Event { call, .. } => (Some(call.message.event()), self.event_pattern(call)),
            TaskKind::Join { .. } => (None, self.channel_pattern(name.as_str())),
            TaskKind::Leave { lobby, .. } => (None, Some(lobby.pattern.as_str().into())),
            TaskKind::Arriving { .. }
            | TaskKind::Opening { .. }
            | TaskKind::Loading { .. }
            | TaskKind::Repeat { .. } => (None, None),
        };
        tracing::warn!(
            target: "pondsocket::handler",
            endpoint = around.missing("endpoint", &*self.endpoint.observer.endpoint),
            connection = around.missing("connection", display(self.handle.id())),
            user = around.missing("user", self.handle.user().as_str()),
            channel = around.missing("channel", name.as_str()),
            event = event.and_then(|event| around.missing("event", event)),
            pattern,
            "cancelled at its deadline"
        );
        match &task.kind {
            TaskKind::Event { call, .. } => {
                self.finish_event(call, Component::EventHandler, task.started, Err(TimedOut.into()))
            }
            TaskKind::Join { request_id, .. } => {
                self.finish_join(id, request_id, Component::JoinHandler, task.started, Err(TimedOut.into()));
            }
            TaskKind::Leave { lobby, .. } => {
                let of = (name.as_str(), self.handle.user().as_str());
                self.endpoint.finish_leave(of, lobby, task.started, &Err(TimedOut.into()));
            }
            // No handlers of the application.
            TaskKind::Arriving { .. }
            | TaskKind::Opening { .. }
            | TaskKind::Loading { .. }
            | TaskKind::Repeat { .. } => {}
        }
    }
}
