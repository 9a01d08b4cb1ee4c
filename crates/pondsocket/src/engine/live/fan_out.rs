//! The writes of one batch: the part that each recipient gets, encoded once for each framing, and the parts of recipients
//! that are behind.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use pondsocket_proto::channel::{Batch, Class, DropPolicy, Encoded, Piece, Run};
use pondsocket_proto::id::ConnectionId;

use super::interfaces::{Reached, Recipient};
use crate::engine::framing::Framing;
use crate::limits::memory::{Memory, counted};

/// The part of a batch that one recipient gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Pieces(&'a [Piece]),
    Whole(Class),
}

/// Recipients that were too far behind for their part of a batch, in the order in which they were to get it.
pub(super) struct Behind<'a, R> {
    parts: Vec<(R, Part<'a>)>,
    connections: HashSet<ConnectionId>,
}

impl<R> Default for Behind<'_, R> {
    fn default() -> Self {
        Behind { parts: Vec::new(), connections: HashSet::new() }
    }
}

impl<'a, R: Recipient> Behind<'a, R> {
    pub(super) fn contains(&self, to: &R) -> bool {
        !self.connections.is_empty() && self.connections.contains(&to.connection())
    }

    pub(super) fn push(&mut self, to: &R, part: Part<'a>) {
        self.connections.insert(to.connection());
        self.parts.push((to.clone(), part));
    }

    pub(super) fn into_parts(self) -> Vec<(R, Part<'a>)> {
        self.parts
    }
}

/// The batch in each framing that some recipient wants, made when the first one does.
pub(super) struct Encodings<'a, R> {
    batch: &'a Batch<R>,
    channel: u64,
    memory: &'a Arc<Memory>,
    known: Vec<(Framing, Encoded<Bytes>)>,
}

impl<'a, R: Recipient> Encodings<'a, R> {
    /// `channel` is the serial of the channel, by which outboxes tell whose presence is outdated.
    pub(super) fn new(batch: &'a Batch<R>, channel: u64, memory: &'a Arc<Memory>) -> Self {
        Encodings { batch, channel, memory, known: Vec::new() }
    }

    pub(super) fn send(&mut self, to: &R, part: Part<'_>) -> Reached {
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

/// The frame of a message that several recipients get as it is, made once for each framing.
pub(super) fn shared_frame(
    known: &mut Vec<(Framing, Bytes)>,
    framing: Framing,
    text: &[u8],
    memory: &Arc<Memory>,
) -> Bytes {
    if let Some((_, frame)) = known.iter().find(|(of, _)| *of == framing) {
        return frame.clone();
    }
    let frame = counted(memory, framing.frame(text));
    known.push((framing, frame.clone()));
    frame
}

pub(super) fn one_frame(buffer: Bytes, drop_policy: DropPolicy) -> Run<Bytes> {
    Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy }
}
