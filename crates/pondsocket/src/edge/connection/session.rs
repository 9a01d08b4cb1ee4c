//! What a connection says, and what becomes of it: one queue per channel, handlers polled by the connection's task.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Extensions;
use pondsocket_proto::channel::{Assigns, Departure, Step};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::wire::client::{self, ClientMessage, Envelope};
use tokio::time::Instant;
use tracing::debug_span;

use super::job::{Job, Kind, Task};
use super::rates::Rates;
use super::room::{Busy, Gone, Room, Seat, Work};
use crate::channel::Channel;
use crate::context::{Call, EventContext, JoinContext, Joined, LeaveReason};
use crate::endpoint::{EndpointInner, Settings, leave_span};
use crate::engine::link::Link;
use crate::engine::outbox::{Closure, Phase};
use crate::error::{Error, Result};
use crate::handler::guard;
use crate::hooks::Hooks;
use crate::metrics::{CloseReason, Component, HandlerKind, Limit, Meter, Queue};

/// The channels of one connection, and its running handlers.
pub(super) struct Session {
    pub(super) endpoint: Arc<EndpointInner>,
    pub(super) link: Arc<Link>,
    pub(super) options: Arc<Settings>,
    rates: Option<Box<Rates>>,
    rooms: HashMap<ChannelName, Room>,
    jobs: Vec<Job>,
    /// Rooms with work that wait for one of the running handlers to end.
    starved: VecDeque<ChannelName>,
    /// How much waits in all rooms.
    waiting: usize,
    /// Something that waited has been begun since somebody asked.
    moved: bool,
    departed: bool,
}

impl Session {
    pub(super) fn new(endpoint: Arc<EndpointInner>, link: Arc<Link>, options: Arc<Settings>) -> Session {
        Session {
            endpoint,
            link,
            rates: Rates::new(&options, Instant::now()),
            options,
            rooms: HashMap::new(),
            jobs: Vec::new(),
            starved: VecDeque::new(),
            waiting: 0,
            moved: false,
            departed: false,
        }
    }

    /// Whether nothing more may be read for now.
    pub(super) fn is_full(&self) -> bool {
        self.waiting >= self.options.receive_channel_buffer
    }

    /// Whether something that waited has been begun since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether the connection has gone and everything has been handled.
    pub(super) fn is_done(&self) -> bool {
        self.departed && self.jobs.is_empty() && self.starved.is_empty()
    }

    /// When the next running handler is to be cancelled.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.jobs.iter().map(|job| job.deadline).min()
    }

    /// A binary message is taken for text if it is (docs/protocol.md, Envelope).
    pub(super) fn on_binary(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.on_text(text, cx),
            Err(_) => self.refuse(400, "a binary message that is not UTF-8"),
        }
    }

    pub(super) fn on_text(&mut self, text: &str, cx: &mut Context<'_>) {
        let message = client::decode(text);
        if let Ok(ClientMessage::Leave(message)) = &message
            && let Some((name, _)) = self.rooms.get_key_value(&*message.channel)
        {
            // It undoes a join, which has been paid for.
            let work = Work::Leave { request_id: message.request_id.as_ref().into() };
            return self.submit(name.clone(), work, cx);
        }
        let refused = self.admit(text.len()).err();
        match (message, refused) {
            (Ok(ClientMessage::Event(message)), None) => self.on_event(message, text.len(), cx),
            (Ok(ClientMessage::Event(message)), Some(error)) => {
                self.refuse_event(&message.channel, &message.request_id, &error);
            }
            (Ok(ClientMessage::Join(message)), None) => self.on_join(message, cx),
            (Ok(ClientMessage::Join(message)), Some(error)) => {
                self.decline(&message.channel, &message.request_id, &error);
            }
            // A leave is always answered (docs/protocol.md, Leaving).
            (Ok(ClientMessage::Leave(message)), _) => self.acknowledge_exit(&message.channel, &message.request_id),
            (Ok(ClientMessage::Ping), _) => {}
            (Err(malformed), _) => self.on_malformed(&malformed),
        }
    }

    /// Whether a message of this size may be sent now. Who goes on all the same is closed in the end.
    fn admit(&mut self, bytes: usize) -> Result<()> {
        let Some(rates) = &mut self.rates else { return Ok(()) };
        let Err((after, limit)) = rates.admit(bytes, Instant::now()) else { return Ok(()) };
        let is_enough = rates.refused() >= self.options.max_refusals;
        self.link.reached(limit);
        if is_enough {
            self.link.end(Closure { code: 1008, text: "too many messages".into(), reason: CloseReason::RateLimit });
        }
        Err(Error::too_many_requests("too many messages").with_retry_after(after))
    }

    fn on_event(&mut self, message: Envelope<'_>, bytes: usize, cx: &mut Context<'_>) {
        let Some((name, _)) = self.rooms.get_key_value(&*message.channel) else {
            return self.not_joined(&message.channel, &message.request_id);
        };
        let (connection, channel, event) = (self.link.id(), name.as_str(), &*message.event);
        tracing::trace!(target: "pondsocket::message", %connection, channel, event, bytes, "received");
        self.link.count(|metrics, me| metrics.message_received(me, channel, event, bytes));
        let work = Work::Event {
            event: message.event.as_ref().into(),
            request_id: message.request_id.as_ref().into(),
            payload: message.payload.into(),
        };
        self.submit(name.clone(), work, cx);
    }

    fn on_join(&mut self, message: Envelope<'_>, cx: &mut Context<'_>) {
        if message.channel.len() > self.options.max_channel_name {
            self.link.reached(Limit::ChannelName);
        }
        let name = self.endpoint.channel_name(&message.channel);
        let name = name.and_then(|name| self.check_room_for(&name).map(|()| name));
        match name {
            Ok(name) => {
                let (request_id, payload) = (message.request_id.as_ref().into(), message.payload.into());
                self.submit(name, Work::Join { request_id, payload }, cx);
            }
            Err(error) => self.decline(&message.channel, &message.request_id, &error),
        }
    }

    /// Whether the connection may join one more channel.
    fn check_room_for(&mut self, name: &ChannelName) -> Result<()> {
        if self.rooms.contains_key(name) {
            return Ok(());
        }
        let most = self.options.max_channels_per_connection;
        if self.rooms.len() >= most {
            // Those that it was taken out of are noticed now.
            let me = self.link.id();
            let is_seated = |(live, slot): &Seat| live.is_seated(*slot, me);
            self.rooms.retain(|_, room| room.busy.is_some() || room.seat.as_ref().is_some_and(is_seated));
        }
        if self.rooms.len() >= most {
            self.link.reached(Limit::Channels);
            return Err(Error::too_many_requests("too many channels"));
        }
        if self.undecided_joins() >= self.options.max_pending_joins {
            self.link.reached(Limit::PendingJoins);
            return Err(Error::too_many_requests("too many joins at once"));
        }
        Ok(())
    }

    fn undecided_joins(&self) -> usize {
        let running = self.jobs.iter().filter(|job| matches!(job.task.kind, Kind::Join { .. })).count();
        let queues = self.rooms.values().filter_map(|room| room.busy.as_ref()).flat_map(|busy| &busy.queue);
        running + queues.filter(|work| matches!(work, Work::Join { .. })).count()
    }

    /// Does it now, or behind what the room is busy with.
    fn submit(&mut self, name: ChannelName, work: Work, cx: &mut Context<'_>) {
        let room = self.rooms.entry(name.clone()).or_default();
        if let Some(busy) = &mut room.busy {
            busy.queue.push_back(work);
        } else if self.jobs.len() >= self.options.max_concurrent_handlers {
            room.busy = Some(Box::new(Busy { queue: VecDeque::from([work]), gone: None }));
            self.starved.push_back(name);
        } else {
            return self.work_off(name, Some(work), cx);
        }
        self.waiting += 1;
        let waiting = self.waiting;
        self.endpoint.observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Receive, waiting));
    }

    /// Does one thing after the other, until a handler waits or nothing is left.
    fn work_off(&mut self, name: ChannelName, mut first: Option<Work>, cx: &mut Context<'_>) {
        loop {
            let task = match first.take().or_else(|| self.next_work(&name)) {
                Some(work) => self.start(&name, work),
                None => self.start_farewell(&name),
            };
            let Some(task) = task else {
                if self.is_idle(&name) {
                    return;
                }
                continue;
            };
            if let Some(task) = self.advance(&name, task, cx) {
                let deadline = Instant::now() + self.options.handler_timeout;
                self.rooms.entry(name.clone()).or_default().busy.get_or_insert_default();
                self.jobs.push(Job { room: name, deadline, task });
                return;
            }
        }
    }

    fn next_work(&mut self, name: &ChannelName) -> Option<Work> {
        let work = self.rooms.get_mut(name)?.busy.as_mut()?.queue.pop_front()?;
        self.waiting -= 1;
        self.moved = true;
        Some(work)
    }

    /// True if nothing is left to do in the room, which is then forgotten if the connection is not in it.
    fn is_idle(&mut self, name: &ChannelName) -> bool {
        let Some(room) = self.rooms.get_mut(name) else { return true };
        if let Some(busy) = &room.busy
            && (!busy.queue.is_empty() || busy.gone.as_ref().is_some_and(|gone| !gone.told))
        {
            return false;
        }
        room.busy = None;
        if room.seat.is_none() {
            self.rooms.remove(name);
        }
        true
    }

    fn start(&mut self, name: &ChannelName, work: Work) -> Option<Task> {
        match work {
            Work::Event { event, request_id, payload } => self.start_event(name, (event, request_id, payload)),
            Work::Join { request_id, payload } => self.start_join(name, request_id, payload),
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
        if let Some((live, slot)) = self.seat(name) {
            // Joining what it is in is acknowledged again, and changes nothing.
            let again = live.change(|channel| channel.rejoin(slot, self.link.id(), &request_id));
            if matches!(again, Ok(Ok(()))) {
                return None;
            }
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

    fn start_leave(&mut self, name: &ChannelName, request_id: &str) -> Option<Task> {
        let seat = self.rooms.get_mut(name).and_then(|room| room.seat.take());
        if let Some((live, slot)) = seat {
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
    fn start_farewell(&mut self, name: &ChannelName) -> Option<Task> {
        let gone = self.rooms.get_mut(name)?.busy.as_mut()?.gone.as_mut()?;
        if std::mem::replace(&mut gone.told, true) {
            return None;
        }
        let departure = Departure::clone(gone.departure.as_ref()?);
        let lobby = gone.seat.0.lobby;
        self.leave_task(name, lobby, departure, LeaveReason::Closed)
    }

    fn leave_task(&self, name: &ChannelName, lobby: usize, departure: Departure, reason: LeaveReason) -> Option<Task> {
        let span = leave_span(name, &departure, &reason);
        let started = self.endpoint.observer.start();
        let future = span.in_scope(|| self.endpoint.leave(name.clone(), lobby, departure, reason))?;
        Some(Task { kind: Kind::Leave { lobby, future }, started, span })
    }

    /// Where the connection sits, if it still does.
    fn seat(&mut self, name: &ChannelName) -> Option<Seat> {
        let room = self.rooms.get_mut(name)?;
        let (live, slot) = room.seat.as_ref()?;
        if live.is_seated(*slot, self.link.id()) {
            return room.seat.clone();
        }
        live.farewell(&self.link);
        room.seat = None;
        None
    }

    /// Polls all running handlers; cancels those whose time is over.
    pub(super) fn poll_jobs(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut at = 0;
        while at < self.jobs.len() {
            let Job { room, deadline, task } = self.jobs.swap_remove(at);
            match self.advance(&room, task, cx) {
                Some(task) if now < deadline => {
                    self.jobs.push(Job { room, deadline, task });
                    let last = self.jobs.len() - 1;
                    self.jobs.swap(at, last);
                    at += 1;
                }
                late => {
                    if let Some(task) = late {
                        self.expire(&room, task);
                    }
                    self.work_off(room, None, cx);
                }
            }
        }
        while self.jobs.len() < self.options.max_concurrent_handlers
            && let Some(name) = self.starved.pop_front()
        {
            self.work_off(name, None, cx);
        }
    }

    /// Polls a handler once. It comes back if it waits; if not, what it decided is carried out.
    fn advance(&mut self, name: &ChannelName, mut task: Task, cx: &mut Context<'_>) -> Option<Task> {
        let span = task.span.clone();
        let _entered = span.enter();
        match &mut task.kind {
            Kind::Event { call, future } => {
                let Poll::Ready(outcome) = future.poll(cx) else { return Some(task) };
                self.finish_event(call, Component::EventHandler, task.started, outcome);
            }
            Kind::Join { request_id, future } => {
                let Poll::Ready(answer) = future.poll(cx) else { return Some(task) };
                self.finish_join(name, request_id, Component::JoinHandler, task.started, answer);
            }
            Kind::Leave { lobby, future } => {
                let Poll::Ready(outcome) = guard::poll(future, cx) else { return Some(task) };
                self.endpoint.finish_leave(name.as_str(), *lobby, task.started, &outcome);
            }
        }
        None
    }

    fn expire(&mut self, name: &ChannelName, task: Task) {
        let _entered = task.span.enter();
        let (connection, user, channel) = (self.link.id(), self.link.user(), name.as_str());
        tracing::warn!(target: "pondsocket::handler", %connection, %user, channel, "cancelled at its deadline");
        match &task.kind {
            Kind::Event { call, .. } => {
                self.finish_event(call, Component::EventHandler, task.started, Err(guard::timed_out()))
            }
            Kind::Join { request_id, .. } => {
                self.finish_join(name, request_id, Component::JoinHandler, task.started, Err(guard::timed_out()));
            }
            Kind::Leave { lobby, .. } => {
                self.endpoint.finish_leave(name.as_str(), *lobby, task.started, &Err(guard::timed_out()));
            }
        }
    }

    /// A message has been handled, or refused by a hook: then no handler was started.
    fn finish_event(&self, call: &Call, by: Component, started: Option<Instant>, outcome: Result<()>) {
        if let Err(error) = &outcome {
            self.fail(call, error);
            self.count_unexpected(by, error);
        }
        self.endpoint.finish(HandlerKind::Event, Some(call.room.lobby), started, outcome.as_ref().err());
        self.tell_hooks(|hooks, me| {
            let channel = Channel::new(&self.endpoint, call.room.name.clone());
            hooks.after_message(&me.info(), &channel, &call.event, outcome.as_ref().copied());
        });
    }

    /// A join has been decided, by a handler or by a hook: then no handler was started.
    fn finish_join(
        &mut self,
        name: &ChannelName,
        request_id: &str,
        by: Component,
        started: Option<Instant>,
        answer: Result<Joined>,
    ) {
        let outcome = answer.and_then(Joined::into_chain);
        let lobby = outcome.as_ref().ok().map(|(lobby, _)| *lobby);
        let lobby = lobby.or_else(|| Some(self.endpoint.lobby_for(name.as_str(), 0)?.0));
        let outcome = outcome.and_then(|(lobby, chain)| self.commit_join(name, lobby, request_id, chain));
        match &outcome {
            Ok(()) => {}
            Err(error) if error.is_unrouted() => self.no_channel(name, request_id),
            Err(error) => {
                self.decline(name.as_str(), request_id, error);
                self.count_unexpected(by, error);
            }
        }
        self.endpoint.finish(HandlerKind::Join, lobby, started, outcome.as_ref().err());
        self.tell_hooks(|hooks, me| {
            let channel = Channel::new(&self.endpoint, name.clone());
            hooks.after_join(&me.info(), &channel, outcome.as_ref().copied());
        });
    }

    fn commit_join(&mut self, name: &ChannelName, lobby: usize, request_id: &str, chain: Vec<Step>) -> Result<()> {
        let rules = self.endpoint.rules(lobby).ok_or_else(|| Error::internal("a lobby has vanished"))?;
        let (link, options) = (&self.link, &self.options);
        let too_large =
            |step: &Step| matches!(step, Step::Track(presence) if presence.as_str().len() > options.max_presence_size);
        if chain.iter().any(too_large) {
            return Err(self.endpoint.observer.too_large(Limit::Presence, "presence"));
        }
        let (user, assigns) = (link.user(), link.assigns());
        // What would not fit for a new member must not make a channel.
        if !fits(Assigns::default(), &assigns, &chain, options.max_assigns_size) {
            return Err(self.endpoint.observer.too_large(Limit::Assigns, "assigns"));
        }
        let (live, accepted) = self.endpoint.hub.join(name, (lobby, &rules), |channel, rules| {
            if let Some(member) = channel.state().member(user.as_str())
                && !fits(member.assigns.clone(), &assigns, &chain, options.max_assigns_size)
            {
                return None;
            }
            let treatment = |event: &str| rules.treatment(event);
            Some(channel.join(Arc::clone(link), link.id(), user, assigns, request_id, chain, &treatment))
        });
        let accepted = accepted.ok_or_else(|| self.endpoint.observer.too_large(Limit::Assigns, "assigns"))?;
        let name = live.name.clone();
        if accepted.first {
            self.link.count(|metrics, me| metrics.channel_joined(me, name.as_str()));
        }
        for (event, members) in accepted.broadcasts {
            let observer = &self.endpoint.observer;
            observer.count(|metrics, endpoint| metrics.message_broadcast(endpoint, name.as_str(), &event, members));
        }
        let (connection, user, channel) = (self.link.id(), self.link.user(), name.as_str());
        tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, first = accepted.first, "joined");
        self.rooms.entry(name).or_default().seat = Some((live, accepted.slot));
        Ok(())
    }

    fn count_unexpected(&self, component: Component, error: &Error) {
        if error.is_unexpected() {
            self.endpoint.observer.count(|metrics, _| metrics.error(component, error));
        }
    }

    fn tell_hooks(&self, tell: impl FnOnce(&dyn Hooks, &Link)) {
        self.endpoint.common.hooks.tell(self.meter(), |hooks| tell(hooks, &self.link));
    }

    fn meter(&self) -> &Meter {
        &self.endpoint.common.meter
    }

    /// Ends all memberships, now. Messages that were received before are still handled, in order, and then the
    /// leave handlers run; joins that were not decided are dropped, and nothing of them remains. If it is we who end
    /// the connection, each channel says farewell when all that it has for it is out.
    pub(super) fn depart(&mut self) {
        if std::mem::replace(&mut self.departed, true) {
            return;
        }
        self.jobs.retain(|job| !matches!(job.task.kind, Kind::Join { .. }));
        self.waiting = 0;
        let is_awaited = self.link.phase() == Phase::Ending;
        for (name, room) in &mut self.rooms {
            let seat = room.seat.take();
            self.waiting += room.keep_accepted(seat.is_some());
            let Some((live, slot)) = seat else { continue };
            let left = live.change(|channel| channel.leave(slot, self.link.id(), None));
            if is_awaited {
                live.farewell(&self.link);
            }
            let Ok(Ok(departure)) = left else { continue };
            let departure = departure.map(Arc::new);
            for job in &self.jobs {
                if let Kind::Event { call, .. } = &job.task.kind
                    && job.room == *name
                {
                    call.depart(departure.clone());
                }
            }
            let gone = Gone { seat: (live, slot), departure, told: false };
            room.busy.get_or_insert_default().gone = Some(gone);
        }
        // Whoever had been taken out of a channel before has gone now, too.
        for job in &self.jobs {
            if let Kind::Event { call, .. } = &job.task.kind {
                call.depart(None);
            }
        }
        let running: Vec<_> = self.jobs.iter().map(|job| &job.room).collect();
        self.starved = self.rooms.keys().filter(|name| !running.contains(name)).cloned().collect();
        self.link.say_farewell();
    }

    /// Drops everything that is not finished; how many handlers that were running.
    pub(super) fn abandon(&mut self) -> usize {
        self.depart();
        let running = self.jobs.len();
        self.jobs.clear();
        self.starved.clear();
        self.waiting = 0;
        running
    }
}

/// Whether a member's assigns stay within their limit with those of a joining connection and of the chain.
fn fits(mut assigns: Assigns, joining: &Assigns, chain: &[Step], most: usize) -> bool {
    let chained = chain.iter().filter_map(|step| match step {
        Step::Assign(key, value) => Some((key.as_str(), value)),
        _ => None,
    });
    joining.iter().chain(chained).all(|(key, value)| {
        let fits = assigns.size_with(key, value) <= most;
        assigns.set(key, value.clone());
        fits
    })
}
