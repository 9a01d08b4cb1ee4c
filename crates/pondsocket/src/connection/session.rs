//! What a connection says, and what becomes of it: one queue per channel, handlers polled by the connection's task.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use pondsocket_proto::channel::Departure;
use pondsocket_proto::id::{ChannelName, RequestId};
use pondsocket_proto::wire::GATEWAY;
use pondsocket_proto::wire::client::{self, ClientMessage, Envelope, Malformed};
use pondsocket_proto::wire::server::{self, ErrorPayload};
use tokio::time::Instant;

use super::job::{Job, Kind};
use super::room::{Busy, Gone, Room, Seat, Work};
use crate::context::{Call, EventContext, JoinContext, Joined, LeaveReason};
use crate::endpoint::EndpointInner;
use crate::error::Error;
use crate::guard;
use crate::ids;
use crate::link::Link;
use crate::options::Options;

/// The channels of one connection, and its running handlers.
pub(super) struct Session {
    pub(super) endpoint: Arc<EndpointInner>,
    pub(super) link: Arc<Link>,
    pub(super) options: Arc<Options>,
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
    pub(super) fn new(endpoint: Arc<EndpointInner>, link: Arc<Link>, options: Arc<Options>) -> Session {
        Session {
            endpoint,
            link,
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
        match client::decode(text) {
            Ok(ClientMessage::Event(message)) => self.on_event(message, cx),
            Ok(ClientMessage::Join(message)) => self.on_join(message, cx),
            Ok(ClientMessage::Leave(message)) => {
                let work = Work::Leave { request_id: message.request_id.as_ref().into() };
                match self.rooms.get_key_value(&*message.channel) {
                    Some((name, _)) => self.submit(name.clone(), work, cx),
                    None => self.acknowledge_exit(&message.channel, &message.request_id),
                }
            }
            Ok(ClientMessage::Ping) => {}
            Err(malformed) => self.on_malformed(&malformed),
        }
    }

    fn on_event(&mut self, message: Envelope<'_>, cx: &mut Context<'_>) {
        let Some((name, _)) = self.rooms.get_key_value(&*message.channel) else {
            return self.not_joined(&message.channel, &message.request_id);
        };
        let work = Work::Event {
            event: message.event.as_ref().into(),
            request_id: message.request_id.as_ref().into(),
            payload: message.payload.into(),
        };
        self.submit(name.clone(), work, cx);
    }

    fn on_join(&mut self, message: Envelope<'_>, cx: &mut Context<'_>) {
        let name = match self.endpoint.channel_name(&message.channel) {
            Ok(name) => name,
            Err(error) => return self.decline(&message.channel, &message.request_id, &error),
        };
        let work = Work::Join { request_id: message.request_id.as_ref().into(), payload: message.payload.into() };
        self.submit(name, work, cx);
    }

    fn on_malformed(&self, malformed: &Malformed) {
        tracing::debug!(connection = %self.link.id, reason = %malformed.reason, "malformed message");
        let fresh = RequestId::from_u128(ids::fresh());
        let request_id = malformed.request_id.as_deref().unwrap_or(fresh.as_str());
        let channel = malformed.channel.as_deref().unwrap_or(GATEWAY);
        let message = malformed.reason.to_string();
        let details = malformed.details();
        let error = ErrorPayload { code: malformed.code, message: &message, details: details.as_deref(), channel };
        let mut text = Vec::new();
        if malformed.code == 404 {
            server::not_found(&mut text, request_id, &error);
        } else {
            server::internal_error(&mut text, request_id, &error);
        }
        self.link.send_text(&text);
    }

    fn refuse(&self, code: u16, message: &str) {
        let id = RequestId::from_u128(ids::fresh());
        let mut text = Vec::new();
        server::internal_error(
            &mut text,
            id.as_str(),
            &ErrorPayload { code, message, details: None, channel: GATEWAY },
        );
        self.link.send_text(&text);
    }

    /// Does it now, or behind what the room is busy with.
    fn submit(&mut self, name: ChannelName, work: Work, cx: &mut Context<'_>) {
        let room = self.rooms.entry(name.clone()).or_default();
        if let Some(busy) = &mut room.busy {
            busy.queue.push_back(work);
            self.waiting += 1;
        } else if self.jobs.len() >= self.options.max_concurrent_handlers {
            room.busy = Some(Box::new(Busy { queue: VecDeque::from([work]), gone: None }));
            self.waiting += 1;
            self.starved.push_back(name);
        } else {
            self.work_off(name, Some(work), cx);
        }
    }

    /// Does one thing after the other, until a handler waits or nothing is left.
    fn work_off(&mut self, name: ChannelName, mut first: Option<Work>, cx: &mut Context<'_>) {
        loop {
            let kind = match first.take().or_else(|| self.next_work(&name)) {
                Some(work) => self.start(&name, work),
                None => self.start_farewell(&name),
            };
            let Some(kind) = kind else {
                if self.is_idle(&name) {
                    return;
                }
                continue;
            };
            if let Some(kind) = self.advance(&name, kind, cx) {
                let deadline = Instant::now() + self.options.handler_timeout;
                self.rooms.entry(name.clone()).or_default().busy.get_or_insert_default();
                self.jobs.push(Job { room: name, deadline, kind });
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

    fn start(&mut self, name: &ChannelName, work: Work) -> Option<Kind> {
        match work {
            Work::Event { event, request_id, payload } => self.start_event(name, (event, request_id, payload)),
            Work::Join { request_id, payload } => self.start_join(name, request_id, payload),
            Work::Leave { request_id } => self.start_leave(name, &request_id),
        }
    }

    fn start_event(&mut self, name: &ChannelName, message: (Box<str>, Box<str>, Box<str>)) -> Option<Kind> {
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
        self.event_from(call, 0)
    }

    /// Calls the next event handler that matches.
    fn event_from(&self, call: Arc<Call>, from: usize) -> Option<Kind> {
        let lobby = self.endpoint.lobby(call.room.lobby);
        let Some((route, matched, handler)) = lobby.and_then(|lobby| lobby.event_handler(&call.event, from)) else {
            self.no_handler(&call);
            return None;
        };
        let ctx = EventContext { call: Arc::clone(&call), route: matched };
        Some(Kind::Event { call, route, future: guard::call(|| handler(ctx)) })
    }

    fn start_join(&mut self, name: &ChannelName, request_id: Arc<str>, payload: Arc<str>) -> Option<Kind> {
        if let Some((live, slot)) = self.seat(name) {
            // Joining what it is in is acknowledged again, and changes nothing.
            let again = live.change(|channel| channel.rejoin(slot, self.link.id, &request_id));
            if matches!(again, Ok(Ok(()))) {
                return None;
            }
        }
        self.join_from(name, request_id, payload, 0)
    }

    /// Calls the next join handler that matches.
    fn join_from(&self, name: &ChannelName, request_id: Arc<str>, payload: Arc<str>, from: usize) -> Option<Kind> {
        let Some((lobby, route, inner)) = self.endpoint.lobby_for(name.as_str(), from) else {
            self.no_channel(name, &request_id);
            return None;
        };
        let ctx = JoinContext {
            endpoint: Arc::clone(&self.endpoint),
            link: Arc::clone(&self.link),
            lobby,
            name: name.clone(),
            route,
            request_id: Arc::clone(&request_id),
            payload: Arc::clone(&payload),
        };
        Some(Kind::Join { request_id, payload, lobby, future: guard::call(|| (inner.join)(ctx)) })
    }

    fn start_leave(&mut self, name: &ChannelName, request_id: &str) -> Option<Kind> {
        let seat = self.rooms.get_mut(name).and_then(|room| room.seat.take());
        if let Some((live, slot)) = seat
            && let Ok(Ok(departure)) = live.change(|channel| channel.leave(slot, self.link.id, Some(request_id)))
        {
            let future = self.endpoint.leave(name.clone(), live.lobby, departure?, LeaveReason::Left)?;
            return Some(Kind::Leave { future });
        }
        self.acknowledge_exit(name.as_str(), request_id);
        None
    }

    /// After the last message of a connection that has gone: its leave handler.
    fn start_farewell(&mut self, name: &ChannelName) -> Option<Kind> {
        let gone = self.rooms.get_mut(name)?.busy.as_mut()?.gone.as_mut()?;
        if std::mem::replace(&mut gone.told, true) {
            return None;
        }
        let departure = Departure::clone(gone.departure.as_ref()?);
        let lobby = gone.seat.0.lobby;
        let future = self.endpoint.leave(name.clone(), lobby, departure, LeaveReason::Closed)?;
        Some(Kind::Leave { future })
    }

    /// Where the connection sits, if it still does.
    fn seat(&mut self, name: &ChannelName) -> Option<Seat> {
        let room = self.rooms.get_mut(name)?;
        let (live, slot) = room.seat.as_ref()?;
        if live.is_seated(*slot, self.link.id) {
            return room.seat.clone();
        }
        room.seat = None;
        None
    }

    /// Polls all running handlers; cancels those whose time is over.
    pub(super) fn poll_jobs(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut at = 0;
        while at < self.jobs.len() {
            let Job { room, deadline, kind } = self.jobs.swap_remove(at);
            match self.advance(&room, kind, cx) {
                Some(kind) if now < deadline => {
                    self.jobs.push(Job { room, deadline, kind });
                    let last = self.jobs.len() - 1;
                    self.jobs.swap(at, last);
                    at += 1;
                }
                late => {
                    if let Some(kind) = late {
                        self.expire(&room, kind);
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
    fn advance(&mut self, name: &ChannelName, mut kind: Kind, cx: &mut Context<'_>) -> Option<Kind> {
        loop {
            match kind {
                Kind::Event { call, route, mut future } => match guard::poll(&mut future, cx) {
                    Poll::Pending => return Some(Kind::Event { call, route, future }),
                    Poll::Ready(Ok(())) => return None,
                    Poll::Ready(Err(error)) if error.is_pass() => kind = self.event_from(call, route + 1)?,
                    Poll::Ready(Err(error)) => {
                        self.fail(&call, &error);
                        return None;
                    }
                },
                Kind::Join { request_id, payload, lobby, mut future } => match guard::poll(&mut future, cx) {
                    Poll::Pending => return Some(Kind::Join { request_id, payload, lobby, future }),
                    Poll::Ready(Err(error)) if error.is_pass() => {
                        kind = self.join_from(name, request_id, payload, lobby + 1)?;
                    }
                    Poll::Ready(answer) => {
                        match answer.and_then(Joined::into_chain) {
                            Ok(chain) => self.commit_join(name, lobby, &request_id, chain),
                            Err(error) => self.decline(name.as_str(), &request_id, &error),
                        }
                        return None;
                    }
                },
                Kind::Leave { mut future } => match guard::poll(&mut future, cx) {
                    Poll::Pending => return Some(Kind::Leave { future }),
                    Poll::Ready(answer) => {
                        if let Err(error) = answer {
                            tracing::error!(channel = name.as_str(), ?error, "leave handler failed");
                        }
                        return None;
                    }
                },
            }
        }
    }

    fn expire(&self, name: &ChannelName, kind: Kind) {
        tracing::warn!(connection = %self.link.id, channel = name.as_str(), "handler cancelled at its deadline");
        match kind {
            Kind::Event { call, .. } => self.fail(&call, &guard::timed_out()),
            Kind::Join { request_id, .. } => self.decline(name.as_str(), &request_id, &guard::timed_out()),
            Kind::Leave { .. } => {}
        }
    }

    fn commit_join(
        &mut self,
        name: &ChannelName,
        lobby: usize,
        request_id: &str,
        chain: Vec<pondsocket_proto::channel::Step>,
    ) {
        let link = &self.link;
        let (live, accepted) = self.endpoint.hub.join(name, lobby, |channel| {
            channel.join(Arc::clone(link), link.id, &link.user, link.assigns(), request_id, chain)
        });
        let name = live.name.clone();
        self.rooms.entry(name).or_default().seat = Some((live, accepted.slot));
    }

    /// Ends all memberships, now. Messages that were received before are still handled, in order, and then the
    /// leave handlers run; joins that were not decided are dropped, and nothing of them remains.
    pub(super) fn depart(&mut self) {
        if std::mem::replace(&mut self.departed, true) {
            return;
        }
        self.endpoint.unregister(self.link.id);
        self.jobs.retain(|job| !matches!(job.kind, Kind::Join { .. }));
        self.waiting = 0;
        for (name, room) in &mut self.rooms {
            let seat = room.seat.take();
            self.waiting += room.keep_accepted(seat.is_some());
            let Some((live, slot)) = seat else { continue };
            let Ok(Ok(departure)) = live.change(|channel| channel.leave(slot, self.link.id, None)) else { continue };
            let departure = departure.map(Arc::new);
            for job in &self.jobs {
                if let Kind::Event { call, .. } = &job.kind
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
            if let Kind::Event { call, .. } = &job.kind {
                call.depart(None);
            }
        }
        let running: Vec<_> = self.jobs.iter().map(|job| &job.room).collect();
        self.starved = self.rooms.keys().filter(|name| !running.contains(name)).cloned().collect();
    }

    fn not_joined(&self, channel: &str, request_id: &str) {
        // A channel that the last member has just left may still be delivering.
        let live = self.endpoint.hub.get(channel);
        let live = live.is_some_and(|live| live.read(|channel| channel.state().member_count() > 0));
        self.tell(channel, |text| {
            if live {
                let message = "not a member of the channel";
                server::internal_error(text, request_id, &ErrorPayload { code: 403, message, details: None, channel });
            } else {
                let message = "no such channel";
                server::not_found(text, request_id, &ErrorPayload { code: 404, message, details: None, channel });
            }
        });
    }

    /// A join that no pattern matches ends in the two frames that between them all clients understand
    /// (docs/protocol.md, Declining).
    fn no_channel(&self, name: &ChannelName, request_id: &str) {
        let channel = name.as_str();
        let error = ErrorPayload { code: 404, message: "no such channel", details: None, channel };
        self.tell(channel, |text| server::not_found(text, request_id, &error));
        self.tell(channel, |text| server::join_declined(text, request_id, &error));
    }

    fn decline(&self, channel: &str, request_id: &str, error: &Error) {
        log(&self.link, channel, "join declined", error);
        let payload = ErrorPayload { code: error.code(), message: error.message(), details: error.details(), channel };
        self.tell(channel, |text| server::join_declined(text, request_id, &payload));
    }

    fn no_handler(&self, call: &Call) {
        let channel = call.room.name.as_str();
        let details = serde_json::json!({ "event": &*call.event }).to_string();
        let error = ErrorPayload { code: 404, message: "no handler for this event", details: Some(&details), channel };
        self.answer(call, |text| server::not_found(text, &call.request_id, &error));
    }

    fn fail(&self, call: &Call, error: &Error) {
        let channel = call.room.name.as_str();
        log(&self.link, channel, "event handler failed", error);
        let payload = ErrorPayload { code: error.code(), message: error.message(), details: error.details(), channel };
        self.answer(call, |text| server::internal_error(text, &call.request_id, &payload));
    }

    fn acknowledge_exit(&self, channel: &str, request_id: &str) {
        self.tell(channel, |text| server::exit_acknowledge(text, channel, request_id));
    }

    /// Sends to this connection behind all that the channel, if it lives, has for it.
    fn tell(&self, channel: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        match self.endpoint.hub.get(channel) {
            Some(live) => live.tell(&self.link, &text),
            None => self.link.send_text(&text),
        }
    }

    /// Answers a message of a member; whoever has left gets no answer.
    fn answer(&self, call: &Call, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        let _ = call.room.reply(&self.link, call.slot, self.link.id, &text);
    }
}

/// Mistakes of the peer are for `debug`, our own for `error`.
fn log(link: &Link, channel: &str, what: &'static str, error: &Error) {
    if error.code() == 500 {
        tracing::error!(connection = %link.id, user = %link.user, channel, ?error, "{what}");
    } else {
        tracing::debug!(connection = %link.id, user = %link.user, channel, ?error, "{what}");
    }
}
