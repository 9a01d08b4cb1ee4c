use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{BusEvent, GapCause, Lost};
use pondsocket_proto::cluster::Topic;

/// The most topics of one gap. A gap of more topics becomes a gap of all, so that its size is bounded.
const MAX_LOST_TOPICS: usize = 4096;

/// The limits of the messages that wait in a sink for a node that does not keep up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SinkLimits {
    /// The most messages that wait. Default 65,536.
    pub messages: usize,
    /// The most bytes of their topics and data. Default 64 MiB.
    pub bytes: usize,
}

impl Default for SinkLimits {
    fn default() -> SinkLimits {
        SinkLimits { messages: 64 * 1024, bytes: 64 * 1024 * 1024 }
    }
}

impl SinkLimits {
    /// Sets [`messages`](Self#structfield.messages).
    #[must_use]
    pub fn messages(mut self, messages: usize) -> SinkLimits {
        self.messages = messages;
        self
    }

    /// Sets [`bytes`](Self#structfield.bytes).
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> SinkLimits {
        self.bytes = bytes;
        self
    }
}

/// The messages that wait in a sink, and those that were dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SinkStats {
    /// Messages that wait.
    pub messages: usize,
    /// The same in bytes.
    pub bytes: usize,
    /// Messages that were dropped since the sink was created.
    pub dropped: u64,
}

/// The queue into which a bus puts its events. Clones fill the same queue.
///
/// It never waits, so that the task which reads the engine's socket never does. A message over the [`SinkLimits`] is
/// dropped, and so are all further messages until half of the room is free; the gap is reported behind the events that
/// were queued before, and ahead of the next one. All other events are always queued, and yet bounded: of the sessions
/// that came and went before the node read the queue only the last is kept, and gaps are merged, so that they hold no
/// more topics than the node itself wants.
#[derive(Clone, Debug)]
pub struct BusSink(Arc<Filler>);

/// The events of a bus, for the node. Once it is dropped, the sink discards all events.
#[derive(Debug)]
pub struct BusEvents(Arc<Shared>);

/// The shared part of all sinks of one queue. The queue ends when the last of them is dropped.
#[derive(Debug)]
struct Filler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held for a moment only, never across an await.
    queue: Mutex<Queue>,
    filled: Notify,
}

/// The queue itself, without waiting.
#[derive(Debug)]
struct Queue {
    limits: SinkLimits,
    events: VecDeque<BusEvent>,
    messages: usize,
    bytes: usize,
    /// Gaps that are reported before the next event is appended.
    gaps: Vec<Gap>,
    dropped: u64,
    /// Set when a message did not fit, until half of the room is free, so that an overflow is one gap and not
    /// thousands.
    full: bool,
    /// True when all sinks were dropped.
    ended: bool,
    /// True when the reader was dropped: events would otherwise gather for as long as the bus runs.
    abandoned: bool,
}

/// The topics that lost messages for one cause; `None` stands for all.
#[derive(Debug)]
struct Gap {
    cause: GapCause,
    topics: Option<BTreeSet<Topic>>,
}

impl BusSink {
    /// Creates a queue: the sink for the bus, and the events for the node.
    pub fn new(limits: SinkLimits) -> (BusSink, BusEvents) {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::new(limits)), filled: Notify::new() });
        (BusSink(Arc::new(Filler(shared.clone()))), BusEvents(shared))
    }

    /// Appends an event. It never waits, and never fails: see [`BusSink`].
    pub fn push(&self, event: BusEvent) {
        self.push_all([event]);
    }

    /// Appends several events under one lock.
    pub fn push_all(&self, events: impl IntoIterator<Item = BusEvent>) {
        let shared = &self.0.0;
        let mut queue = shared.queue();
        events.into_iter().for_each(|event| queue.push(event));
        let filled = !queue.is_empty();
        // The reader takes the same lock first, so it is released before the reader is woken.
        drop(queue);
        if filled {
            shared.filled.notify_one();
        }
    }
}

impl BusEvents {
    /// Waits for the next event; `None` when the bus has ended and all events were read. The future may be dropped
    /// without loss.
    pub async fn next(&mut self) -> Option<BusEvent> {
        loop {
            {
                let mut queue = self.0.queue();
                if let Some(event) = queue.pop() {
                    return Some(event);
                }
                if queue.ended {
                    return None;
                }
            }
            // No wakeup is lost between the lock and this: `notify_one` stores a permit, and there is one reader.
            self.0.filled.notified().await;
        }
    }

    /// The next event, if one is queued.
    pub fn try_next(&mut self) -> Option<BusEvent> {
        self.0.queue().pop()
    }

    /// Waits for an event, appends it and those queued behind it, `max` at most, and returns their number. It is 0 when
    /// the bus has ended and all events were read, or if `max` is 0. The future may be dropped without loss.
    pub async fn next_batch(&mut self, into: &mut Vec<BusEvent>, max: usize) -> usize {
        loop {
            {
                let mut queue = self.0.queue();
                let before = into.len();
                into.extend(std::iter::from_fn(|| queue.pop()).take(max));
                if into.len() > before || queue.ended || max == 0 {
                    return into.len() - before;
                }
            }
            self.0.filled.notified().await;
        }
    }

    /// The messages that wait, and those that were dropped.
    pub fn stats(&self) -> SinkStats {
        let queue = self.0.queue();
        SinkStats { messages: queue.messages, bytes: queue.bytes, dropped: queue.dropped }
    }
}

impl Drop for BusEvents {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.abandoned = true;
        let unread = std::mem::take(&mut queue.events);
        // The events may hold many megabytes: they are freed without the lock, which the bus needs to push.
        drop(queue);
        drop(unread);
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.0.queue().ended = true;
        self.0.filled.notify_one();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn new(limits: SinkLimits) -> Queue {
        Queue {
            limits,
            events: VecDeque::new(),
            messages: 0,
            bytes: 0,
            gaps: Vec::new(),
            dropped: 0,
            full: false,
            ended: false,
            abandoned: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.gaps.is_empty()
    }

    fn push(&mut self, event: BusEvent) {
        if self.abandoned {
            return;
        }
        match event {
            BusEvent::Message { topic, data } => {
                let bytes = topic.as_str().len() + data.len();
                if !self.has_room(bytes) {
                    self.dropped += 1;
                    return self.note_gap(Lost::Topics(vec![topic]), GapCause::Overflow);
                }
                self.report_gaps();
                self.messages += 1;
                self.bytes += bytes;
                self.events.push_back(BusEvent::Message { topic, data });
            }
            BusEvent::Gap { lost, cause } => self.note_gap(lost, cause),
            BusEvent::Down { reason } => {
                self.report_gaps();
                // Sessions that ended before the node read of them are void; the messages that they delivered are not.
                self.events.retain(|event| matches!(event, BusEvent::Message { .. } | BusEvent::Gap { .. }));
                self.events.push_back(BusEvent::Down { reason });
            }
            event => {
                self.report_gaps();
                self.events.push_back(event);
            }
        }
    }

    /// Returns whether a message of this size fits. With hysteresis: at the limit every other message would be dropped,
    /// and each drop would be a gap of its own, for which the node requests states.
    fn has_room(&mut self, bytes: usize) -> bool {
        if self.full && (self.messages > self.limits.messages / 2 || self.bytes > self.limits.bytes / 2) {
            return false;
        }
        self.full = self.messages >= self.limits.messages || bytes > self.limits.bytes.saturating_sub(self.bytes);
        !self.full
    }

    fn note_gap(&mut self, lost: Lost, cause: GapCause) {
        let gap = match self.gaps.iter_mut().position(|gap| gap.cause == cause) {
            Some(known) => &mut self.gaps[known],
            None => {
                self.gaps.push(Gap { cause, topics: Some(BTreeSet::new()) });
                self.gaps.last_mut().expect("just pushed")
            }
        };
        gap.add(lost);
    }

    /// Moves the gaps into the queue, behind the events that came before the loss. Until then further losses are
    /// merged.
    fn report_gaps(&mut self) {
        self.events.extend(self.gaps.drain(..).map(Gap::into_event));
    }

    fn pop(&mut self) -> Option<BusEvent> {
        if self.events.is_empty() {
            self.report_gaps();
        }
        let event = self.events.pop_front()?;
        if let BusEvent::Message { topic, data } = &event {
            self.messages -= 1;
            self.bytes -= topic.as_str().len() + data.len();
        }
        if self.events.is_empty() && self.events.capacity() > 1024 {
            // A burst has grown the buffer, which would otherwise keep its size for ever.
            self.events = VecDeque::new();
        }
        Some(event)
    }
}

impl Gap {
    fn add(&mut self, lost: Lost) {
        match (lost, &mut self.topics) {
            (Lost::Topics(more), Some(topics)) if topics.len() + more.len() <= MAX_LOST_TOPICS => topics.extend(more),
            // At the limit, topics that are in the gap already do not turn it into one of all topics.
            (Lost::Topics(more), Some(topics)) if more.iter().all(|topic| topics.contains(topic)) => {}
            _ => self.topics = None,
        }
    }

    fn into_event(self) -> BusEvent {
        let lost = self.topics.map_or(Lost::All, |topics| Lost::Topics(topics.into_iter().collect()));
        BusEvent::Gap { lost, cause: self.cause }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Topics(topics) => write!(f, "{} topics", topics.len()),
            Lost::All => f.write_str("all topics"),
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::super::{BusError, BusErrorKind, BusSession};
    use super::*;

    fn message(topic: &str, data: &'static str) -> BusEvent {
        BusEvent::Message { topic: topic.into(), data: data.into() }
    }

    fn overflow(topics: &[&str]) -> BusEvent {
        let topics = topics.iter().map(|topic| Topic::from(*topic)).collect();
        BusEvent::Gap { lost: Lost::Topics(topics), cause: GapCause::Overflow }
    }

    fn down(detail: &str) -> BusEvent {
        BusEvent::Down { reason: BusError::new(BusErrorKind::Closed, detail) }
    }

    fn unread(events: &mut BusEvents) -> Vec<BusEvent> {
        std::iter::from_fn(|| events.try_next()).collect()
    }

    #[test]
    fn messages_that_do_not_fit_become_one_gap_behind_the_queued_ones() {
        let (sink, mut events) = BusSink::new(SinkLimits::default().messages(2));
        let pushed = [("a", "1"), ("b", "2"), ("b", "3"), ("a", "4"), ("b", "5")];
        sink.push_all(pushed.map(|(topic, data)| message(topic, data)));
        assert_eq!(events.stats(), SinkStats { messages: 2, bytes: 4, dropped: 3 });
        assert_eq!(unread(&mut events), [message("a", "1"), message("b", "2"), overflow(&["a", "b"])]);
        sink.push(message("a", "6"));
        assert_eq!(unread(&mut events), [message("a", "6")]);
        assert_eq!(events.stats(), SinkStats { messages: 0, bytes: 0, dropped: 3 });
    }

    #[test]
    fn after_an_overflow_half_of_the_room_must_be_free() {
        let (sink, mut events) = BusSink::new(SinkLimits::default().messages(4));
        sink.push_all(["1", "2", "3", "4", "5"].map(|data| message("a", data)));
        assert_eq!(events.try_next(), Some(message("a", "1")));
        sink.push(message("b", "6"));
        assert_eq!(events.try_next(), Some(message("a", "2")));
        sink.push(message("c", "7"));
        let rest = [message("a", "3"), message("a", "4"), overflow(&["a", "b"]), message("c", "7")];
        assert_eq!(unread(&mut events), rest);
    }

    #[test]
    fn bytes_are_counted_with_the_topic() {
        let (sink, mut events) = BusSink::new(SinkLimits::default().bytes(10));
        sink.push_all([message("topic", "12345"), message("t", "")]);
        assert_eq!(unread(&mut events), [message("topic", "12345"), overflow(&["t"])]);
        sink.push_all([message("topic", "123456"), message("t", "1")]);
        assert_eq!(unread(&mut events), [overflow(&["topic"]), message("t", "1")]);
    }

    #[test]
    fn too_many_topics_with_a_gap_are_all() {
        let (sink, mut events) = BusSink::new(SinkLimits::default().messages(0));
        sink.push_all((0..=MAX_LOST_TOPICS).map(|n| message(&n.to_string(), "")));
        assert_eq!(unread(&mut events), [BusEvent::Gap { lost: Lost::All, cause: GapCause::Overflow }]);
    }

    #[test]
    fn gaps_of_one_cause_are_merged_and_stay_ahead() {
        let (sink, mut events) = BusSink::new(SinkLimits::default());
        let engine = |topics: &[&str]| BusEvent::Gap {
            lost: Lost::Topics(topics.iter().map(|topic| Topic::from(*topic)).collect()),
            cause: GapCause::Engine,
        };
        sink.push_all([engine(&["b"]), engine(&["a", "b"]), message("a", "1"), engine(&["c"])]);
        assert_eq!(unread(&mut events), [engine(&["a", "b"]), message("a", "1"), engine(&["c"])]);
    }

    #[test]
    fn of_several_changes_of_the_connection_the_last_is_reported() {
        let (sink, mut events) = BusSink::new(SinkLimits::default());
        for n in 0..1000 {
            let session = BusSession(n);
            sink.push(BusEvent::Up { session });
            sink.push(BusEvent::Subscribed { session, topics: vec!["a".into()] });
            sink.push_all((n == 7).then(|| message("a", "1")));
            sink.push(down(&n.to_string()));
        }
        sink.push(BusEvent::Up { session: BusSession(1000) });
        let expected = [message("a", "1"), down("999"), BusEvent::Up { session: BusSession(1000) }];
        assert_eq!(unread(&mut events), expected);
    }

    #[tokio::test]
    async fn the_queue_ends_when_the_last_sink_is_dropped_and_all_is_read() {
        let (sink, mut events) = BusSink::new(SinkLimits::default());
        let other = sink.clone();
        drop(sink);
        other.push(message("a", "1"));
        let reader = tokio::spawn(async move { (events.next().await, events.next().await, events.next().await) });
        drop(other);
        assert_eq!(reader.await.expect("no panic"), (Some(message("a", "1")), None, None));
    }

    #[tokio::test]
    async fn a_batch_has_all_queued_messages() {
        let (sink, mut events) = BusSink::new(SinkLimits::default());
        let mut batch = Vec::new();
        assert!(tokio::time::timeout(std::time::Duration::ZERO, events.next_batch(&mut batch, 2)).await.is_err());
        sink.push_all(["1", "2", "3"].map(|data| message("a", data)));
        assert_eq!(events.next_batch(&mut batch, 2).await, 2);
        assert_eq!(events.next_batch(&mut batch, 2).await, 1);
        assert_eq!(batch, ["1", "2", "3"].map(|data| message("a", data)));
        drop(sink);
        assert_eq!(events.next_batch(&mut batch, 2).await, 0);
    }

    #[test]
    fn messages_without_a_reader_are_dropped() {
        let (sink, events) = BusSink::new(SinkLimits::default());
        drop(events);
        sink.push(message("a", "1"));
        assert!(sink.0.0.queue().is_empty());
    }
}
