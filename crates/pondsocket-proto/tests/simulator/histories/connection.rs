//! A connection of a client: what is on its way, and what the server knows of it.

use std::collections::{BTreeMap, VecDeque};

use pondsocket_proto::channel::{Progress, Proof, Recovery, Slot};
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::id::ConnectionId;
use pondsocket_proto::position::{Epoch, Position};

use super::super::redis::Peer;

/// The time between two pings, in milliseconds.
const PROOF_INTERVAL: u64 = 1000;

/// One message of the server to a client.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// The acknowledgement of the join, with the position that a client is told that has asked for it.
    Acknowledgement(Option<Position>),
    Message {
        number: usize,
        position: Option<Position>,
    },
    /// Messages are missing. The history goes on behind this position.
    Gap(Position),
    Ping(u32),
    /// Of an eviction.
    Notice,
    /// Not sent: a mark behind what the node has read from the store.
    Read,
}

/// The result of a join, as the join handler learns it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) slot: Slot,
    pub(super) recovery: Recovery,
    /// The position behind which the connection gets everything.
    pub(super) owed_from: Option<Position>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: usize,
    pub(super) peer: Peer,
    pub(super) key: ChannelKey,
    pub(super) joined: Option<Joined>,
    /// The node has ended it, or has gone.
    pub(super) is_ended: bool,
    /// Its user was evicted.
    pub(super) is_evicted: bool,
    /// The time at which the client has lost it.
    pub(super) cut: Option<u64>,
    /// The time that a frame takes.
    delay: u64,
    /// The frames on their way, each with the time of its arrival.
    flight: VecDeque<(u64, Frame)>,
    /// For a client that does not know its position: what it has received for certain.
    pub(super) proof: Option<Box<Proof>>,
    /// The history that is watched for the proof.
    watched: Option<Epoch>,
    /// The answers to pings on their way.
    pongs: VecDeque<(u64, u32)>,
    /// The last position that has come over this connection.
    pub(super) last: Option<Position>,
    /// The number of messages that have come again.
    pub(super) repeats: usize,
    /// The time at which the join was acknowledged.
    pub(super) acknowledged: Option<u64>,
    /// By the node that has sent it, the last message that has come.
    pub(super) newest: BTreeMap<Peer, usize>,
}

impl Connection {
    pub(super) fn new(client: usize, peer: Peer, key: ChannelKey, delay: u64, is_proven: bool) -> Connection {
        Connection {
            client,
            peer,
            key,
            joined: None,
            is_ended: false,
            is_evicted: false,
            cut: None,
            delay,
            flight: VecDeque::new(),
            proof: is_proven.then(Box::default),
            watched: None,
            pongs: VecDeque::new(),
            last: None,
            repeats: 0,
            acknowledged: None,
            newest: BTreeMap::new(),
        }
    }

    pub(super) fn id(number: usize) -> ConnectionId {
        ConnectionId::from_u128(number as u128)
    }

    pub(super) fn is_served_by(&self, peer: Peer) -> bool {
        !self.is_ended && self.peer == peer
    }

    /// The client is owed what comes behind a position, and earlier connections were sent messages up to an offset.
    pub(super) fn watch(&mut self, from: Position, sent_before: u64) {
        if let Some(proof) = &mut self.proof {
            proof.watch(from, sent_before);
            self.watched = Some(from.epoch);
        }
    }

    /// The client is told of a gap, and is owed what comes behind it.
    pub(super) fn skip(&mut self, next: Position) {
        if let Some(proof) = &mut self.proof {
            proof.skip(self.watched.replace(next.epoch), next);
        }
    }

    pub(super) fn send(&mut self, now: u64, frame: Frame) {
        if self.cut.is_none() && !self.is_ended {
            self.flight.push_back((now + self.delay, frame));
        }
    }

    /// Everything up to a position was sent.
    pub(super) fn reach(&mut self, now: u64, position: Position) {
        self.take_pongs(now);
        let ping = self.proof.as_mut().and_then(|proof| {
            let due = proof.due_ping(position, now, PROOF_INTERVAL);
            proof.sent(position);
            due.map(|_| proof.force_ping(now))
        });
        if let Some(number) = ping {
            self.send(now, Frame::Ping(number));
        }
    }

    /// The time at which a frame was sent that has arrived at this time.
    pub(super) fn sent_at(&self, arrived: u64) -> u64 {
        arrived - self.delay
    }

    /// Takes the next frame that the client has received by now.
    pub(super) fn receive(&mut self, now: u64) -> Option<(u64, Frame)> {
        let until = self.cut.unwrap_or(u64::MAX).min(now);
        let (at, frame) = take_first(&mut self.flight, until)?;
        if let Frame::Ping(number) = frame {
            self.pongs.push_back((at + self.delay, number));
        }
        Some((at, frame))
    }

    fn take_pongs(&mut self, now: u64) {
        let until = self.cut.unwrap_or(u64::MAX).min(now);
        while let Some((_, number)) = take_first(&mut self.pongs, until) {
            self.proof.iter_mut().for_each(|proof| proof.pong(number));
        }
    }

    /// The progress of the client, as the server knows it, in a history.
    pub(super) fn progress_in(&mut self, epoch: Epoch, now: u64) -> Option<Progress> {
        self.take_pongs(now);
        self.proof.as_ref()?.progress(epoch)
    }

    /// The same in the history that is watched.
    pub(super) fn progress(&mut self, now: u64) -> Option<Progress> {
        self.progress_in(self.watched?, now)
    }
}

/// Takes the first of these that has arrived by a time.
fn take_first<T>(on_their_way: &mut VecDeque<(u64, T)>, until: u64) -> Option<(u64, T)> {
    if on_their_way.front()?.0 <= until { on_their_way.pop_front() } else { None }
}
