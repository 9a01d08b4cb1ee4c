//! The messages of a session that were handled, with their answers, so that a client may send a message again without having
//! it handled again.
//!
//! Bounded in number and bytes. Over [`MAX_MESSAGES`] messages the oldest are forgotten: a repeat is handled like a new message. Over
//! [`MAX_BYTES`] only the oldest answers are: a repeat is still not handled.
//!
//! They go along with the session to the next server and to other nodes (`handled.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use pondsocket_proto::id::ChannelName;
use tokio::sync::Notify;

use crate::engine::changes;
use crate::engine::handled::{Answer, AnswerKind, Answered, HandledMessage};
use crate::engine::sync::Mutex;
use crate::limits::memory::{Charge, Memory};

/// The most messages.
const MAX_MESSAGES: usize = 256;

/// The most bytes of their answers.
const MAX_BYTES: usize = 64 * 1024;

/// The longest request id that is noted, in bytes. Those of clients are UUIDs.
const MAX_ID: usize = 128;

/// The part of the messages that is copied for other servers: the newest ones, and the newest answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyLimits {
    messages: usize,
    bytes: usize,
}

impl CopyLimits {
    /// All that is known.
    pub(crate) const ALL: CopyLimits = CopyLimits { messages: MAX_MESSAGES, bytes: MAX_BYTES };
    /// Enough for a client that repeats what it has sent last. It bounds the records of connections, which are written again and again.
    pub(crate) const SHORT: CopyLimits = CopyLimits { messages: 32, bytes: 4 * 1024 };
}

/// The messages of the channels in which a client resumes.
#[derive(Debug)]
pub(crate) struct Answers {
    log: Mutex<AnswerLog>,
    /// Notified when a message is handled to the end.
    finished: Notify,
}

#[derive(Debug)]
struct AnswerLog {
    /// The messages, the oldest first.
    messages: VecDeque<Handled>,
    /// The bytes of all answers.
    bytes: usize,
    charge: Charge,
}

#[derive(Debug)]
struct Handled {
    channel: ChannelName,
    request_id: Box<str>,
    is_running: bool,
    answered: Answered,
}

impl Answers {
    pub(crate) fn new(memory: &Arc<Memory>) -> Answers {
        let log = AnswerLog { messages: VecDeque::new(), bytes: 0, charge: Charge::new(memory) };
        Answers { log: Mutex::new(log), finished: Notify::new() }
    }

    /// The messages that an earlier server or another node has handled, the oldest first, within the limits.
    pub(crate) fn restore(memory: &Arc<Memory>, messages: Vec<HandledMessage>) -> Answers {
        let answers = Answers::new(memory);
        for HandledMessage { channel, request_id, answered } in messages {
            if answers.begin(&channel, &request_id) {
                answers.log.lock().restore(&channel, &request_id, answered);
            }
        }
        answers
    }

    /// Copies messages for another server, the oldest first. The answers to those that are still being handled are not known.
    pub(crate) fn copy(&self, limits: CopyLimits) -> Vec<HandledMessage> {
        let log = self.log.lock();
        let mut left = Some(limits.bytes);
        let copy = |handled: &Handled| {
            let Handled { channel, request_id, is_running, answered } = handled;
            let mut answered = answered.clone();
            left = left.and_then(|left| left.checked_sub(answered.bytes()));
            if left.is_none() {
                answered.forget();
            }
            answered.is_forgotten |= *is_running;
            HandledMessage { channel: channel.clone(), request_id: request_id.clone(), answered }
        };
        let mut copies: Vec<_> = log.messages.iter().rev().take(limits.messages).map(copy).collect();
        copies.reverse();
        copies
    }

    /// Notes that a message is going to be handled. Returns `false` if it is a repeat.
    pub(crate) fn begin(&self, channel: &ChannelName, request_id: &str) -> bool {
        let mut log = self.log.lock();
        if log.position(channel, request_id).is_some() {
            return false;
        }
        if request_id.len() <= MAX_ID {
            log.begin(channel, request_id);
        }
        true
    }

    /// Notes an answer to a message.
    pub(crate) fn answer(&self, channel: &ChannelName, request_id: &str, kind: AnswerKind, text: &[u8]) {
        self.log.lock().answer(channel, request_id, Answer { kind, text: Bytes::copy_from_slice(text) });
    }

    /// Notes that a message is handled to the end.
    pub(crate) fn finish(&self, channel: &ChannelName, request_id: &str) {
        let mut log = self.log.lock();
        if let Some(at) = log.position(channel, request_id) {
            log.messages[at].is_running = false;
        }
        drop(log);
        self.finished.notify_waiters();
    }

    /// Notes that the handler of a message was cancelled: what it has done by then is not known.
    pub(crate) fn cancel(&self, channel: &ChannelName, request_id: &str) {
        let mut log = self.log.lock();
        if let Some(at) = log.position(channel, request_id) {
            log.messages[at].answered.is_forgotten = true;
        }
        drop(log);
        self.finish(channel, request_id);
    }

    /// Waits until a message is handled to the end. Cancel-safe.
    pub(crate) async fn finished(&self, channel: &ChannelName, request_id: &str) {
        self.until(|log| !log.is_running(channel, request_id)).await;
    }

    /// Waits until no message is being handled. Cancel-safe.
    pub(crate) async fn all_finished(&self) {
        self.until(|log| log.messages.iter().all(|known| !known.is_running)).await;
    }

    async fn until(&self, holds: impl Fn(&AnswerLog) -> bool) {
        changes::until(&self.finished, || holds(&self.log.lock())).await;
    }

    /// The answers to a message so far.
    pub(crate) fn get(&self, channel: &ChannelName, request_id: &str) -> Answered {
        let log = self.log.lock();
        let forgotten = Answered { answers: Vec::new(), is_forgotten: true };
        log.position(channel, request_id).map_or(forgotten, |at| log.messages[at].answered.clone())
    }
}

impl AnswerLog {
    fn position(&self, channel: &ChannelName, request_id: &str) -> Option<usize> {
        // From the newest: a client repeats what it has sent last. There are few, so nothing is hashed.
        self.messages.iter().rposition(|known| *known.request_id == *request_id && known.channel == *channel)
    }

    fn is_running(&self, channel: &ChannelName, request_id: &str) -> bool {
        self.position(channel, request_id).is_some_and(|at| self.messages[at].is_running)
    }

    fn begin(&mut self, channel: &ChannelName, request_id: &str) {
        if self.messages.len() >= MAX_MESSAGES {
            // One that is being handled stays: its answer is not known yet. Far fewer are handled at once.
            let oldest = self.messages.iter().position(|known| !known.is_running).unwrap_or(0);
            if let Some(oldest) = self.messages.remove(oldest) {
                self.bytes -= oldest.answered.bytes();
            }
        }
        let (channel, request_id) = (channel.clone(), request_id.into());
        self.messages.push_back(Handled { channel, request_id, is_running: true, answered: Answered::default() });
        self.report();
    }

    fn answer(&mut self, channel: &ChannelName, request_id: &str, answer: Answer) {
        let Some(at) = self.position(channel, request_id) else { return };
        self.bytes += answer.text.len();
        self.messages[at].answered.answers.push(answer);
        self.trim();
    }

    fn restore(&mut self, channel: &ChannelName, request_id: &str, answered: Answered) {
        // Not noted if its id is too long.
        let Some(at) = self.position(channel, request_id) else { return };
        self.bytes += answered.bytes();
        (self.messages[at].answered, self.messages[at].is_running) = (answered, false);
        self.trim();
    }

    /// Forgets the oldest answers over the limit.
    fn trim(&mut self) {
        for known in &mut self.messages {
            if self.bytes <= MAX_BYTES {
                break;
            }
            self.bytes -= known.answered.forget();
        }
        self.report();
    }

    fn report(&mut self) {
        self.charge.set(self.bytes + self.messages.len() * (size_of::<Handled>() + MAX_ID));
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::new(name, 8).expect("valid")
    }

    fn texts(answered: &Answered) -> Vec<usize> {
        answered.answers.iter().map(|answer| answer.text.len()).collect()
    }

    proptest! {
        /// A message is new exactly if it is not among the last ones, and its answers are there unless newer ones have taken
        /// their room. The bounds hold at each moment.
        #[test]
        fn the_last_messages_are_known_and_the_last_answers_are_kept(
            steps in prop::collection::vec((0..400usize, prop::option::of(0..20_000usize)), 1..700),
        ) {
            let (answers, room) = (Answers::new(&Arc::default()), channel("/a"));
            // The messages in the order of their first appearance, each with the length of its answer.
            let mut model: Vec<(usize, Option<usize>)> = Vec::new();
            for (number, answer) in steps {
                let id = number.to_string();
                let is_known = model.iter().rev().take(MAX_MESSAGES).any(|(known, _)| *known == number);
                prop_assert_eq!(answers.begin(&room, &id), !is_known);
                if is_known {
                    continue;
                }
                if let Some(length) = answer {
                    answers.answer(&room, &id, AnswerKind::Reply, &vec![b'x'; length]);
                }
                answers.finish(&room, &id);
                model.retain(|(known, _)| *known != number);
                model.push((number, answer));
                let (mut bytes, mut is_full) = (0, false);
                for (number, answer) in model.iter().rev().take(MAX_MESSAGES) {
                    let answered = answers.get(&room, &number.to_string());
                    let Some(length) = answer else {
                        prop_assert!(answered.answers.is_empty() && !answered.is_forgotten);
                        continue;
                    };
                    is_full |= bytes + length > MAX_BYTES;
                    if !is_full {
                        prop_assert_eq!(texts(&answered), [*length]);
                        bytes += length;
                    }
                    prop_assert_eq!(answered.is_forgotten, answered.answers.is_empty());
                }
                let log = answers.log.lock();
                let sum: usize = log.messages.iter().map(|known| known.answered.bytes()).sum();
                prop_assert!(log.bytes == sum && sum <= MAX_BYTES && log.messages.len() <= MAX_MESSAGES);
            }
            // A copy knows the same.
            let restored = Answers::restore(&Arc::default(), answers.copy(CopyLimits::ALL));
            for number in 0..400 {
                let id = number.to_string();
                let (kept, copied) = (answers.get(&room, &id), restored.get(&room, &id));
                prop_assert_eq!((texts(&kept), kept.is_forgotten), (texts(&copied), copied.is_forgotten));
            }
            // A short one knows the newest, and their answers as far as there is room.
            let short = answers.copy(CopyLimits::SHORT);
            prop_assert_eq!(short.len(), model.len().min(32));
            let mut left = Some(4096_usize);
            for (copied, (number, length)) in short.iter().rev().zip(model.iter().rev()) {
                prop_assert_eq!(&*copied.request_id, number.to_string());
                left = left.and_then(|left| left.checked_sub(length.unwrap_or(0)));
                let kept = length.filter(|_| left.is_some());
                prop_assert_eq!(texts(&copied.answered), Vec::from_iter(kept));
                prop_assert_eq!(copied.answered.is_forgotten, left.is_none() && length.is_some());
            }
        }
    }

    #[test]
    fn a_message_is_one_of_its_channel() {
        let answers = Answers::new(&Arc::default());
        assert!(answers.begin(&channel("/a"), "1") && answers.begin(&channel("/b"), "1"));
        assert!(!answers.begin(&channel("/a"), "1"));
        let long = "x".repeat(MAX_ID + 1);
        assert!(answers.begin(&channel("/a"), &long) && answers.begin(&channel("/a"), &long), "not noted");
    }

    #[test]
    fn a_message_that_is_being_handled_is_not_forgotten_for_others() {
        let (answers, room) = (Answers::new(&Arc::default()), channel("/a"));
        assert!(answers.begin(&room, "slow"));
        for number in 0..2 * MAX_MESSAGES {
            let id = number.to_string();
            assert!(answers.begin(&room, &id));
            answers.finish(&room, &id);
        }
        answers.answer(&room, "slow", AnswerKind::Reply, b"late");
        assert_eq!((answers.begin(&room, "slow"), texts(&answers.get(&room, "slow"))), (false, vec![4]));
    }

    #[test]
    fn the_answer_to_a_message_that_is_being_handled_or_was_cancelled_is_not_known_elsewhere() {
        let (answers, room) = (Answers::new(&Arc::default()), channel("/a"));
        assert!(answers.begin(&room, "running") && answers.begin(&room, "cancelled"));
        answers.cancel(&room, "cancelled");
        let restored = Answers::restore(&Arc::default(), answers.copy(CopyLimits::ALL));
        for id in ["running", "cancelled"] {
            assert!(!restored.begin(&room, id) && restored.get(&room, id).is_forgotten, "{id}");
        }
        assert!(!answers.get(&room, "running").is_forgotten && answers.get(&room, "cancelled").is_forgotten);
    }

    #[tokio::test]
    async fn a_repeat_waits_for_the_end_of_its_message() {
        let (answers, room) = (Arc::new(Answers::new(&Arc::default())), channel("/a"));
        assert!(answers.begin(&room, "1"));
        let waiting = tokio::spawn({
            let (answers, room) = (Arc::clone(&answers), room.clone());
            async move { answers.finished(&room, "1").await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert!(tokio::time::timeout(std::time::Duration::ZERO, answers.all_finished()).await.is_err());
        answers.finish(&room, "1");
        waiting.await.expect("it ends");
        answers.all_finished().await;
        answers.finished(&room, "unknown").await;
    }
}
