//! The messages that wait to be published or appended, and those whose outcome is still open. Plain data: no connection,
//! no waiting.

use std::collections::VecDeque;
use std::time::Duration;

use pondsocket::cluster::{Append, Appended, BusError, BusErrorKind, Outcome, Position, Publish};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::timeout;
use crate::options::RedisOptions;

/// The limits of one write, in commands and bytes. A write gets one timeout, so its size bounds the time that it takes.
const BATCH_COMMANDS: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;

/// The bytes of the longest position: an epoch of 11 digits, a point, and an offset of 20.
const MAX_POSITION: usize = 32;

/// The calls of `publish` and `append`, in order. The messages at the front have been taken for sending, the others wait. Outcomes
/// come in the order of the messages.
#[derive(Debug)]
pub(crate) struct Queue {
    calls: VecDeque<Call>,
    /// The index of the first call with messages that wait.
    first_waiting: usize,
    /// The number of messages that wait.
    waiting: usize,
    /// The number of messages without an outcome, and their bytes.
    messages: usize,
    bytes: usize,
    limits: Limits,
    /// The reason for which nothing can be sent; `None` while messages can be.
    down: Option<BusError>,
    /// The bus has ended: no task writes.
    ended: bool,
}

#[derive(Debug)]
struct Limits {
    messages: usize,
    bytes: usize,
    payload: usize,
    age: Duration,
}

/// One call: the messages that wait, and the outcomes that are known. All other messages are under way.
#[derive(Debug)]
struct Call {
    since: Instant,
    total: usize,
    waiting: std::vec::IntoIter<Message>,
    outcomes: Vec<Fate>,
    /// The sizes of the messages without an outcome.
    sizes: VecDeque<usize>,
    answer: oneshot::Sender<Vec<Fate>>,
}

/// A message of either kind. Boxed where it is large, so that most messages are moved as they came.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Publish(Publish),
    Append(Box<Append>),
}

/// The outcome of a message of either kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    Sent { receivers: u64 },
    At(Position),
    NotSent(BusError),
    Unknown(BusError),
}

/// An item of a write.
#[derive(Debug)]
pub(crate) enum Item {
    Send(Message),
    /// A message that is not sent. It keeps its place because outcomes come in order.
    Refuse(BusError),
}

/// The numbers of messages by outcome, for the counters.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) sent: usize,
    pub(crate) not_sent: usize,
    pub(crate) unknown: usize,
}

impl Queue {
    /// Creates a queue that refuses messages until it is opened.
    pub(crate) fn new(options: &RedisOptions, why: BusError) -> Queue {
        let limits = Limits {
            messages: options.queue_messages,
            bytes: options.queue_bytes,
            payload: options.max_payload,
            age: options.command_timeout,
        };
        Queue {
            calls: VecDeque::new(),
            first_waiting: 0,
            waiting: 0,
            messages: 0,
            bytes: 0,
            limits,
            down: Some(why),
            ended: true,
        }
    }

    /// Queues a call, or refuses the whole of it with the outcomes in `Err`.
    pub(crate) fn push(
        &mut self,
        batch: Vec<Message>,
        now: Instant,
    ) -> Result<oneshot::Receiver<Vec<Fate>>, Vec<Fate>> {
        let sizes: VecDeque<_> = batch.iter().map(Message::size).collect();
        let bytes: usize = sizes.iter().sum();
        let full = self.messages + batch.len() > self.limits.messages || self.bytes + bytes > self.limits.bytes;
        let refusal = match &self.down {
            Some(why) => Some(why.clone()),
            // An empty queue accepts a batch that exceeds its limits: otherwise that batch could never be sent.
            None if full && self.messages > 0 => {
                Some(BusError::new(BusErrorKind::Full, format!("{} messages wait for Redis", self.messages)))
            }
            None => None,
        };
        if let Some(why) = refusal {
            return Err(vec![Fate::NotSent(why); batch.len()]);
        }
        // A call without messages would wait for an outcome that never comes.
        if batch.is_empty() {
            return Err(Vec::new());
        }
        let (answer, receiver) = oneshot::channel();
        self.messages += batch.len();
        self.waiting += batch.len();
        self.bytes += bytes;
        let (total, waiting) = (batch.len(), batch.into_iter());
        self.calls.push_back(Call { since: now, total, waiting, outcomes: Vec::with_capacity(total), sizes, answer });
        Ok(receiver)
    }

    /// Returns `true` if enough messages wait for a write of full size.
    pub(crate) fn has_full_batch(&self) -> bool {
        self.waiting >= BATCH_COMMANDS
    }

    /// Takes the items of the next write: the waiting ones, up to the limits. The result is empty if none waits.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<Item> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(call) = self.calls.get_mut(self.first_waiting) {
            let late = now.saturating_duration_since(call.since) > self.limits.age;
            let Some(next) = call.waiting.as_slice().first() else {
                self.first_waiting += 1;
                continue;
            };
            bytes += next.size();
            if items.len() == BATCH_COMMANDS || (bytes > BATCH_BYTES && !items.is_empty()) {
                break;
            }
            let message = call.waiting.next().expect("the slice has a first element");
            self.waiting -= 1;
            // Checked here and not in `push`, so that the outcomes of a call stay in order.
            items.push(if message.payload() > self.limits.payload {
                let what = format!("{} bytes on {}", message.payload(), message.topic());
                Item::Refuse(BusError::new(BusErrorKind::TooBig, what))
            } else if late {
                Item::Refuse(timeout("waiting for Redis"))
            } else {
                Item::Send(message)
            });
        }
        items
    }

    /// Sets the outcomes of the oldest messages that have none yet.
    pub(crate) fn complete(&mut self, outcomes: impl IntoIterator<Item = Fate>) -> Tally {
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.count(&outcome);
            let Some(call) = self.calls.front_mut() else { break };
            call.outcomes.push(outcome);
            self.messages -= 1;
            self.bytes -= call.sizes.pop_front().unwrap_or_default();
            if call.outcomes.len() == call.total {
                self.first_waiting = self.first_waiting.saturating_sub(1);
                let call = self.calls.pop_front().expect("`front_mut` has returned it");
                // The caller may have dropped its future.
                let _ = call.answer.send(call.outcomes);
            }
        }
        tally
    }

    /// Marks the bus as running.
    pub(crate) fn begin(&mut self) {
        self.ended = false;
    }

    /// Accepts messages from now on, unless the bus has ended.
    pub(crate) fn open(&mut self) {
        if !self.ended {
            self.down = None;
        }
    }

    /// Marks the bus as ended, and closes the queue. No connection can open it then.
    pub(crate) fn end(&mut self, why: &BusError) -> Tally {
        self.ended = true;
        self.close(why)
    }

    /// Refuses messages from now on. Those under way get an unknown outcome, those that wait are not sent.
    pub(crate) fn close(&mut self, why: &BusError) -> Tally {
        self.down = Some(why.clone());
        // Messages are taken in order, so in each call those under way are ahead of those that wait.
        let fate = |call: &Call| {
            let under_way = call.total - call.outcomes.len() - call.waiting.len();
            let unknown = std::iter::repeat_n(Fate::Unknown(why.clone()), under_way);
            unknown.chain(std::iter::repeat_n(Fate::NotSent(why.clone()), call.waiting.len()))
        };
        let outcomes: Vec<_> = self.calls.iter().flat_map(fate).collect();
        // Every call is complete now and has left the queue.
        let tally = self.complete(outcomes);
        (self.first_waiting, self.waiting) = (0, 0);
        tally
    }

    /// The numbers of messages and bytes without an outcome.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }
}

impl Message {
    fn topic(&self) -> &str {
        match self {
            Message::Publish(publish) => publish.topic.as_str(),
            Message::Append(append) => append.topic.as_str(),
        }
    }

    /// The bytes of the text, with the longest position.
    fn payload(&self) -> usize {
        match self {
            Message::Publish(publish) => publish.data.len(),
            Message::Append(append) => append.head.len() + MAX_POSITION + append.tail.len(),
        }
    }

    fn size(&self) -> usize {
        self.topic().len() + self.payload()
    }
}

impl From<Fate> for Outcome {
    fn from(fate: Fate) -> Outcome {
        match fate {
            Fate::Sent { receivers } => Outcome::Sent { receivers: Some(receivers) },
            // Impossible: a message that is published gets no position.
            Fate::At(_) => Outcome::Sent { receivers: None },
            Fate::NotSent(why) => Outcome::NotSent(why),
            Fate::Unknown(why) => Outcome::Unknown(why),
        }
    }
}

impl From<Fate> for Appended {
    fn from(fate: Fate) -> Appended {
        match fate {
            Fate::At(position) => Appended::At(position),
            // Impossible: a message that is appended gets a position.
            Fate::Sent { .. } => Appended::Unknown(BusError::new(BusErrorKind::Other, "there is no position")),
            Fate::NotSent(why) => Appended::NotSent(why),
            Fate::Unknown(why) => Appended::Unknown(why),
        }
    }
}

impl Tally {
    fn count(&mut self, outcome: &Fate) {
        match outcome {
            Fate::Sent { .. } | Fate::At(_) => self.sent += 1,
            Fate::NotSent(_) => self.not_sent += 1,
            Fate::Unknown(_) => self.unknown += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::closed;

    fn queue(options: RedisOptions) -> Queue {
        let mut queue = Queue::new(&options, closed("not yet"));
        queue.begin();
        queue.open();
        queue
    }

    fn publish(data: impl Into<bytes::Bytes>) -> Message {
        Message::Publish(Publish::new("t", data))
    }

    fn messages(count: usize) -> Vec<Message> {
        (0..count).map(|number| publish(number.to_string())).collect()
    }

    fn sent(count: usize) -> Vec<Fate> {
        vec![Fate::Sent { receivers: 1 }; count]
    }

    #[test]
    fn calls_are_cut_into_writes_and_answered_whole() {
        let (mut queue, now) = (queue(RedisOptions::default()), Instant::now());
        let mut small = queue.push(messages(3), now).expect("taken");
        let mut large = queue.push(messages(200), now).expect("taken");
        assert!(queue.has_full_batch());
        assert_eq!(queue.take(now).len(), BATCH_COMMANDS);
        assert!(!queue.has_full_batch());
        queue.complete(sent(2));
        assert!(small.try_recv().is_err());
        queue.complete(sent(BATCH_COMMANDS - 2));
        assert_eq!(small.try_recv().expect("an answer").len(), 3);
        assert_eq!(queue.take(now).len(), 75);
        assert!(queue.take(now).is_empty() && large.try_recv().is_err());
        queue.complete(sent(75));
        assert_eq!((large.try_recv().expect("an answer").len(), queue.depth()), (200, (0, 0)));
    }

    #[test]
    fn a_write_has_limited_bytes_but_at_least_one_message() {
        let (mut queue, now) = (queue(RedisOptions::default()), Instant::now());
        let sizes = [BATCH_BYTES * 2, BATCH_BYTES / 2, BATCH_BYTES / 3, BATCH_BYTES / 3];
        let batch = sizes.map(|size| publish(vec![0; size])).to_vec();
        let _answer = queue.push(batch, now).expect("taken");
        assert_eq!([(); 4].map(|()| queue.take(now).len()), [1, 2, 1, 0]);
    }

    #[test]
    fn messages_under_way_are_unknown_and_waiting_ones_are_not_sent() {
        let (mut queue, now) = (queue(RedisOptions::default()), Instant::now());
        let mut first = queue.push(messages(130), now).expect("taken");
        let mut second = queue.push(messages(2), now).expect("taken");
        queue.take(now);
        queue.complete(sent(100));
        let tally = queue.close(&closed("gone"));
        assert_eq!(tally, Tally { sent: 0, not_sent: 4, unknown: 28 });
        let outcomes = first.try_recv().expect("an answer");
        assert!(matches!(outcomes[99..101], [Fate::Sent { .. }, Fate::Unknown(_)]));
        assert!(matches!(outcomes[127..], [Fate::Unknown(_), Fate::NotSent(_), Fate::NotSent(_)]));
        assert!(matches!(second.try_recv().expect("an answer")[..], [Fate::NotSent(_), Fate::NotSent(_)]));
        assert!(matches!(queue.push(messages(1), now).expect_err("down")[..], [Fate::NotSent(_)]));
        queue.open();
        let _third = queue.push(messages(1), now).expect("taken");
        assert_eq!(queue.take(now).len(), 1);
    }

    #[test]
    fn over_its_limits_a_call_is_refused_whole() {
        let (mut queue, now) = (queue(RedisOptions::default().queue_messages(10)), Instant::now());
        let _first = queue.push(messages(9), now).expect("taken");
        let refused = queue.push(messages(2), now).expect_err("full");
        assert!(matches!(&refused[..], [Fate::NotSent(why), _] if why.kind() == BusErrorKind::Full));
        assert!(queue.push(messages(1), now).is_ok());
    }

    #[test]
    fn messages_that_are_too_big_or_too_old_are_refused_in_their_place() {
        let (mut queue, now) = (queue(RedisOptions::default().max_payload(1)), Instant::now());
        let batch = vec![publish("1"), publish("22"), publish("3")];
        let _answer = queue.push(batch.clone(), now).expect("taken");
        assert!(matches!(&queue.take(now)[..], [Item::Send(_), Item::Refuse(_), Item::Send(_)]));
        let _answer = queue.push(batch, now).expect("taken");
        assert!(matches!(
            &queue.take(now + Duration::from_secs(3))[..],
            [Item::Refuse(_), Item::Refuse(_), Item::Refuse(_)]
        ));
    }
}
