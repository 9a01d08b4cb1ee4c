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
    /// `channel` is the serial of the channel, by which outboxes know whose presence is outdated.
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

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::sync::Mutex;
    use std::task::Waker;

    use pondsocket_proto::channel::{Assigns, Channel, ChannelLimits, DeliveryPolicy, Target};
    use pondsocket_proto::id::{ChannelName, UserId};
    use tokio::time::Instant;

    use super::*;
    use crate::engine::outbox::RoomWait;

    /// A recipient that keeps the buffers that it gets.
    #[derive(Clone)]
    struct Keeper {
        number: u128,
        framing: Framing,
        kept: Arc<Mutex<Vec<Bytes>>>,
    }

    fn keeper(number: u128, framing: Framing) -> Keeper {
        Keeper { number, framing, kept: Arc::default() }
    }

    impl Recipient for Keeper {
        fn framing(&self) -> Framing {
            self.framing
        }

        fn connection(&self) -> ConnectionId {
            ConnectionId::from_u128(self.number)
        }

        fn deliver(&self, _: u64, runs: &[Run<Bytes>]) -> Reached {
            self.kept.lock().expect("no panic").extend(runs.iter().map(|run| run.buffer.clone()));
            Reached::Done
        }

        fn wait(&self, _: &Waker, _: Instant) -> RoomWait {
            RoomWait::Room
        }

        fn send(&self, _: &[u8]) -> impl FnOnce() {
            || {}
        }

        fn expect_flush_marker(&self) {}
        fn receive_flush_marker(&self) {}
    }

    #[test]
    fn recipients_of_one_framing_share_one_buffer() {
        let name = ChannelName::new("/c", 8).expect("valid");
        let mut channel = Channel::new(name, ChannelLimits::default(), || 7);
        let (user, policy) = (UserId::new("ada").expect("valid"), DeliveryPolicy::BROADCAST);
        let [first, second, stream] =
            [keeper(1, Framing::Plain), keeper(2, Framing::Plain), keeper(3, Framing::Events)];
        channel.join(first.clone(), first.connection(), &user, Assigns::default(), "q", Vec::new(), &|_| policy);
        channel.broadcast(&Target::All, b"news", policy).expect("room");
        let (batch, memory) = (channel.take(), Arc::default());
        let mut encodings = Encodings::new(&batch, 1, &memory);
        for to in [&first, &second, &stream] {
            assert_eq!(encodings.send(to, Part::Whole(Class::All)), Reached::Done);
        }
        let [first, second, stream] = [first, second, stream].map(|to| to.kept.lock().expect("no panic").clone());
        assert_eq!([first.len(), second.len(), stream.len()], [1, 1, 1]);
        assert_eq!(first[0].as_ptr(), second[0].as_ptr());
        assert_ne!(first[0], stream[0]);
    }

    #[test]
    fn a_filtered_message_that_passes_is_framed_once_for_each_framing() {
        let (memory, mut known) = (Arc::default(), Vec::new());
        let mut frame = |framing| shared_frame(&mut known, framing, b"news", &memory);
        let (first, second, event) = (frame(Framing::Plain), frame(Framing::Plain), frame(Framing::Events));
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_ne!(first, event);
    }

    #[test]
    fn parts_of_recipients_that_are_behind_keep_their_order() {
        let [first, second, third] = [1, 2, 3].map(|number| keeper(number, Framing::Plain));
        let mut behind = Behind::default();
        assert!(!behind.contains(&first));
        for to in [&second, &first, &second] {
            behind.push(to, Part::Whole(Class::All));
        }
        assert!(behind.contains(&first) && behind.contains(&second) && !behind.contains(&third));
        let numbers: Vec<_> = behind.into_parts().iter().map(|(to, _)| to.number).collect();
        assert_eq!(numbers, [2, 1, 2]);
    }
}
