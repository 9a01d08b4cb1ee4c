//! Handlers of one connection: begun, polled by its task, and cancelled at their deadlines.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Extensions;
use pondsocket_proto::channel::Departure;
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::wire::ClientText;
use tokio::time::Instant;
use tracing::debug_span;

use super::job::{Job, Kind, Task};
use super::room::{Seat, Work};
use super::session::{Session, fresh_request_id};
use crate::context::{Call, EventContext, JoinContext, LeaveReason};
use crate::error::Error;
use crate::failure::Around;
use crate::handler::dispatch::Routes;
use crate::handler::guard;
use crate::json::received::Received;
use crate::metrics::Component;

impl Session {
    pub(super) fn start(&mut self, name: &ChannelName, work: Work) -> Option<Task> {
        match work {
            Work::Event { event, request_id, payload } => self.start_event(name, (event, request_id, payload)),
            Work::Join { request_id, payload } => self.start_join(name, request_id, payload),
            Work::MalformedJoin { malformed, error } => {
                let request_id = malformed.request_id.clone().unwrap_or_else(|| fresh_request_id().to_string().into());
                if !self.acknowledge_again(name, &request_id) {
                    self.decline_malformed(&malformed, &error);
                }
                None
            }
            Work::Leave { request_id } => self.start_leave(name, &request_id),
        }
    }

    fn start_event(&mut self, name: &ChannelName, message: (Box<str>, Box<str>, Box<str>)) -> Option<Task> {
        let gone = self.rooms.get(name).and_then(|room| room.busy.as_ref()?.gone.clone());
        let seat = gone.as_ref().map(|gone| gone.seat.clone()).or_else(|| self.seat(name));
        let Some(seat) = seat else {
            self.not_joined(name.as_str(), &message.1);
            return None;
        };
        let seat = (seat.live, seat.slot, seat.membership);
        let call = Call::new(&self.endpoint, &self.link, seat, message);
        if let Some(gone) = gone {
            call.depart(gone.departure);
        }
        let span = debug_span!(target: "pondsocket::handler", "event", channel = name.as_str(), event = &*call.event, request_id = &*call.request_id);
        let entered = span.enter();
        let mut ctx = EventContext::new(Arc::clone(&call));
        let hooks = &self.endpoint.common.hooks;
        let lobby = self.endpoint.lobby(call.room.lobby).ok_or_else(|| Error::internal("a lobby has vanished"));
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
        Some(Task { kind: Kind::Event { call, future }, started, span })
    }

    fn start_join(&mut self, name: &ChannelName, request_id: Arc<str>, payload: Arc<str>) -> Option<Task> {
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
                Some(Task { kind: Kind::Join { request_id, future }, started, span })
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
        let Some(Seat { live, slot, .. }) = self.seat(name) else { return false };
        let again = live.change(|channel| channel.rejoin(slot, self.link.id(), request_id));
        matches!(again, Ok(Ok(())))
    }

    fn start_leave(&mut self, name: &ChannelName, request_id: &str) -> Option<Task> {
        let seat = self.rooms.get_mut(name).and_then(|room| room.seat.take());
        if let Some(Seat { live, slot, .. }) = seat {
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
    pub(super) fn start_farewell(&mut self, name: &ChannelName) -> Option<Task> {
        let gone = self.rooms.get_mut(name)?.busy.as_mut()?.gone.as_mut()?;
        if std::mem::replace(&mut gone.told, true) {
            return None;
        }
        let departure = Departure::clone(gone.departure.as_ref()?);
        let lobby = gone.seat.live.lobby;
        self.leave_task(name, lobby, departure, LeaveReason::Closed)
    }

    fn leave_task(&self, name: &ChannelName, lobby: usize, departure: Departure, reason: LeaveReason) -> Option<Task> {
        let span = debug_span!(target: "pondsocket::handler", "leave", channel = name.as_str(), %reason);
        let started = self.endpoint.observer.start();
        let future = span.in_scope(|| self.endpoint.leave(name.clone(), lobby, departure, reason))?;
        Some(Task { kind: Kind::Leave { lobby, future }, started, span })
    }

    /// Polls all running handlers; cancels those whose time is over.
    pub(super) fn poll_jobs(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut at = 0;
        while at < self.jobs.len() {
            let Job { room, deadline, bytes, task } = self.jobs.swap_remove(at);
            match self.advance(&room, task, cx) {
                Some(task) if now < task.kind.deadline().unwrap_or(deadline) => {
                    let deadline = task.kind.deadline().unwrap_or(deadline);
                    self.jobs.push(Job { room, deadline, bytes, task });
                    let last = self.jobs.len() - 1;
                    self.jobs.swap(at, last);
                    at += 1;
                }
                late => {
                    self.handled_bytes -= bytes;
                    if let Some(task) = late {
                        self.expire(&room, task);
                    }
                    self.work_off(room, None, cx);
                }
            }
        }
        while !self.has_enough_handlers()
            && let Some(name) = self.starved.pop_front()
        {
            self.work_off(name, None, cx);
        }
    }

    /// Polls a handler once. It comes back if it waits; if not, what it decided is carried out.
    pub(super) fn advance(&mut self, name: &ChannelName, mut task: Task, cx: &mut Context<'_>) -> Option<Task> {
        let span = task.span.clone();
        let _entered = span.enter();
        match &mut task.kind {
            Kind::Event { call, future } => {
                let Poll::Ready(outcome) = future.poll(cx) else { return Some(task) };
                self.finish_event(call, Component::EventHandler, task.started, outcome);
            }
            Kind::Join { request_id, future } => {
                let Poll::Ready(answer) = future.poll(cx) else { return Some(task) };
                let topic = answer.is_ok().then(|| self.endpoint.listen(name)).flatten();
                match (answer, topic) {
                    (Ok(joined), Some(topic)) => {
                        let (request_id, since) = (Arc::clone(request_id), Instant::now());
                        task.kind = Kind::Opening { request_id, joined, topic, since };
                        return self.advance(name, task, cx);
                    }
                    (answer, _) => {
                        self.finish_join(name, request_id, Component::JoinHandler, task.started, answer);
                    }
                }
            }
            Kind::Opening { topic, .. } => {
                if topic.as_mut().poll(cx).is_pending() {
                    return Some(task);
                }
                self.finish_opening(name, task);
            }
            Kind::Leave { lobby, future } => {
                let Poll::Ready(outcome) = guard::poll(future, cx) else { return Some(task) };
                let who = (name.as_str(), self.link.user().as_str());
                self.endpoint.finish_leave(who, *lobby, task.started, &outcome);
            }
        }
        None
    }

    /// What others say in the channel is heard, or is not waited for any longer.
    fn finish_opening(&mut self, name: &ChannelName, task: Task) {
        let Kind::Opening { request_id, joined, since, .. } = task.kind else { return };
        // The handler has not taken that time.
        let started = task.started.map(|started| started + since.elapsed());
        self.finish_join(name, &request_id, Component::JoinHandler, started, Ok(joined));
    }

    fn expire(&mut self, name: &ChannelName, task: Task) {
        if !task.kind.is_handler() {
            return self.finish_opening(name, task);
        }
        let span = task.span.clone();
        let _entered = span.enter();
        let around = Around::now();
        let (event, pattern) = match &task.kind {
            Kind::Event { call, .. } => (Some(&*call.event), self.event_pattern(call)),
            Kind::Join { .. } => (None, self.channel_pattern(name.as_str())),
            Kind::Leave { lobby, .. } => (None, self.endpoint.pattern(*lobby)),
            Kind::Opening { .. } => (None, None),
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
            Kind::Event { call, .. } => {
                self.finish_event(call, Component::EventHandler, task.started, Err(guard::timed_out()))
            }
            Kind::Join { request_id, .. } => {
                self.finish_join(name, request_id, Component::JoinHandler, task.started, Err(guard::timed_out()));
            }
            Kind::Leave { lobby, .. } => {
                let who = (name.as_str(), self.link.user().as_str());
                self.endpoint.finish_leave(who, *lobby, task.started, &Err(guard::timed_out()));
            }
            // It has gone on without, above.
            Kind::Opening { .. } => {}
        }
    }
}
