//! The task that delivers the queue of a channel. It holds the delivery token, which is the list of recipients, takes a portion
//! of the queue, and makes one write for each recipient. Messages that are queued meanwhile come behind it. Then it waits for
//! recipients that were too far behind for the portion; meanwhile the queue fills up, and publishers are not read.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use pondsocket_proto::channel::{Audience, Batch, BatchMessage, Channel, Class, Plan, Reception, Recipients, Slot};
use tokio::time::Instant;

use super::fan_out::{Behind, Encodings, Part, one_frame, shared_frame};
use super::{Core, FilterDecision, Home, LiveChannel, Reached, Recipient, Rules};
use crate::engine::outbox::RoomWait;
use crate::engine::timer::Alarm;
use crate::limits::memory::counted;
use crate::limits::turns;

/// The number of writes between two yields. Non-blocking writes do not count against the budget of a task, so a large channel
/// would otherwise occupy a thread for all of its writes.
const WRITES_PER_TURN: u32 = 64;

/// The holder of the delivery token, which delivers until the queue is empty. If it is dropped before that, by a panic or the
/// end of the runtime, it returns the token, and another task delivers the rest.
pub(super) struct DeliveryTask<L: Rules> {
    channel: Arc<LiveChannel<L>>,
    /// `None` once the token is returned.
    recipients: Option<Recipients<L::Recipient>>,
    stage: DeliveryStage,
}

/// The progress of a delivery.
#[derive(Clone, Copy, Debug)]
enum DeliveryStage {
    /// Spawned on the runtime of the channel.
    AtHome,
    /// Spawned on the current runtime, because that of the channel has ended.
    Here,
    /// A batch was taken.
    Begun,
}

/// The next step of a delivery.
pub(super) enum DeliveryStep<R> {
    /// Deliver a portion of the queue.
    Batch(Batch<R>),
    /// Wait until this time with the token.
    Wait(Instant),
    /// End: the token is returned.
    Nothing,
}

impl<L: Rules> DeliveryTask<L> {
    pub(super) fn new(channel: Arc<LiveChannel<L>>, recipients: Recipients<L::Recipient>) -> DeliveryTask<L> {
        DeliveryTask { channel, recipients: Some(recipients), stage: DeliveryStage::AtHome }
    }

    /// Spawns it on the runtime of the channel.
    pub(super) fn start(self) {
        match self.channel.home.clone() {
            Some(home) => spawn(&home, self.run()),
            None => self.start_here(),
        }
    }

    /// Spawns it on the current runtime, if there is one.
    fn start_here(mut self) {
        self.stage = DeliveryStage::Here;
        if let Ok(here) = Home::try_current() {
            spawn(&here, self.run());
        }
    }

    /// Delivers until the queue is empty. Yields before each portion, so that other ready publishers append to it, and tasks of
    /// connections that write themselves get their turn.
    async fn run(mut self) {
        tokio::task::yield_now().await;
        loop {
            let batch = match self.next() {
                DeliveryStep::Batch(batch) => batch,
                DeliveryStep::Wait(until) => {
                    self.channel.wait_until(until).await;
                    continue;
                }
                DeliveryStep::Nothing => return,
            };
            self.deliver(batch).await;
            if self.channel.read(Channel::has_queued) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes the next batch or returns the token, in one step under the lock: a change in between would stay in the queue.
    pub(super) fn next(&mut self) -> DeliveryStep<L::Recipient> {
        let mut core = self.channel.core.lock();
        if core.channel.has_queued() {
            if core.channel.paces_presence()
                && let Some(until) = self.channel.list_is_due(&mut core)
            {
                return DeliveryStep::Wait(until);
            }
            let batch = core.channel.take();
            core.delivering = batch.bytes();
            core.report();
            self.stage = DeliveryStage::Begun;
            let waiting = if core.channel.is_crowded() { Vec::new() } else { std::mem::take(&mut core.waiting) };
            drop(core);
            waiting.into_iter().for_each(Waker::wake);
            self.channel.lobby.took(batch.len());
            return DeliveryStep::Batch(batch);
        }
        core.token = self.recipients.take();
        core.delivering = 0;
        core.report();
        if core.is_over() {
            self.channel.close(core);
        }
        DeliveryStep::Nothing
    }

    async fn deliver(&mut self, batch: Batch<L::Recipient>) {
        if batch.is_filtered() {
            return self.deliver_filtered(&batch).await;
        }
        let Some(recipients) = &mut self.recipients else { return };
        let plan = Plan::new(&batch, recipients);
        if plan.visits(Class::All) {
            turns::work_for_members();
        }
        let mut encodings = Encodings::new(&batch, &plan, self.channel.source(), &self.channel.memory);
        let mut behind = Behind::default();
        let mut writes = 0;
        for private in &plan.private {
            let (to, part) = (&private.to, Part::Pieces(&private.pieces, private.stays));
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
        // All recipients with room have their parts. Now the task waits for the others, before it takes the next batch.
        for (to, part) in behind.into_parts() {
            while encodings.send(&to, part) == Reached::Behind {
                self.channel.wait_for(&to).await;
            }
        }
    }

    /// Delivers message by message, recipient by recipient: an outgoing handler decides about each.
    async fn deliver_filtered(&mut self, batch: &Batch<L::Recipient>) {
        let Some(recipients) = &self.recipients else { return };
        let mut writes = 0;
        for BatchMessage { to: audience, text, policy, position } in batch.messages() {
            let mut filter = self.channel.lobby.filter(text);
            let mut passed = Vec::new();
            for (slot, reception) in receptions(recipients, audience) {
                let to = &reception.to;
                // The batch holds the member of each receiving slot, as of now or as of its leave.
                let Some(listener) = batch.listener(slot) else { continue };
                debug_assert_eq!(listener.connection, to.connection());
                let frame = match filter.decide(to, listener) {
                    FilterDecision::Pass => shared_frame(&mut passed, to.framing(), text, &self.channel.memory),
                    FilterDecision::Replace(text) => counted(&self.channel.memory, to.framing().frame(&text)),
                    FilterDecision::Block => continue,
                };
                let run = [one_frame(frame, policy.drop_policy, position)];
                while to.deliver(self.channel.source(), None, &run) == Reached::Behind {
                    self.channel.wait_for(to).await;
                }
                turn(&mut writes).await;
            }
        }
        // Only now: until then not all of the batch was delivered.
        if let Some(position) = batch.position() {
            recipients.iter().for_each(|(_, reception)| reception.to.reach(position));
        }
    }
}

/// The receptions of an audience.
fn receptions<'a, R: Recipient>(
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

impl<L: Rules> Drop for DeliveryTask<L> {
    fn drop(&mut self) {
        let Some(recipients) = self.recipients.take() else { return };
        let mut core = self.channel.core.lock();
        core.token = Some(recipients);
        core.delivering = 0;
        core.report();
        drop(core);
        // Changes that were queued meanwhile have started no delivery of their own.
        match self.stage {
            DeliveryStage::AtHome => self.channel.take_token().into_iter().for_each(DeliveryTask::start_here),
            DeliveryStage::Begun => self.channel.flush(),
            // No runtime is left. The next change tries again.
            DeliveryStage::Here => {}
        }
    }
}

impl<L: Rules> LiveChannel<L> {
    /// Notes that the list of a large channel is sent now. Returns the time at which it may be, if that is later.
    fn list_is_due(&self, core: &mut Core<L::Recipient>) -> Option<Instant> {
        let now = Instant::now();
        let millis = self.timer.get().millis(now);
        // The milliseconds wrap after 49 days. A list may then be late by one interval.
        let rest = self.presence_interval.saturating_sub(millis.wrapping_sub(core.listed_at));
        if rest > 0 {
            return Some(now + Duration::from_millis(rest.into()));
        }
        core.listed_at = millis;
        None
    }

    async fn wait_until(&self, until: Instant) {
        let mut alarm = Alarm::default();
        poll_fn(|cx| {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            alarm.set(self.timer.get(), until, cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Waits until a recipient that is behind has room, or until the wait times out.
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

fn spawn(home: &Home, delivery: impl Future<Output = ()> + Send + 'static) {
    // The handle is not needed: the task ends by itself, and its drop guard returns the token.
    let _handle = home.spawn(delivery);
}

async fn turn(writes: &mut u32) {
    *writes += 1;
    if writes.is_multiple_of(WRITES_PER_TURN) {
        tokio::task::yield_now().await;
    }
}
