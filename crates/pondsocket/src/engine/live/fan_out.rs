//! The writes of one batch: the part that each recipient gets, encoded once for each framing, and the parts of recipients
//! that are behind.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use pondsocket_proto::channel::{Batch, Class, DropPolicy, Encoded, Piece, Plan, Run};
use pondsocket_proto::id::ConnectionId;
use pondsocket_proto::position::Position;

use super::interfaces::{Reached, Recipient};
use crate::engine::framing::Framing;
use crate::engine::outbox::Source;
use crate::limits::memory::{Memory, counted};

/// The part of a batch that one recipient gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// Pieces, and `true` if they are all of the batch for the recipient.
    Pieces(&'a [Piece], bool),
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

/// The batch in each framing in use, encoded for the first recipient with that framing. Messages that no recipient of the
/// framing gets are left out, because compression costs far more than all other work here.
pub(super) struct Encodings<'a, R> {
    batch: &'a Batch<R>,
    plan: &'a Plan<R>,
    source: Source<'a>,
    memory: &'a Arc<Memory>,
    known: Vec<(Framing, Encoded<Bytes>)>,
}

impl<'a, R: Recipient> Encodings<'a, R> {
    pub(super) fn new(batch: &'a Batch<R>, plan: &'a Plan<R>, source: Source<'a>, memory: &'a Arc<Memory>) -> Self {
        // Nearly always one framing is in use.
        Encodings { batch, plan, source, memory, known: Vec::with_capacity(1) }
    }

    pub(super) fn send(&mut self, to: &R, part: Part<'_>) -> Reached {
        match part {
            Part::Pieces(pieces, all) => self.send_pieces(to, pieces, all),
            Part::Whole(class) => {
                let (source, position) = (self.source, self.batch.position());
                deliver(to, (source, position), self.encoded(to.framing(), class, false).whole(class))
            }
        }
    }

    fn send_pieces(&mut self, to: &R, pieces: &[Piece], all: bool) -> Reached {
        if let [Piece::Gap(_, gap)] = pieces {
            to.lose(self.source, *gap);
            return Reached::Done;
        }
        let (source, position) = (self.source, self.batch.position().filter(|_| all));
        let is_tracked = pieces.iter().any(|piece| matches!(piece, Piece::Shared(Class::Tracked, _)));
        let replays = pieces.iter().any(|piece| matches!(piece, Piece::Replay(..)));
        let encoded = self.encoded(to.framing(), if is_tracked { Class::Tracked } else { Class::All }, replays);
        let runs: Vec<_> = pieces.iter().flat_map(|piece| encoded.piece(piece)).collect();
        let reached = deliver(to, (source, position), &runs);
        // A recipient that is behind has not got its part yet. Its marker follows with the part.
        if reached == Reached::Done && pieces.iter().any(|piece| matches!(piece, Piece::FlushMarker(_))) {
            to.receive_flush_marker();
        }
        reached
    }

    /// The batch in a framing, for recipients of a class, with the messages that it replays if they are needed.
    fn encoded(&mut self, framing: Framing, class: Class, replays: bool) -> &Encoded<Bytes> {
        let share = |buffer| counted(self.memory, buffer);
        let frame = |text: &[u8], out: &mut Vec<u8>| framing.encode(text, out);
        let at = self.known.iter().position(|(known, _)| *known == framing).unwrap_or_else(|| {
            let private = self.private(framing);
            let encoded = Encoded::new(self.batch, frame, share, |op| private.binary_search(&op).is_ok());
            self.known.push((framing, encoded));
            self.known.len() - 1
        });
        let encoded = &mut self.known[at].1;
        if class == Class::Tracked {
            encoded.add_presence(self.batch, frame, share);
        }
        if replays {
            encoded.add_replays(self.batch, frame, share);
        }
        encoded
    }

    /// The messages that are not for a whole class, and that recipients of this framing get; sorted.
    fn private(&self, framing: Framing) -> Vec<u32> {
        let recipients = self.plan.private.iter().filter(|private| private.to.framing() == framing);
        let private = |piece: &Piece| match piece {
            Piece::Private(op) => Some(*op),
            Piece::Shared(..) | Piece::Replay(..) | Piece::FlushMarker(_) | Piece::Gap(..) => None,
        };
        let mut ops: Vec<_> = recipients.flat_map(|of| of.pieces.iter().filter_map(private)).collect();
        ops.sort_unstable();
        ops
    }
}

fn deliver<R: Recipient>(to: &R, (source, position): (Source<'_>, Option<Position>), runs: &[Run<Bytes>]) -> Reached {
    if runs.is_empty() { Reached::Done } else { to.deliver(source, position, runs) }
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

pub(super) fn one_frame(buffer: Bytes, drop_policy: DropPolicy, kept: Option<Position>) -> Run<Bytes> {
    Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy, kept }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::sync::{LazyLock, Mutex};
    use std::task::Waker;

    use pondsocket_proto::channel::{
        Channel, ChannelLimits, DeliveryPolicy, HistoryGap, Join, LocalTarget, Recipients, Slot,
    };
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

        fn deliver(&self, _: Source<'_>, _: Option<Position>, runs: &[Run<Bytes>]) -> Reached {
            self.kept.lock().expect("no panic").extend(runs.iter().map(|run| run.buffer.clone()));
            Reached::Done
        }

        fn wait(&self, _: &Waker, _: Instant) -> RoomWait {
            RoomWait::Room
        }

        fn lose(&self, _: Source<'_>, _: HistoryGap) {}

        fn reach(&self, _: Position) {}

        fn send(&self, _: &[u8]) -> impl FnOnce() {
            || {}
        }

        fn expect_flush_marker(&self) {}
        fn receive_flush_marker(&self) {}
    }

    static NAME: LazyLock<ChannelName> = LazyLock::new(|| ChannelName::new("/c", 8).expect("valid"));

    fn source() -> Source<'static> {
        Source { name: &NAME, serial: 1 }
    }

    fn joined(members: &[&Keeper]) -> (Channel<Keeper>, Recipients<Keeper>, Vec<Slot>) {
        let mut channel = Channel::new(NAME.clone(), ChannelLimits::default(), || 7);
        let (mut recipients, mut slots) = (Recipients::default(), Vec::new());
        for member in members {
            let (id, user) = (member.connection(), UserId::from(member.connection()));
            let policy = |_: &str| DeliveryPolicy::BROADCAST;
            channel.join(Join::new((*member).clone(), id, &user, "q"), &policy);
            slots.push(channel.local_members().member(user.as_str()).expect("joined").seats.as_slice()[0]);
        }
        drop(Plan::new(&channel.take(), &mut recipients));
        (channel, recipients, slots)
    }

    #[test]
    fn recipients_of_one_framing_share_one_buffer() {
        let deflate = |window_bits| Framing::Deflate { window_bits };
        let framings =
            [Framing::Plain, Framing::Plain, Framing::Events { ids: false }, deflate(15), deflate(15), deflate(10)];
        let keepers: Vec<_> = framings.into_iter().zip(1..).map(|(framing, number)| keeper(number, framing)).collect();
        let (mut channel, mut recipients, _) = joined(&keepers.iter().collect::<Vec<_>>());
        channel.broadcast(&LocalTarget::All, "news ".repeat(100).as_bytes(), DeliveryPolicy::BROADCAST).expect("room");
        let (batch, memory) = (channel.take(), Arc::default());
        let plan = Plan::new(&batch, &mut recipients);
        let mut encodings = Encodings::new(&batch, &plan, source(), &memory);
        for to in &keepers {
            assert_eq!(encodings.send(to, Part::Whole(Class::All)), Reached::Done);
        }
        let kept: Vec<_> = keepers.iter().map(|to| to.kept.lock().expect("no panic").clone()).collect();
        assert!(kept.iter().all(|buffers| buffers.len() == 1));
        let is_shared = |one: usize, other: usize| kept[one][0].as_ptr() == kept[other][0].as_ptr();
        assert!(is_shared(0, 1) && is_shared(3, 4));
        assert!(!is_shared(0, 2) && !is_shared(0, 3) && !is_shared(3, 5));
        assert!(kept[3][0].len() < 100 && kept[5][0].len() < 100 && kept[0][0].len() > 500);
    }

    #[test]
    fn what_only_recipients_of_another_framing_get_is_not_encoded() {
        let (plain, small) = (keeper(1, Framing::Plain), keeper(2, Framing::Deflate { window_bits: 15 }));
        let (mut channel, mut recipients, slots) = joined(&[&plain, &small]);
        let text = "for one alone ".repeat(100);
        let policy = DeliveryPolicy::BROADCAST;
        channel.reply(slots[0], plain.connection(), text.as_bytes(), policy).expect("a member");
        channel.reply(slots[1], small.connection(), b"short", policy).expect("a member");
        channel.broadcast(&LocalTarget::All, b"news", policy).expect("room");
        let (batch, memory) = (channel.take(), Arc::default());
        let plan = Plan::new(&batch, &mut recipients);
        let mut encodings = Encodings::new(&batch, &plan, source(), &memory);
        for private in &plan.private {
            assert_eq!(encodings.send(&private.to, Part::Pieces(&private.pieces, private.stays)), Reached::Done);
        }
        let texts = |to: &Keeper| {
            let kept = to.kept.lock().expect("no panic");
            // Each buffer has the frames of all recipients of the framing; the header of a short one has two bytes.
            kept.iter().map(Bytes::len).collect::<Vec<_>>()
        };
        assert_eq!(texts(&plain), [4 + text.len(), 2 + "news".len()]);
        assert_eq!(texts(&small), [2 + "short".len(), 2 + "news".len()], "the long reply is not in its buffer");
    }

    #[test]
    fn a_filtered_message_that_passes_is_framed_once_for_each_framing() {
        let (memory, mut known) = (Arc::default(), Vec::new());
        let mut frame = |framing| shared_frame(&mut known, framing, b"news", &memory);
        let (first, second, event) =
            (frame(Framing::Plain), frame(Framing::Plain), frame(Framing::Events { ids: false }));
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
