//! A channel with a shared history on one node, and the delivery to its connections.

use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::channel::{
    Audience, Batch, BatchMessage, Channel, ChannelLimits, Class, DeliveryPolicy, Encoded, HistoryRules, Piece, Plan,
    Recipients, Ring, Slot,
};
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::position::{Epoch, Position};
use serde_json::Value;

use super::super::redis::Peer;
use super::super::schedule::HistoryPlan;
use super::super::world::World;
use super::connection::{Connection, Frame};
use super::evictions::EVICTION;
use super::ledger::{SECRET, TYPING, is_blocked};
use super::reads::PendingRead;
use super::{Histories, STORE_TIMEOUT};

/// A join that waits until the history is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitingJoin {
    pub(super) connection: usize,
    /// The read that it waits for, because its client is ahead of the node, and the time until which it waits.
    pub(super) read: Option<(u64, u64)>,
}

pub(super) struct OpenHistory {
    /// The instance of the channel on its node.
    pub(super) serial: u64,
    pub(super) channel: Channel<usize>,
    recipients: Recipients<usize>,
    pub(super) opened: u64,
    /// The time of the next read; `None` if none is to be made.
    pub(super) read_at: Option<u64>,
    /// The number of reads that have begun, and the last one of those that have succeeded.
    pub(super) begun: u64,
    pub(super) done: u64,
    pub(super) reads: Vec<PendingRead>,
    pub(super) joins: Vec<WaitingJoin>,
    /// True if its connections are yet to note that it has read the store.
    pub(super) has_read: bool,
}

impl OpenHistory {
    pub(super) fn new(
        (key, serial): (&ChannelKey, u64),
        plan: HistoryPlan,
        epoch: Epoch,
        (opened, read_at): (u64, u64),
    ) -> OpenHistory {
        let HistoryPlan { kept, ttl, .. } = plan;
        let rules = HistoryRules {
            messages: kept,
            bytes: 1 << 20,
            ttl,
            replay_messages: 1000,
            replay_bytes: 1 << 20,
            stamp: None,
            replies_overtake: false,
        };
        let channel = Channel::new(key.channel.clone(), ChannelLimits::default(), || 7).replicated();
        OpenHistory {
            serial,
            channel: channel.with_shared_history(Ring::new(Arc::new(rules), epoch)),
            recipients: Recipients::default(),
            opened,
            read_at: Some(read_at),
            begun: 0,
            done: 0,
            reads: Vec::new(),
            joins: Vec::new(),
            has_read: false,
        }
    }

    /// Plans a read, unless one is planned for an earlier time.
    pub(super) fn plan_read(&mut self, at: u64) {
        self.read_at = Some(self.read_at.map_or(at, |planned| planned.min(at)));
    }

    pub(super) fn position(&self) -> Position {
        self.channel.history().expect("a history").position()
    }

    /// The position of the last message, and whether the history goes on from that of the store.
    pub(super) fn state(&self) -> (Position, bool) {
        (self.position(), self.channel.asks_for_positions() && !self.channel.is_loading())
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = u64> {
        let reads = self.reads.iter().map(|read| read.asked + STORE_TIMEOUT);
        reads.chain(self.read_at).chain(self.joins.iter().filter_map(|join| join.read.map(|(_, until)| until)))
    }

    /// Returns whether nobody needs the channel any more.
    pub(super) fn is_over(&self) -> bool {
        let waits = self.channel.is_loading() || self.channel.awaits_positions() || !self.joins.is_empty();
        let keeps = self.channel.history().is_some_and(Ring::is_needed);
        !waits && !keeps && self.channel.local_members().member_count() == 0
    }

    /// Delivers all that can be delivered.
    fn deliver(&mut self, connections: &mut [Connection], now: u64) -> Result<(), String> {
        while self.channel.has_queued() {
            let batch = self.channel.take();
            match batch.is_filtered() {
                true => self.deliver_filtered(&batch, connections, now)?,
                false => self.deliver_batch(&batch, connections, now),
            }
        }
        if std::mem::take(&mut self.has_read) {
            self.recipients.iter().for_each(|(_, reception)| connections[reception.to].send(now, Frame::Read));
        }
        Ok(())
    }

    fn deliver_batch(&mut self, batch: &Batch<usize>, connections: &mut [Connection], now: u64) {
        let plan = Plan::new(batch, &mut self.recipients);
        // Each message is read once; a recipient gets its number.
        let mut frames = Vec::new();
        let mut frame = |text: &[u8], out: &mut Vec<u8>| {
            out.extend((frames.len() as u32).to_le_bytes());
            frames.push(read(text));
        };
        let mut encoded = Encoded::new(batch, &mut frame, Rc::<[u8]>::from, |_| true);
        encoded.add_replays(batch, &mut frame, Rc::<[u8]>::from);
        let send = |connections: &mut [Connection], to: usize, bytes: &[u8]| {
            for number in bytes.chunks_exact(4) {
                let number = u32::from_le_bytes(number.try_into().expect("four bytes"));
                connections[to].send(now, frames[number as usize].clone());
            }
        };
        for private in &plan.private {
            for piece in &private.pieces {
                if let Piece::Gap(_, gap) = piece {
                    connections[private.to].send(now, Frame::Gap(gap.next));
                    connections[private.to].skip(gap.next);
                }
                encoded.piece(piece).for_each(|run| send(connections, private.to, run.bytes()));
            }
            if let (true, Some(position)) = (private.stays, batch.position()) {
                connections[private.to].reach(now, position);
            }
        }
        if plan.visits(Class::All) {
            for (_, reception) in self.recipients.iter().filter(|(slot, _)| !plan.is_marked(*slot)) {
                encoded.whole(Class::All).iter().for_each(|run| send(connections, reception.to, run.bytes()));
                if let Some(position) = batch.position() {
                    connections[reception.to].reach(now, position);
                }
            }
        }
    }

    /// Delivers messages that an outgoing handler decides about.
    fn deliver_filtered(
        &mut self,
        batch: &Batch<usize>,
        connections: &mut [Connection],
        now: u64,
    ) -> Result<(), String> {
        for BatchMessage { to: audience, text, .. } in batch.messages() {
            let frame = read(text);
            let is_reached = |slot: Slot| match audience {
                Audience::All => true,
                Audience::Only(seats) => seats.as_slice().contains(&slot),
                Audience::Except(seats) => !seats.as_slice().contains(&slot),
                Audience::Tracked | Audience::Outsider(_) => false,
            };
            for (slot, reception) in self.recipients.iter().filter(|(slot, _)| is_reached(*slot)) {
                let Some(listener) = batch.listener(slot) else { continue };
                if listener.connection != Connection::id(reception.to) {
                    return Err(format!("slot {slot:?} has the listener {}", listener.user));
                }
                let connection = &mut connections[reception.to];
                if !is_blocked(connection.client) {
                    connection.send(now, frame.clone());
                }
            }
        }
        if let Some(position) = batch.position() {
            self.recipients.iter().for_each(|(_, reception)| connections[reception.to].reach(now, position));
        }
        Ok(())
    }
}

/// The policy of an event.
pub(super) fn policy(event: &str) -> DeliveryPolicy {
    DeliveryPolicy { filtered: event == SECRET, kept: event != TYPING, ..DeliveryPolicy::BROADCAST }
}

/// The same, of a message of another node or of the store. `is_unfiltered` is whether outgoing handlers are forgotten there.
pub(super) fn policy_of(event: &str, is_unfiltered: bool) -> DeliveryPolicy {
    let policy = policy(event);
    DeliveryPolicy { filtered: policy.filtered && !is_unfiltered, ..policy }
}

/// A message to a client.
fn read(text: &[u8]) -> Frame {
    let message: Value = serde_json::from_slice(text).expect("JSON");
    let position = |text: &Value| text.as_str().and_then(|text| text.parse().ok());
    match message["event"].as_str() {
        Some("ACKNOWLEDGE") => Frame::Acknowledgement(position(&message["payload"]["position"])),
        Some("evicted" | "EVICTED" | EVICTION) => Frame::Notice,
        _ => Frame::Message {
            number: message["payload"]["n"].as_u64().expect("a number") as usize,
            position: position(&message["requestId"]),
        },
    }
}

impl World {
    /// Changes a channel, and delivers what has become of it. `None` if it is not open, or is another instance.
    pub(super) fn change_history<T>(
        &mut self,
        peer: Peer,
        (key, serial): (&ChannelKey, Option<u64>),
        change: impl FnOnce(&mut OpenHistory) -> T,
    ) -> Option<T> {
        let now = self.now;
        let Histories { nodes, connections, .. } = self.histories.as_mut()?;
        let open = nodes.get_mut(&peer)?.open.get_mut(key)?;
        if serial.is_some_and(|serial| serial != open.serial) {
            return None;
        }
        if let Some(ring) = open.channel.history_mut() {
            ring.advance(now);
        }
        let changed = change(open);
        if let Err(what) = open.deliver(connections, now) {
            self.checker.violated("listeners", format!("{peer}: {what}"));
        }
        self.take_outbound(peer, key);
        Some(changed)
    }
}
