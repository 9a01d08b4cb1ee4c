//! Handlers of one connection: begun, polled by its task, and cancelled at their deadlines.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Extensions;
use pondsocket_proto::channel::Departure;
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::wire::ClientText;
use tokio::time::Instant;
use tracing::debug_span;

use super::job::{HandlerTask, RunningHandler, TaskKind};
use super::room::{ChannelMembership, Request};
use super::session::{Session, fresh_request_id};
use crate::context::{Call, EventContext, JoinContext, LeaveReason};
use crate::error::Error;
use crate::failure::Around;
use crate::handler::dispatch::Routes;
use crate::handler::guard;
use crate::json::received::Received;
use crate::metrics::Component;

impl Session {
    pub(super) fn start(&mut self, name: &ChannelName, request: Request) -> Option<HandlerTask> {
        match request {
            Request::Event { event, request_id, payload } => self.start_event(name, (event, request_id, payload)),
            Request::Join { request_id, payload } => self.start_join(name, request_id, payload),
            Request::MalformedJoin { malformed, error } => {
                let request_id = malformed.request_id.clone().unwrap_or_else(|| fresh_request_id().to_string().into());
                if !self.acknowledge_again(name, &request_id) {
                    self.decline_malformed(&malformed, &error);
                }
                None
            }
            Request::Leave { request_id } => self.start_leave(name, &request_id),
        }
    }

    fn start_event(&mut self, name: &ChannelName, message: (Box<str>, Box<str>, Box<str>)) -> Option<HandlerTask> {
        let ended = self.subscriptions.get(name).and_then(|subscription| subscription.backlog.as_ref()?.ended.clone());
        let membership = ended.as_ref().map(|ended| ended.membership.clone()).or_else(|| self.membership(name));
        let Some(membership) = membership else {
            self.not_joined(name.as_str(), &message.1);
            return None;
        };
        let membership = (membership.live, membership.slot, membership.id);
        let call = Call::new(&self.endpoint, &self.link, membership, message);
        if let Some(ended) = ended {
            call.depart(ended.departure);
        }
        let span = debug_span!(target: "pondsocket::handler", "event", channel = name.as_str(), event = &*call.event, request_id = &*call.request_id);
        let entered = span.enter();
        let mut ctx = EventContext::new(Arc::clone(&call));
        let hooks = &self.endpoint.common.hooks;
        let lobby = self.endpoint.lobby(call.channel.lobby).ok_or_else(|| Error::internal("a lobby has vanished"));
        let allowed = lobby.and_then(|lobby| {
            if hooks.is_on() {
                lobby.route(&mut ctx);
            }
            hooks.ask(|hooks| hooks.before_message(&ctx)).map(|()| lobby)
        });
        let lobby = match allowed {
            Ok(lobby) => lobby,
            Err(error) => {
                self.finish_event(&call, Component::Hook, None, Err(error));
                return None;
            }
        };
        let started = self.endpoint.observer.start();
        let future = lobby.handle(ctx);
        drop(entered);
        Some(HandlerTask { kind: TaskKind::Event { call, future }, started, span })
    }

    fn start_join(&mut self, name: &ChannelName, request_id: Arc<str>, payload: Arc<str>) -> Option<HandlerTask> {
        if self.acknowledge_again(name, &(&*request_id).into()) {
            return None;
        }
        let span =
            debug_span!(target: "pondsocket::handler", "join", channel = name.as_str(), request_id = &*request_id);
        let entered = span.enter();
        let matched = self.endpoint.lobby_for(name.as_str(), 0).map(|(lobby, route, _)| (lobby, route));
        let is_routed = matched.is_some();
        let (lobby, route) = matched.unwrap_or_default();
        let ctx = JoinContext {
            endpoint: Arc::clone(&self.endpoint),
            link: Arc::clone(&self.link),
            lobby,
            name: name.clone(),
            route,
            request_id: Arc::clone(&request_id),
            received: Received::new(&payload),
            payload,
            extensions: Extensions::new(),
        };
        let allowed = self.endpoint.common.hooks.ask(|hooks| hooks.before_join(&ctx));
        let allowed = allowed.and_then(|()| match is_routed {
            true => Ok(ctx),
            false => Err(Error::unrouted("no such channel")),
        });
        match allowed {
            Ok(ctx) => {
                let started = self.endpoint.observer.start();
                let future = self.endpoint.join(ctx);
                drop(entered);
                Some(HandlerTask { kind: TaskKind::Join { request_id, future }, started, span })
            }
            Err(error) => {
                drop(entered);
                self.finish_join(name, &request_id, Component::Hook, None, Err(error));
                None
            }
        }
    }

    /// Joining what it is in is acknowledged again, and changes nothing. False if it is not in the channel.
    fn acknowledge_again(&mut self, name: &ChannelName, request_id: &ClientText<'_>) -> bool {
        let Some(ChannelMembership { live, slot, .. }) = self.membership(name) else { return false };
        let again = live.change(|channel| channel.rejoin(slot, self.link.id(), request_id));
        matches!(again, Ok(Ok(())))
    }

    fn start_leave(&mut self, name: &ChannelName, request_id: &str) -> Option<HandlerTask> {
        let membership = self.subscriptions.get_mut(name).and_then(|subscription| subscription.membership.take());
        if let Some(ChannelMembership { live, slot, .. }) = membership {
            let left = live.change(|channel| channel.leave(slot, self.link.id(), Some(request_id)));
            live.farewell(&self.link);
            if let Ok(Ok(departure)) = left {
                return self.leave_task(name, live.lobby, departure?, LeaveReason::Left);
            }
        }
        self.acknowledge_exit(name.as_str(), request_id);
        None
    }

    /// After the last message of a connection that has gone: its leave handler.
    pub(super) fn start_final_leave(&mut self, name: &ChannelName) -> Option<HandlerTask> {
        let ended = self.subscriptions.get_mut(name)?.backlog.as_mut()?.ended.as_mut()?;
        if std::mem::replace(&mut ended.leave_started, true) {
            return None;
        }
        let departure = Departure::clone(ended.departure.as_ref()?);
        let lobby = ended.membership.live.lobby;
        self.leave_task(name, lobby, departure, LeaveReason::Closed)
    }

    fn leave_task(
        &self,
        name: &ChannelName,
        lobby: usize,
        departure: Departure,
        reason: LeaveReason,
    ) -> Option<HandlerTask> {
        let span = debug_span!(target: "pondsocket::handler", "leave", channel = name.as_str(), %reason);
        let started = self.endpoint.observer.start();
        let future = span.in_scope(|| self.endpoint.leave(name.clone(), lobby, departure, reason))?;
        Some(HandlerTask { kind: TaskKind::Leave { lobby, future }, started, span })
    }

    /// Polls all running handlers; cancels those whose time is over.
    pub(super) fn poll_running(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut at = 0;
        while at < self.running.len() {
            let RunningHandler { subscription, deadline, bytes, task } = self.running.swap_remove(at);
            match self.advance(&subscription, task, cx) {
                Some(task) if now < task.kind.deadline().unwrap_or(deadline) => {
                    let deadline = task.kind.deadline().unwrap_or(deadline);
                    self.running.push(RunningHandler { subscription, deadline, bytes, task });
                    let last = self.running.len() - 1;
                    self.running.swap(at, last);
                    at += 1;
                }
                late => {
                    self.handled_bytes -= bytes;
                    if let Some(task) = late {
                        self.expire(&subscription, task);
                    }
                    self.run_requests(subscription, None, cx);
                }
            }
        }
        while !self.is_at_handler_limit()
            && let Some(name) = self.waiting_for_handler.pop_front()
        {
            self.run_requests(name, None, cx);
        }
    }

    /// Polls a handler once. It comes back if it waits; if not, what it decided is carried out.
    pub(super) fn advance(
        &mut self,
        name: &ChannelName,
        mut task: HandlerTask,
        cx: &mut Context<'_>,
    ) -> Option<HandlerTask> {
        let span = task.span.clone();
        let _entered = span.enter();
        match &mut task.kind {
            TaskKind::Event { call, future } => {
                let Poll::Ready(outcome) = future.poll(cx) else { return Some(task) };
                self.finish_event(call, Component::EventHandler, task.started, outcome);
            }
            TaskKind::Join { request_id, future } => {
                let Poll::Ready(answer) = future.poll(cx) else { return Some(task) };
                let topic = answer.is_ok().then(|| self.endpoint.listen(name)).flatten();
                match (answer, topic) {
                    (Ok(joined), Some(topic)) => {
                        let (request_id, since) = (Arc::clone(request_id), Instant::now());
                        task.kind = TaskKind::Opening { request_id, joined, topic, since };
                        return self.advance(name, task, cx);
                    }
                    (answer, _) => {
                        self.finish_join(name, request_id, Component::JoinHandler, task.started, answer);
                    }
                }
            }
            TaskKind::Opening { topic, .. } => {
                if topic.as_mut().poll(cx).is_pending() {
                    return Some(task);
                }
                self.finish_opening(name, task);
            }
            TaskKind::Leave { lobby, future } => {
                let Poll::Ready(outcome) = guard::poll(future, cx) else { return Some(task) };
                let who = (name.as_str(), self.link.user().as_str());
                self.endpoint.finish_leave(who, *lobby, task.started, &outcome);
            }
        }
        None
    }

    /// What others say in the channel is heard, or is not waited for any longer.
    fn finish_opening(&mut self, name: &ChannelName, task: HandlerTask) {
        let TaskKind::Opening { request_id, joined, since, .. } = task.kind else { return };
        // The handler has not taken that time.
        let started = task.started.map(|started| started + since.elapsed());
        self.finish_join(name, &request_id, Component::JoinHandler, started, Ok(joined));
    }

    fn expire(&mut self, name: &ChannelName, task: HandlerTask) {
        if !task.kind.is_handler() {
            return self.finish_opening(name, task);
        }
        let span = task.span.clone();
        let _entered = span.enter();
        let around = Around::now();
        let (event, pattern) = match &task.kind {
            TaskKind::Event { call, .. } => (Some(&*call.event), self.event_pattern(call)),
            TaskKind::Join { .. } => (None, self.channel_pattern(name.as_str())),
            TaskKind::Leave { lobby, .. } => (None, self.endpoint.pattern(*lobby)),
            TaskKind::Opening { .. } => (None, None),
        };
        tracing::warn!(
            target: "pondsocket::handler",
            endpoint = around.missing("endpoint", &*self.endpoint.observer.endpoint),
            connection = around.missing("connection", display(self.link.id())),
            user = around.missing("user", self.link.user().as_str()),
            channel = around.missing("channel", name.as_str()),
            event = event.and_then(|event| around.missing("event", event)),
            pattern,
            "cancelled at its deadline"
        );
        match &task.kind {
            TaskKind::Event { call, .. } => {
                self.finish_event(call, Component::EventHandler, task.started, Err(guard::timed_out()))
            }
            TaskKind::Join { request_id, .. } => {
                self.finish_join(name, request_id, Component::JoinHandler, task.started, Err(guard::timed_out()));
            }
            TaskKind::Leave { lobby, .. } => {
                let who = (name.as_str(), self.link.user().as_str());
                self.endpoint.finish_leave(who, *lobby, task.started, &Err(guard::timed_out()));
            }
            // It has gone on without, above.
            TaskKind::Opening { .. } => {}
        }
    }
}
