use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::position::{Epoch, Position};

/// The most pings without an answer.
const OUTSTANDING: usize = 4;

/// The messages that one connection was sent, and those of them that it has received for certain.
///
/// A client answers pings in the order of its input, after everything that was sent before (RFC 6455 section 5.5.3), so the
/// answer to a ping proves that all messages ahead of the ping have arrived. Positions are those of histories, by epoch.
#[derive(Debug, Default)]
pub struct Proof {
    /// The first one is inline, because each delivery looks at it.
    channels: SmallVec<[Watched; 1]>,
    /// The pings without an answer, each with the positions that it proves.
    pings: VecDeque<(u32, Vec<Position>)>,
    /// The number of the last ping.
    last: u32,
    /// The number of the last ping that was answered.
    answered: u32,
    /// The time of the last ping, in milliseconds.
    pinged_at: Option<u64>,
    /// Nothing that is sent from now on counts.
    is_stopped: bool,
    has_lost: bool,
}

/// A history in which messages are owed to the client.
#[derive(Debug)]
struct Watched {
    /// The progress of this connection.
    progress: Progress,
    /// The offset up to which an earlier connection of the client was sent messages. This one may not have got there yet.
    sent_before: u64,
    /// The progress ahead of a gap, until the notice of the gap has arrived for certain. Boxed, because gaps are rare.
    ahead_of_gap: Option<Box<Progress>>,
}

/// The progress of a connection in one history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The history.
    pub epoch: Epoch,
    /// The offset up to which everything was received for certain.
    pub proven: u64,
    /// The offset up to which everything was sent.
    pub sent: u64,
}

impl Proof {
    /// Begins with a history: the client is owed what comes behind the offset of this position. An earlier connection of it
    /// was sent messages up to `sent_before`, which it may have received; `u64::MAX` if that is not known.
    pub fn watch(&mut self, from: Position, sent_before: u64) {
        self.forget(from.epoch);
        let Position { epoch, offset } = from;
        let progress = Progress { epoch, proven: offset, sent: offset };
        self.channels.push(Watched { progress, sent_before, ahead_of_gap: None });
    }

    /// Goes on behind a gap, of which the client is told now: it is owed what comes behind `next`, and nothing more of the
    /// history `watched`. The notice may be lost as any message may. Until it has arrived for certain the progress stays that
    /// ahead of the gap, so that the next join of the client meets the gap again.
    pub fn skip(&mut self, watched: Option<Epoch>, next: Position) {
        let ahead_of_gap = watched.and_then(|watched| self.progress(watched)).map(Box::new);
        let sent_before = self.watched_mut(next.epoch).map_or(0, |same| same.sent_before);
        watched.into_iter().for_each(|watched| self.forget(watched));
        self.watch(next, sent_before);
        if let Some(last) = self.channels.last_mut() {
            last.ahead_of_gap = ahead_of_gap;
        }
    }

    /// Ends with a history. Answers to earlier pings prove nothing of it any more.
    pub fn forget(&mut self, epoch: Epoch) {
        self.channels.retain(|watched| watched.progress.epoch != epoch);
        self.forget_pings(epoch);
    }

    fn forget_pings(&mut self, epoch: Epoch) {
        for (_, positions) in &mut self.pings {
            positions.retain(|position| position.epoch != epoch);
        }
    }

    /// Nothing is sent any more, or at least is not to be proven: the connection leaves its channels.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Everything up to a position was sent. Histories that are not watched are ignored.
    pub fn sent(&mut self, position: Position) {
        if !self.is_stopped
            && let Some(Watched { progress, .. }) = self.watched_mut(position.epoch)
        {
            progress.sent = progress.sent.max(position.offset);
        }
    }

    /// A message was sent behind [`stop`](Self::stop): it stood ahead of the leave, and had to wait for its position.
    pub fn sent_late(&mut self, position: Position) {
        if self.is_stopped
            && !self.has_lost
            && let Some(Watched { progress, .. }) = self.watched_mut(position.epoch)
        {
            progress.sent = progress.sent.max(position.offset);
        }
    }

    /// Messages were dropped that are not sent later, and the client is not told: from now on nothing is proven.
    pub fn lose(&mut self) {
        self.has_lost = true;
        self.is_stopped = true;
        self.pings.iter_mut().for_each(|(_, positions)| positions.clear());
    }

    /// Returns `true` if messages were dropped.
    pub fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// Returns `true` if this connection has got as far in a history as the earlier ones: a client that has received all that it
    /// was sent here lacks nothing of what it was sent before.
    pub fn covers_earlier(&self, epoch: Epoch) -> bool {
        let watched = self.channels.iter().find(|watched| watched.progress.epoch == epoch);
        watched.is_some_and(|watched| watched.sent_before <= watched.progress.sent)
    }

    /// The number of the next ping, if one is due behind the messages up to a position, which are about to be sent. The caller sends
    /// it with them, notes that they [were sent](Self::sent), and then the [ping](Self::force_ping). `None` if it would prove nothing,
    /// or too many are not answered, or the last one is younger than `interval` milliseconds.
    pub fn due_ping(&self, behind: Position, now: u64, interval: u64) -> Option<u32> {
        let is_early = self.pinged_at.is_some_and(|at| now < at.saturating_add(interval));
        if is_early || self.has_lost || self.pings.len() >= OUTSTANDING {
            return None;
        }
        let is_unproven = |Watched { progress, ahead_of_gap, .. }: &Watched| {
            let sends = !self.is_stopped && progress.epoch == behind.epoch && progress.proven < behind.offset;
            sends || progress.proven < progress.sent || ahead_of_gap.is_some()
        };
        self.channels.iter().any(is_unproven).then(|| self.last.wrapping_add(1))
    }

    /// The number of a ping that is sent in any case.
    pub fn force_ping(&mut self, now: u64) -> u32 {
        if self.pings.len() >= OUTSTANDING {
            self.pings.pop_front();
        }
        self.last = self.last.wrapping_add(1);
        self.pinged_at = Some(now);
        let provable = self.channels.iter().map(|watched| watched.progress).filter(|_| !self.has_lost);
        let positions = provable.map(|progress| Position { epoch: progress.epoch, offset: progress.sent });
        self.pings.push_back((self.last, positions.collect()));
        self.last
    }

    /// A ping was answered. An answer to a later one stands for all earlier ones (RFC 6455 section 5.5.3); an answer to a
    /// ping that was not sent, or is answered, is ignored.
    pub fn pong(&mut self, number: u32) {
        let Some(at) = self.pings.iter().position(|(ping, _)| *ping == number) else { return };
        let proven: Vec<_> = self.pings.drain(..=at).flat_map(|(_, positions)| positions).collect();
        for Position { epoch, offset } in proven {
            if let Some(Watched { progress, ahead_of_gap, .. }) = self.watched_mut(epoch) {
                progress.proven = progress.proven.max(offset);
                *ahead_of_gap = None;
            }
        }
        self.answered = number;
    }

    /// Returns `true` if this ping, or a later one, was answered.
    pub fn has_answered(&self, number: u32) -> bool {
        // Numbers begin again after 2^32 pings: the later one of two is less than half of that ahead.
        self.answered.wrapping_sub(number) < u32::MAX / 2
    }

    /// The progress of the client in a history, with what earlier connections were sent; that in the one before, as long as the
    /// client may not know that this one has begun.
    pub fn progress(&self, epoch: Epoch) -> Option<Progress> {
        let watched = self.channels.iter().find(|watched| watched.progress.epoch == epoch)?;
        let own = Progress { sent: watched.progress.sent.max(watched.sent_before), ..watched.progress };
        Some(watched.ahead_of_gap.as_deref().copied().unwrap_or(own))
    }

    fn watched_mut(&mut self, epoch: Epoch) -> Option<&mut Watched> {
        self.channels.iter_mut().find(|watched| watched.progress.epoch == epoch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch = Epoch::new(1);

    fn at(offset: u64) -> Position {
        Position { epoch: EPOCH, offset }
    }

    /// Sends messages up to an offset, with a ping if one is due.
    fn ping(proof: &mut Proof, offset: u64, now: u64) -> Option<u32> {
        let due = proof.due_ping(at(offset), now, 1000);
        proof.sent(at(offset));
        due.inspect(|number| assert_eq!(proof.force_ping(now), *number))
    }

    fn proven(proof: &Proof) -> u64 {
        proof.progress(EPOCH).expect("watched").proven
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send,
        Ping,
        /// The client reads so much of what it was sent.
        Read(usize),
        /// The answers that the client has made arrive, but for some.
        Answer {
            lost: bool,
        },
    }

    proptest! {
        /// Whatever pings are lost, late or answered together, nothing is proven that the client has not read.
        #[test]
        fn nothing_is_proven_that_was_not_received(steps in prop::collection::vec(prop_oneof![
            4 => Just(Step::Send),
            2 => Just(Step::Ping),
            3 => (1..6usize).prop_map(Step::Read),
            2 => any::<bool>().prop_map(|lost| Step::Answer { lost }),
        ], 0..100)) {
            let mut proof = Proof::default();
            proof.watch(at(0), 0);
            // What is on its way: messages by their offset, pings by their number.
            let (mut wire, mut read, mut answers) = (VecDeque::new(), 0, VecDeque::new());
            let (mut offset, mut now) = (0, 0);
            for step in steps {
                now += 1;
                match step {
                    Step::Send => {
                        offset += 1;
                        proof.sent(at(offset));
                        wire.push_back(Ok(offset));
                    }
                    Step::Ping => wire.extend(ping(&mut proof, offset, 1000 * now).map(Err)),
                    Step::Read(most) => {
                        for _ in 0..most {
                            match wire.pop_front() {
                                Some(Ok(message)) => read = message,
                                Some(Err(ping)) => answers.push_back(ping),
                                None => {}
                            }
                        }
                    }
                    Step::Answer { lost } => {
                        if let Some(answer) = answers.pop_front().filter(|_| !lost) {
                            proof.pong(answer);
                        }
                    }
                }
                prop_assert!(proven(&proof) <= read, "{} > {read}", proven(&proof));
            }
        }
    }

    #[test]
    fn what_an_earlier_connection_was_sent_is_not_proven_by_this_one() {
        let mut proof = Proof::default();
        proof.watch(at(5), 8);
        assert_eq!(proof.progress(EPOCH), Some(Progress { epoch: EPOCH, proven: 5, sent: 8 }));
        let number = ping(&mut proof, 6, 0).expect("one is due");
        proof.pong(number);
        assert_eq!(proof.progress(EPOCH), Some(Progress { epoch: EPOCH, proven: 6, sent: 8 }));
        assert!(!proof.covers_earlier(EPOCH));
        proof.sent(at(9));
        assert_eq!(proof.progress(EPOCH), Some(Progress { epoch: EPOCH, proven: 6, sent: 9 }));
        assert!(proof.covers_earlier(EPOCH));
    }

    #[test]
    fn a_pong_proves_what_was_sent_ahead_of_its_ping_and_of_earlier_ones() {
        let mut proof = Proof::default();
        proof.watch(at(5), 0);
        assert_eq!(ping(&mut proof, 5, 0), None, "nothing is unproven");
        let first = ping(&mut proof, 7, 0).expect("something is unproven");
        assert_eq!(ping(&mut proof, 8, 999), None, "too early");
        let second = ping(&mut proof, 8, 1000).expect("due");
        proof.sent(at(9));
        proof.pong(second + 1);
        assert_eq!(proven(&proof), 5, "never sent");
        proof.pong(second);
        proof.pong(first);
        assert_eq!((proven(&proof), proof.has_answered(second)), (8, true));
        proof.sent_late(at(11));
        proof.stop();
        proof.sent(at(10));
        let last = proof.force_ping(2000);
        proof.pong(last);
        assert_eq!(proven(&proof), 9);
        proof.sent_late(at(10));
        assert_eq!(proof.progress(at(0).epoch).map(|progress| progress.sent), Some(10));
    }

    #[test]
    fn nothing_behind_a_dropped_message_is_proven() {
        let mut proof = Proof::default();
        proof.watch(at(0), 0);
        proof.sent(at(1));
        let number = proof.force_ping(0);
        proof.lose();
        proof.sent(at(3));
        proof.pong(number);
        assert_eq!((proven(&proof), ping(&mut proof, 4, 5000)), (0, None));
    }

    #[test]
    fn a_client_is_behind_a_gap_once_the_notice_has_arrived_for_certain() {
        let next = Position { epoch: Epoch::new(2), offset: 0 };
        let mut proof = Proof::default();
        proof.watch(at(4), 0);
        let early = ping(&mut proof, 6, 0).expect("something is unproven");
        proof.skip(Some(EPOCH), next);
        let ahead = Some(Progress { epoch: EPOCH, proven: 4, sent: 6 });
        assert_eq!((proof.progress(EPOCH), proof.progress(next.epoch)), (None, ahead));
        proof.pong(early);
        assert_eq!(proof.progress(next.epoch), ahead, "the ping was ahead of the notice");
        // Another gap, of which nothing is certain either.
        proof.skip(Some(next.epoch), Position { offset: 7, ..next });
        let late = ping(&mut proof, 6, 1000).expect("the notice is unproven");
        assert_eq!(proof.progress(next.epoch), ahead);
        proof.pong(late);
        assert_eq!(proof.progress(next.epoch), Some(Progress { epoch: next.epoch, proven: 7, sent: 7 }));
        assert_eq!(ping(&mut proof, 6, 2000), None, "nothing is unproven");
    }

    #[test]
    fn an_answer_to_a_later_ping_counts_for_the_earlier_ones() {
        let mut proof = Proof::default();
        let (first, second) = (proof.force_ping(0), proof.force_ping(0));
        assert!(!proof.has_answered(first));
        proof.pong(second);
        assert!(proof.has_answered(first) && proof.has_answered(second));
        let third = proof.force_ping(0);
        assert!(!proof.has_answered(third));
    }

    #[test]
    fn a_client_that_does_not_answer_is_not_pinged_without_end() {
        let mut proof = Proof::default();
        proof.watch(at(0), 0);
        let pings = (1..20).filter(|offset| ping(&mut proof, *offset, offset * 1000).is_some());
        assert_eq!(pings.count(), OUTSTANDING);
    }
}
