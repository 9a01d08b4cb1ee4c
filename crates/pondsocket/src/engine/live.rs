//! A live channel: its state behind one lock, and the delivery token, which says who delivers.
//!
//! Changes append to the channel's queue under the lock and return; the lock's order is the total order in which
//! members hear of them. Delivery runs outside user code, by one holder of the delivery token at a time, which is whoever
//! took the list of recipients out of the lock. It takes a portion of the queue and makes one write per recipient, so
//! that what arrived meanwhile is behind it. Then it waits for those recipients that were too far behind to take it:
//! while it waits the queue fills up, and those who publish are not read.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::channel::{
    Audience, Batch, Channel, ChannelLimits, Class, DeliveryPolicy, DropPolicy, Encoded, Listener, NotMember, Outbound,
    Piece, Plan, Reception, Recipients, Refused, Run, Slot,
};
use pondsocket_proto::id::{ChannelName, ConnectionId};
use tokio::time::Instant;

use crate::engine::framing::Framing;
use crate::engine::hub::Hub;
use crate::engine::ids;
use crate::engine::outbox::RoomWait;
use crate::engine::pace::Allowance;
use crate::engine::sync::Mutex;
use crate::engine::timer::{Alarm, SharedTimer};
use crate::limits::memory::{Charge, Memory, counted};

#[cfg(not(all(test, pond_loom)))]
use tokio::runtime::Handle as Home;

#[cfg(all(test, pond_loom))]
use model::Home;

#[cfg(all(test, pond_loom))]
mod model;

/// Writes between two yields: a socket's non-blocking write spends nothing of the task's budget.
const WRITES_PER_TURN: u32 = 64;

/// A connection, as its channels deliver to it.
pub(crate) trait Recipient: Clone + Send + Sync + 'static {
    /// The framing of its messages.
    fn framing(&self) -> Framing;
    /// Its connection's id.
    fn connection(&self) -> ConnectionId;
    /// Takes framed messages of a channel, now, unless it is behind and will catch up. It must not wait.
    fn deliver(&self, channel: u64, runs: &[Run<Bytes>]) -> Reached;
    /// Waits until a recipient that is behind has room, but no longer than this.
    fn wait(&self, waker: &Waker, until: Instant) -> RoomWait;
    /// Takes one message that is not framed yet. It may be called under the channel's lock: what must not be done there
    /// is what it gives.
    fn send(&self, text: &[u8]) -> impl FnOnce();
    /// A channel that it is not in has something for it: a flush marker will follow.
    fn expect_flush_marker(&self);
    /// It has had everything of a channel that it is not in.
    fn receive_flush_marker(&self);
}

/// A recipient's answer to messages for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reached {
    /// It has them, or never will.
    Done,
    /// It is behind, and has taken none.
    Behind,
}

/// For how long channels wait for their members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pacing {
    /// In vain, in each channel.
    pub(crate) budget: Duration,
    pub(crate) timer: SharedTimer,
}

/// The lobby of a channel, as far as delivery needs it. It is a type parameter of the channel: the engine cannot name the
/// application's lobby, which stands on a higher floor, and application code gets its own type back from the channel.
pub(crate) trait Rules: Send + Sync + 'static {
    /// The connections that its channels deliver to.
    type Recipient: Recipient;

    /// Returns the policy of messages of this event.
    fn delivery_policy(&self, event: &str) -> DeliveryPolicy;
    /// Starts the decisions about one filtered message, given as its text.
    fn filter<'a>(&'a self, text: &'a [u8]) -> Box<dyn OutgoingFilter<Self::Recipient> + 'a>;
    /// Notes that a channel has got its first member.
    fn opened(&self, name: &str);
    /// Notes that a channel has lost its last member, and that everything has been delivered.
    fn closed(&self, name: &str);
    /// Notes that a delivery has taken so many operations.
    fn took(&self, operations: usize);
}

/// The way to other nodes for the changes of channels here.
pub(crate) trait Replication: Send + Sync {
    /// Somebody has come into a channel. `instance` tells this life of it from every other. It and the others are
    /// called under the channel's lock: they neither wait nor call back.
    fn opened(&self, channel: &ChannelName, instance: u64);
    /// Tells other nodes its changes, in order.
    fn replicate(&self, channel: &ChannelName, what: Vec<Outbound>);
    /// This life of it is over.
    fn closed(&self, channel: &ChannelName, instance: u64);
}

/// The decisions about one filtered message, for each recipient.
pub(crate) trait OutgoingFilter<R>: Send {
    fn decide(&mut self, to: &R, listener: &Listener) -> FilterDecision;
}

/// An outgoing handler's decision.
pub(crate) enum FilterDecision {
    Pass,
    Block,
    /// Another text in its place.
    Replace(Vec<u8>),
}

/// A channel that has members, or is about to.
pub(crate) struct LiveChannel<L: Rules> {
    pub(crate) name: ChannelName,
    /// The lobby of the join which made it.
    pub(crate) lobby: Arc<L>,
    /// Tells it from every other one, whatever its name.
    pub(crate) serial: u64,
    /// There is none if there are no other nodes.
    replication: Option<Arc<dyn Replication>>,
    hub: Weak<Hub<L>>,
    /// The runtime of the join that made it.
    home: Option<Home>,
    /// Set once it has had a member.
    opened: AtomicBool,
    timer: SharedTimer,
    memory: Arc<Memory>,
    core: Mutex<Core<L::Recipient>>,
}

#[derive(Debug)]
struct Core<R> {
    channel: Channel<R>,
    /// There while nobody delivers.
    token: Option<Recipients<R>>,
    /// Those who wait for room in the queue.
    waiting: Vec<Waker>,
    /// For how long members may still be waited for in vain.
    allowance: Allowance,
    /// The bytes that wait to be delivered, and those of the batch that is being delivered.
    charge: Charge,
    /// The bytes of that batch.
    delivering: usize,
    /// It has left the hub: whoever still holds it must ask the hub again.
    closed: bool,
    /// Other nodes have been told that it is open.
    replicated: bool,
}

/// The outcome of a change of a channel.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// Something is queued, and nobody delivers it.
    has_work: bool,
    /// Whoever has published should pause.
    is_crowded: bool,
}

impl<R> Core<R> {
    /// Reports to the server's counter what the channel holds, after each change of that.
    fn report(&mut self) {
        self.charge.set(self.channel.queued().1 + self.delivering);
    }

    /// The outcome of a change, right after it.
    fn outcome(&mut self) -> Outcome {
        self.report();
        let has_work = self.token.is_some() && self.channel.has_queued();
        Outcome { has_work, is_crowded: self.channel.is_crowded() }
    }

    /// Returns `true` if nothing is on its way to anybody.
    fn is_quiet(&self) -> bool {
        self.token.is_some() && !self.channel.has_queued()
    }
}

impl<L: Rules> LiveChannel<L> {
    pub(crate) fn new(
        name: ChannelName,
        lobby: Arc<L>,
        (limits, pacing, memory): (ChannelLimits, Pacing, &Arc<Memory>),
        replication: Option<Arc<dyn Replication>>,
        hub: Weak<Hub<L>>,
    ) -> Arc<Self> {
        let channel = Channel::new(name.clone(), limits, ids::fresh);
        let core = Core {
            channel: if replication.is_some() { channel.replicated() } else { channel },
            token: Some(Recipients::default()),
            waiting: Vec::new(),
            allowance: Allowance::new(pacing.budget),
            charge: Charge::new(memory),
            delivering: 0,
            closed: false,
            replicated: false,
        };
        let (serial, home) = (ids::serial(), Home::try_current().ok());
        let (opened, core) = (AtomicBool::new(false), Mutex::new(core));
        let (timer, memory) = (pacing.timer, Arc::clone(memory));
        Arc::new(LiveChannel { name, lobby, serial, replication, hub, home, opened, timer, memory, core })
    }

    /// Somebody has joined.
    pub(crate) fn open(&self) {
        if !self.opened.swap(true, Ordering::Relaxed) {
            self.lobby.opened(self.name.as_str());
        }
    }

    /// The policy of messages of this event.
    pub(crate) fn delivery_policy(&self, event: &str) -> DeliveryPolicy {
        self.lobby.delivery_policy(event)
    }

    /// Changes the channel; what that means for its members is delivered soon. `Err` gives the change back: the
    /// channel has closed.
    pub(crate) fn change<T, F: FnOnce(&mut Channel<L::Recipient>) -> T>(self: &Arc<Self>, change: F) -> Result<T, F> {
        self.apply(change, |change, channel| change(channel))
    }

    /// Seats a connection. What its join chains is handled as this channel's lobby says, which may be another one than that
    /// of the join.
    pub(crate) fn join<T, F: FnOnce(&mut Channel<L::Recipient>, &L) -> T>(self: &Arc<Self>, join: F) -> Result<T, F> {
        self.apply(join, |join, channel| join(channel, &self.lobby))
    }

    fn apply<T, F>(
        self: &Arc<Self>,
        change: F,
        apply: impl FnOnce(F, &mut Channel<L::Recipient>) -> T,
    ) -> Result<T, F> {
        let mut core = self.core.lock();
        if core.closed {
            return Err(change);
        }
        let answer = apply(change, &mut core.channel);
        self.replicate(&mut core);
        let outcome = core.outcome();
        drop(core);
        self.follow(outcome);
        Ok(answer)
    }

    /// Does what follows from a change, or notes it for the end of the scope.
    fn follow(self: &Arc<Self>, Outcome { has_work, is_crowded }: Outcome) {
        if has_work || is_crowded {
            flush_soon(self, is_crowded);
        }
    }

    /// Under the lock: its order is the order in which other nodes hear of the changes.
    fn replicate(&self, core: &mut Core<L::Recipient>) {
        let Some(replication) = &self.replication else { return };
        let outbound = core.channel.take_outbound();
        if outbound.is_empty() {
            return;
        }
        if !std::mem::replace(&mut core.replicated, true) {
            replication.opened(&self.name, self.serial);
        }
        replication.replicate(&self.name, outbound);
    }

    /// Looks at the channel.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Channel<L::Recipient>) -> T) -> T {
        look(&self.core.lock().channel)
    }

    /// Returns `true` if this connection is in the channel, in this slot.
    pub(crate) fn is_seated(&self, slot: Slot, connection: ConnectionId) -> bool {
        self.read(|channel| channel.local_members().is_seated(slot, connection))
    }

    /// Answers one connection: directly if nothing is on its way to it and nobody decides about it, else behind that.
    pub(crate) fn reply(
        self: &Arc<Self>,
        to: &L::Recipient,
        slot: Slot,
        text: &[u8],
        policy: DeliveryPolicy,
    ) -> Result<(), Refused> {
        let connection = to.connection();
        let mut core = self.core.lock();
        if !core.is_quiet() || policy.filtered {
            let replied = core.channel.reply(slot, connection, text, policy);
            let outcome = core.outcome();
            drop(core);
            self.follow(outcome);
            return replied;
        }
        if !core.channel.local_members().is_seated(slot, connection) {
            return Err(NotMember.into());
        }
        let told = to.send(text);
        drop(core);
        told();
        Ok(())
    }

    /// Tells something to a connection that is no member: behind what it got, or is to get, as one.
    pub(crate) fn tell(self: &Arc<Self>, to: &L::Recipient, text: &[u8]) {
        let mut core = self.core.lock();
        if core.is_quiet() {
            let told = to.send(text);
            drop(core);
            return told();
        }
        // Whoever holds the token, or is about to take it for what is queued, delivers this too.
        to.expect_flush_marker();
        core.channel.tell(to.clone(), text);
        core.channel.push_flush_marker(to.clone());
        let outcome = core.outcome();
        drop(core);
        self.follow(outcome);
    }

    /// Starts delivery if there is something to deliver and nobody does.
    fn flush(self: &Arc<Self>) {
        self.take_token().into_iter().for_each(Delivery::start);
    }

    /// Somebody is not in the channel any more: what is still on its way to it comes before a close frame of ours.
    pub(crate) fn send_flush_marker(self: &Arc<Self>, to: &L::Recipient) {
        to.expect_flush_marker();
        if self.change(|channel| channel.push_flush_marker(to.clone())).is_err() {
            // It has closed, and so has delivered everything.
            to.receive_flush_marker();
        }
    }

    /// Takes the token, if there is work and nobody holds it.
    pub(crate) fn take_token(self: &Arc<Self>) -> Option<Delivery<L>> {
        let mut core = self.core.lock();
        if !core.channel.has_queued() {
            return None;
        }
        let recipients = core.token.take()?;
        Some(Delivery { channel: Arc::clone(self), recipients: Some(recipients), stage: Stage::AtHome })
    }

    /// Waits until those who publish need not pause.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut core = self.core.lock();
        if core.closed || !core.channel.is_crowded() {
            return Poll::Ready(());
        }
        if !core.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            core.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until a recipient that is behind has room; or until it is waited for in vain.
    async fn wait_for(&self, to: &L::Recipient) {
        let begun = Instant::now();
        let until = begun + self.core.lock().allowance.wait(begun);
        let mut alarm = Alarm::default();
        let wait = poll_fn(|cx| match to.wait(cx.waker(), until) {
            RoomWait::Until(deadline) => {
                alarm.set(self.timer.get(), deadline, cx.waker());
                Poll::Pending
            }
            wait @ (RoomWait::Room | RoomWait::TimedOut) => Poll::Ready(wait),
        });
        if wait.await == RoomWait::TimedOut {
            let now = Instant::now();
            self.core.lock().allowance.spend(now - begun, now);
        }
    }
}

impl<L: Rules> fmt::Debug for LiveChannel<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveChannel").field("name", &self.name.as_str()).finish_non_exhaustive()
    }
}

/// The right to deliver, and the duty to go on until the queue is empty. Dropped in the midst of it, by a panic or
/// the end of the runtime, it gives the token back, and another delivery goes on with what is left.
pub(crate) struct Delivery<L: Rules> {
    channel: Arc<LiveChannel<L>>,
    recipients: Option<Recipients<L::Recipient>>,
    stage: Stage,
}

/// The progress of a delivery.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It is to run where the channel is at home.
    AtHome,
    /// The home has gone: it is to run on the runtime of whoever is here.
    Here,
    /// It has taken a batch.
    Begun,
}

impl<L: Rules> Delivery<L> {
    /// Lets it run where the channel is at home. The runtime of whoever publishes might stand still, or end: all
    /// of the channel would wait for it.
    fn start(self) {
        match self.channel.home.clone() {
            Some(home) => spawn(&home, self.run()),
            None => self.start_here(),
        }
    }

    /// Lets it run on the current runtime, if there is one.
    fn start_here(mut self) {
        self.stage = Stage::Here;
        if let Ok(here) = Home::try_current() {
            spawn(&here, self.run());
        }
    }

    /// Delivers until the queue is empty. It yields before each portion, so that other ready publishers append, and
    /// that connections to which only their own task can write have their turn.
    pub(crate) async fn run(mut self) {
        tokio::task::yield_now().await;
        while let Some(batch) = self.next() {
            self.deliver(batch).await;
            if self.channel.read(Channel::has_queued) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The next batch, or the token is laid down: one step under the lock, so that nothing is ever stranded.
    pub(crate) fn next(&mut self) -> Option<Batch<L::Recipient>> {
        let mut core = self.channel.core.lock();
        if core.channel.has_queued() {
            let batch = core.channel.take();
            core.delivering = batch.bytes();
            core.report();
            self.stage = Stage::Begun;
            let waiting = if core.channel.is_crowded() { Vec::new() } else { std::mem::take(&mut core.waiting) };
            drop(core);
            waiting.into_iter().for_each(Waker::wake);
            self.channel.lobby.took(batch.len());
            return Some(batch);
        }
        core.token = self.recipients.take();
        core.delivering = 0;
        core.report();
        let ended = core.channel.local_members().connection_count() == 0;
        core.closed = ended;
        if let Some(replication) = self.channel.replication.as_ref().filter(|_| ended && core.replicated) {
            replication.closed(&self.channel.name, self.channel.serial);
        }
        drop(core);
        if ended {
            if let Some(hub) = self.channel.hub.upgrade() {
                hub.remove(&self.channel);
            }
            self.channel.lobby.closed(self.channel.name.as_str());
        }
        None
    }

    async fn deliver(&mut self, batch: Batch<L::Recipient>) {
        if batch.is_filtered() {
            return self.deliver_filtered(&batch).await;
        }
        let Some(recipients) = &mut self.recipients else { return };
        let plan = Plan::new(&batch, recipients);
        let (channel, memory) = (self.channel.serial, &self.channel.memory);
        let mut encodings = Encodings { batch: &batch, channel, memory, known: Vec::new() };
        let mut behind = Behind::default();
        let mut writes = 0;
        for private in &plan.private {
            let (to, part) = (&private.to, Part::Pieces(&private.pieces));
            // A recipient with several parts gets them in order.
            if behind.contains(to) || encodings.send(to, part) == Reached::Behind {
                behind.push(to, part);
            }
            turn(&mut writes).await;
        }
        let end = if plan.visits(Class::Tracked) { recipients.end() } else { 0 };
        for index in 0..end {
            let Some((slot, reception)) = recipients.at(index) else { continue };
            let class = if reception.tracked { Class::Tracked } else { Class::All };
            if plan.visits(class) && !plan.is_marked(slot) {
                if encodings.send(&reception.to, Part::Whole(class)) == Reached::Behind {
                    behind.push(&reception.to, Part::Whole(class));
                }
                turn(&mut writes).await;
            }
        }
        // Everybody who has room has its part: now the others are waited for, before more is taken.
        for (to, part) in behind.parts {
            while encodings.send(&to, part) == Reached::Behind {
                self.channel.wait_for(&to).await;
            }
        }
    }

    /// Message by message, recipient by recipient: an outgoing handler decides about each.
    async fn deliver_filtered(&mut self, batch: &Batch<L::Recipient>) {
        let Some(recipients) = &self.recipients else { return };
        let mut writes = 0;
        for (audience, text, policy) in batch.messages() {
            let mut filter = self.channel.lobby.filter(text);
            let mut passed = Vec::new();
            for (slot, reception) in hearers(recipients, audience) {
                let to = &reception.to;
                // Whoever receives sits there, or did when it left.
                let Some(listener) = batch.listener(slot) else { continue };
                debug_assert_eq!(listener.connection, to.connection());
                let frame = match filter.decide(to, listener) {
                    FilterDecision::Pass => shared_frame(&mut passed, to.framing(), text, &self.channel.memory),
                    FilterDecision::Replace(text) => counted(&self.channel.memory, to.framing().frame(&text)),
                    FilterDecision::Block => continue,
                };
                let run = [one_frame(frame, policy.drop_policy)];
                while to.deliver(self.channel.serial, &run) == Reached::Behind {
                    self.channel.wait_for(to).await;
                }
                turn(&mut writes).await;
            }
        }
    }
}

/// The recipients that an audience means.
fn hearers<'a, R: Recipient>(
    recipients: &'a Recipients<R>,
    audience: &'a Audience<R>,
) -> impl Iterator<Item = (Slot, &'a Reception<R>)> {
    recipients.iter().filter(move |(slot, reception)| match audience {
        Audience::All => true,
        Audience::Tracked => reception.tracked,
        Audience::Only(seats) => seats.as_slice().contains(slot),
        Audience::Except(seats) => !seats.as_slice().contains(slot),
        Audience::Outsider(_) => false,
    })
}

/// The frame of a message that several get as it is, made once for each framing.
fn shared_frame(known: &mut Vec<(Framing, Bytes)>, framing: Framing, text: &[u8], memory: &Arc<Memory>) -> Bytes {
    if let Some((_, frame)) = known.iter().find(|(of, _)| *of == framing) {
        return frame.clone();
    }
    let frame = counted(memory, framing.frame(text));
    known.push((framing, frame.clone()));
    frame
}

fn one_frame(buffer: Bytes, drop_policy: DropPolicy) -> Run<Bytes> {
    Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy }
}

impl<L: Rules> Drop for Delivery<L> {
    fn drop(&mut self) {
        let Some(recipients) = self.recipients.take() else { return };
        let mut core = self.channel.core.lock();
        core.token = Some(recipients);
        core.delivering = 0;
        core.report();
        drop(core);
        // Whoever has appended in the meantime relies on this delivery.
        match self.stage {
            Stage::AtHome => self.channel.take_token().into_iter().for_each(Delivery::start_here),
            Stage::Begun => self.channel.flush(),
            // No runtime is left. The next change tries again.
            Stage::Here => {}
        }
    }
}

fn spawn(home: &Home, delivery: impl Future<Output = ()> + Send + 'static) {
    // Nobody waits for it: it ends by itself, and its drop guard knows what to do.
    drop(home.spawn(delivery));
}

async fn turn(writes: &mut u32) {
    *writes += 1;
    if writes.is_multiple_of(WRITES_PER_TURN) {
        tokio::task::yield_now().await;
    }
}

/// The part of a batch that one recipient gets.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Pieces(&'a [Piece]),
    Whole(Class),
}

/// Recipients that were too far behind for their part of a batch, in the order in which they were to get it.
struct Behind<'a, R> {
    parts: Vec<(R, Part<'a>)>,
    connections: HashSet<ConnectionId>,
}

impl<R> Default for Behind<'_, R> {
    fn default() -> Self {
        Behind { parts: Vec::new(), connections: HashSet::new() }
    }
}

impl<'a, R: Recipient> Behind<'a, R> {
    fn contains(&self, to: &R) -> bool {
        !self.connections.is_empty() && self.connections.contains(&to.connection())
    }

    fn push(&mut self, to: &R, part: Part<'a>) {
        self.connections.insert(to.connection());
        self.parts.push((to.clone(), part));
    }
}

/// The batch in each framing that some recipient wants, made when the first one does.
struct Encodings<'a, R> {
    batch: &'a Batch<R>,
    channel: u64,
    memory: &'a Arc<Memory>,
    known: Vec<(Framing, Encoded<Bytes>)>,
}

impl<R: Recipient> Encodings<'_, R> {
    fn send(&mut self, to: &R, part: Part<'_>) -> Reached {
        match part {
            Part::Pieces(pieces) => self.send_pieces(to, pieces),
            Part::Whole(class) => deliver(to, self.channel, self.encoded(to.framing()).whole(class)),
        }
    }

    fn send_pieces(&mut self, to: &R, pieces: &[Piece]) -> Reached {
        let channel = self.channel;
        let encoded = self.encoded(to.framing());
        let runs: Vec<_> = pieces.iter().flat_map(|piece| encoded.piece(piece)).collect();
        let reached = deliver(to, channel, &runs);
        if reached == Reached::Done && pieces.iter().any(|piece| matches!(piece, Piece::FlushMarker(_))) {
            to.receive_flush_marker();
        }
        reached
    }

    fn encoded(&mut self, framing: Framing) -> &Encoded<Bytes> {
        let at = self.known.iter().position(|(known, _)| *known == framing).unwrap_or_else(|| {
            let share = |buffer| counted(self.memory, buffer);
            let encoded = Encoded::new(self.batch, |text, out| framing.encode(text, out), share);
            self.known.push((framing, encoded));
            self.known.len() - 1
        });
        &self.known[at].1
    }
}

fn deliver<R: Recipient>(to: &R, channel: u64, runs: &[Run<Bytes>]) -> Reached {
    if runs.is_empty() { Reached::Done } else { to.deliver(channel, runs) }
}

/// An entry of a [`FlushScope`]: a channel, whatever it delivers to.
pub(crate) trait Flush: Send {
    #[doc(hidden)]
    fn flush(&self);
    #[doc(hidden)]
    fn is(&self, other: *const ()) -> bool;
    /// As [`LiveChannel::poll_room`].
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()>;
}

struct Unsettled<L: Rules>(Arc<LiveChannel<L>>);

impl<L: Rules> Flush for Unsettled<L> {
    fn flush(&self) {
        self.0.flush();
    }

    fn is(&self, other: *const ()) -> bool {
        Arc::as_ptr(&self.0).cast() == other
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_room(cx)
    }
}

thread_local! {
    static FLUSH_SCOPE: RefCell<Option<Changed>> = const { RefCell::new(None) };
}

/// The channels that were changed within a [`FlushScope`].
#[derive(Default)]
struct Changed {
    channels: Vec<Box<dyn Flush>>,
    /// One of them has as much queued as it may have.
    is_crowded: bool,
}

/// While it lives, channels that this thread changes are settled at its end, once each, and not at every change:
/// a connection's task opens one around all that it handles of one read.
pub(crate) struct FlushScope {
    outermost: bool,
}

impl FlushScope {
    pub(crate) fn enter() -> FlushScope {
        FLUSH_SCOPE.with_borrow_mut(|scope| {
            let outermost = scope.is_none();
            scope.get_or_insert_default();
            FlushScope { outermost }
        })
    }

    /// Settles the channels that were changed, and gives them.
    pub(crate) fn finish(self) -> Vec<Box<dyn Flush>> {
        let changed = self.take();
        changed.iter().for_each(|channel| channel.flush());
        changed
    }

    /// Returns whether so much was published within the current scope that whoever does so should pause.
    pub(crate) fn is_crowded() -> bool {
        FLUSH_SCOPE.with_borrow(|scope| scope.as_ref().is_some_and(|changed| changed.is_crowded))
    }

    fn take(&self) -> Vec<Box<dyn Flush>> {
        if self.outermost { FLUSH_SCOPE.take().unwrap_or_default().channels } else { Vec::new() }
    }
}

impl Drop for FlushScope {
    fn drop(&mut self) {
        self.take().iter().for_each(|channel| channel.flush());
    }
}

fn flush_soon<L: Rules>(channel: &Arc<LiveChannel<L>>, is_crowded: bool) {
    let at_once = FLUSH_SCOPE.with_borrow_mut(|scope| match scope {
        Some(changed) => {
            let known = changed.channels.last().is_some_and(|last| last.is(Arc::as_ptr(channel).cast()));
            if !known {
                changed.channels.push(Box::new(Unsettled(Arc::clone(channel))));
            }
            changed.is_crowded |= is_crowded;
            false
        }
        None => true,
    });
    if at_once {
        channel.flush();
    }
}
