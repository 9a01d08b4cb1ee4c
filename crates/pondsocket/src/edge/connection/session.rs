//! What a connection says, and when its turn comes: one queue for each of its channels.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Context;

use pondsocket_proto::id::{ChannelName, RequestId};
use pondsocket_proto::wire::ClientText;
use pondsocket_proto::wire::client::{self, ClientEnvelope, ClientMessage, MalformedMessage};
use tokio::time::Instant;

use super::job::{Job, Kind};
use super::rates::Rates;
use super::room::{Busy, Gone, Pause, Room, Seat, Waiting, Work};
use crate::endpoint::{EndpointInner, Settings};
use crate::engine::ids;
use crate::engine::link::Link;
use crate::engine::live::Scope;
use crate::engine::outbox::{Closure, Phase};
use crate::error::{Error, Result};
use crate::metrics::{CloseReason, Limit, Queue};

/// The channels of one connection, and its running handlers.
pub(crate) struct Session {
    pub(super) endpoint: Arc<EndpointInner>,
    pub(super) link: Arc<Link>,
    pub(super) options: Arc<Settings>,
    rates: Option<Box<Rates>>,
    pub(super) rooms: HashMap<ChannelName, Room>,
    pub(super) jobs: Vec<Job>,
    /// Rooms with work that wait for one of the running handlers to end.
    pub(super) starved: VecDeque<ChannelName>,
    waiting: Waiting,
    /// Bytes of messages that handlers are at work on.
    pub(super) handled_bytes: usize,
    /// The limit for which reading was paused last, until there is room.
    paused: Option<Pause>,
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
            waiting: Waiting::default(),
            handled_bytes: 0,
            paused: None,
            moved: false,
            departed: false,
        }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Why nothing more may be read for now; `None` if it may.
    pub(crate) fn pause(&self) -> Option<Pause> {
        let Waiting { messages, bytes, joins } = self.waiting;
        if messages >= self.options.receive_channel_buffer {
            return Some(Pause::Messages);
        }
        if bytes >= self.options.receive_bytes {
            return Some(Pause::Bytes);
        }
        // Few connections have as many jobs: most are not looked through.
        let most = self.options.max_pending_joins;
        (joins + self.jobs.len() >= most && joins + self.running_joins() >= most).then_some(Pause::Joins)
    }

    /// Notes whether reading pauses; each pause is counted once.
    pub(super) fn note_pause(&mut self) {
        let pause = self.pause();
        if pause != std::mem::replace(&mut self.paused, pause) {
            match pause {
                Some(Pause::Bytes) => self.link.reached(Limit::ReceiveBytes),
                Some(Pause::Joins) => self.link.reached(Limit::PendingJoins),
                // It is seen in `queue_depth`.
                Some(Pause::Messages) | None => {}
            }
        }
    }

    /// Returns whether anything waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.messages > 0
    }

    /// Bytes of messages that are not handled yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.waiting.bytes + self.handled_bytes
    }

    /// Returns whether what the client sends next has to wait: too much waits for it, or for those it publishes to.
    pub(crate) fn must_pause(&self) -> bool {
        self.link.is_congested() || Scope::is_crowded()
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
    pub(crate) fn on_binary(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.on_text(text, cx),
            Err(_) => self.on_malformed(client::not_utf8(bytes), cx),
        }
    }

    pub(crate) fn on_text(&mut self, text: &str, cx: &mut Context<'_>) {
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
            // A decline would make clients believe that they are out.
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
        let name = channel.and_then(|channel| self.rooms.get_key_value(channel)).map(|(name, _)| name.clone());
        match name {
            // Whether it is declined depends on what is before it: a decline would make a member believe that it is out.
            Some(name) => self.submit(name, Work::MalformedJoin { malformed: Box::new(malformed), error }, cx),
            None => self.decline_malformed(&malformed, &error),
        }
    }

    fn is_in(&mut self, channel: &str) -> bool {
        let name = self.rooms.get_key_value(channel).map(|(name, _)| name.clone());
        name.is_some_and(|name| self.seat(&name).is_some())
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

    fn on_event(&mut self, message: ClientEnvelope<'_>, bytes: usize, cx: &mut Context<'_>) {
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

    fn on_join(&mut self, message: ClientEnvelope<'_>, cx: &mut Context<'_>) {
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
            let is_seated = |seat: &Seat| seat.live.is_seated(seat.slot, me);
            self.rooms.retain(|_, room| room.busy.is_some() || room.seat.as_ref().is_some_and(is_seated));
        }
        if self.rooms.len() >= most {
            self.link.reached(Limit::Channels);
            return Err(Error::too_many_requests("too many channels"));
        }
        Ok(())
    }

    fn running_joins(&self) -> usize {
        self.jobs.iter().filter(|job| job.task.kind.is_join()).count()
    }

    /// Does it now, or behind what the room is busy with.
    fn submit(&mut self, name: ChannelName, work: Work, cx: &mut Context<'_>) {
        let has_enough = self.has_enough_handlers();
        let room = self.rooms.entry(name.clone()).or_default();
        if let Some(busy) = &mut room.busy {
            self.waiting.add(&work);
            busy.queue.push_back(work);
        } else if has_enough {
            self.waiting.add(&work);
            room.busy = Some(Box::new(Busy { queue: VecDeque::from([work]), gone: None }));
            self.starved.push_back(name);
        } else {
            return self.work_off(name, Some(work), cx);
        }
        let waiting = self.waiting.messages;
        self.endpoint.observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Receive, waiting));
    }

    /// Does one thing after the other, until a handler waits or nothing is left.
    pub(super) fn work_off(&mut self, name: ChannelName, mut first: Option<Work>, cx: &mut Context<'_>) {
        loop {
            let work = first.take().or_else(|| self.next_work(&name));
            let bytes = work.as_ref().map_or(0, Work::bytes);
            let task = match work {
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
                let deadline = task.kind.deadline().unwrap_or_else(|| Instant::now() + self.options.handler_timeout);
                self.rooms.entry(name.clone()).or_default().busy.get_or_insert_default();
                self.handled_bytes += bytes;
                self.jobs.push(Job { room: name, deadline, bytes, task });
                return;
            }
        }
    }

    /// Whether as many handlers run as may at once.
    pub(super) fn has_enough_handlers(&self) -> bool {
        self.jobs.iter().filter(|job| job.task.kind.is_handler()).count() >= self.options.max_concurrent_handlers
    }

    fn next_work(&mut self, name: &ChannelName) -> Option<Work> {
        let work = self.rooms.get_mut(name)?.busy.as_mut()?.queue.pop_front()?;
        self.waiting.remove(&work);
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

    /// Where the connection sits, if it still does.
    pub(super) fn seat(&mut self, name: &ChannelName) -> Option<Seat> {
        let room = self.rooms.get_mut(name)?;
        let seat = room.seat.as_ref()?;
        if seat.live.is_seated(seat.slot, self.link.id()) {
            return room.seat.clone();
        }
        seat.live.farewell(&self.link);
        room.seat = None;
        None
    }

    /// Ends all memberships, now. Messages that were received before are still handled, in order, and then the
    /// leave handlers run; joins that were not decided are dropped, and nothing of them remains. If it is we who end
    /// the connection, each channel says farewell when all that it has for it is out.
    pub(super) fn depart(&mut self) {
        if std::mem::replace(&mut self.departed, true) {
            return;
        }
        self.jobs.retain(|job| !job.task.kind.is_join());
        self.handled_bytes = self.jobs.iter().map(|job| job.bytes).sum();
        self.waiting = Waiting::default();
        let is_awaited = self.link.phase() == Phase::Ending;
        for (name, room) in &mut self.rooms {
            let seat = room.seat.take();
            let kept = room.keep_accepted(seat.is_some());
            self.waiting.messages += kept.messages;
            self.waiting.bytes += kept.bytes;
            let Some(seat) = seat else { continue };
            let left = seat.live.change(|channel| channel.leave(seat.slot, self.link.id(), None));
            if is_awaited {
                seat.live.farewell(&self.link);
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
            let gone = Gone { seat, departure, told: false };
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
        (self.waiting, self.handled_bytes) = (Waiting::default(), 0);
        running
    }
}

/// The id of an answer to a message that has none.
pub(super) fn fresh_request_id() -> Arc<str> {
    RequestId::from_u128(ids::fresh()).as_str().into()
}
