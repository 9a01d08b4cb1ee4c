//! The messages of a session that were handled, with their answers, so that a client may send a message again without having
//! it handled again.
//!
//! Bounded in number and bytes. Over [`MOST`] messages the oldest are forgotten: a repeat is handled like a new message. Over
//! [`MOST_BYTES`] only the oldest answers are: a repeat is still not handled.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use pondsocket_proto::channel::DeliveryPolicy;
use pondsocket_proto::id::ChannelName;
use tokio::sync::Notify;

use crate::engine::sync::Mutex;
use crate::limits::memory::{Charge, Memory};

/// The most messages.
const MOST: usize = 256;

/// The most bytes of their answers.
const MOST_BYTES: usize = 64 * 1024;

/// The longest request id that is noted, in bytes. Those of clients are UUIDs.
const LONGEST_ID: usize = 128;

/// The messages of the channels in which a client resumes.
#[derive(Debug)]
pub(crate) struct Answers {
    log: Mutex<AnswerLog>,
    /// Notified when a message is handled to the end.
    finished: Notify,
}

/// An answer to a message: its text, and the handling on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) text: Bytes,
    pub(crate) policy: DeliveryPolicy,
}

/// The answers to one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    pub(crate) answers: Vec<Answer>,
    /// True if there were answers that are not kept any more.
    pub(crate) is_forgotten: bool,
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

    /// Notes that a message is going to be handled. Returns `false` if it is a repeat.
    pub(crate) fn begin(&self, channel: &ChannelName, request_id: &str) -> bool {
        let mut log = self.log.lock();
        if log.position(channel, request_id).is_some() {
            return false;
        }
        if request_id.len() <= LONGEST_ID {
            log.begin(channel, request_id);
        }
        true
    }

    /// Notes an answer to a message.
    pub(crate) fn answer(&self, channel: &ChannelName, request_id: &str, text: &[u8], policy: DeliveryPolicy) {
        self.log.lock().answer(channel, request_id, text, policy);
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

    /// Waits until a message is handled to the end. Cancel-safe.
    pub(crate) async fn finished(&self, channel: &ChannelName, request_id: &str) {
        loop {
            let mut finished = pin!(self.finished.notified());
            // Before the look: an end behind it is not missed.
            finished.as_mut().enable();
            if !self.log.lock().is_running(channel, request_id) {
                return;
            }
            finished.await;
        }
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
        if self.messages.len() >= MOST {
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

    fn answer(&mut self, channel: &ChannelName, request_id: &str, text: &[u8], policy: DeliveryPolicy) {
        let Some(at) = self.position(channel, request_id) else { return };
        let answered = &mut self.messages[at].answered;
        answered.answers.push(Answer { text: Bytes::copy_from_slice(text), policy });
        self.bytes += text.len();
        for known in &mut self.messages {
            if self.bytes <= MOST_BYTES {
                break;
            }
            self.bytes -= known.answered.forget();
        }
        self.report();
    }

    fn report(&mut self) {
        self.charge.set(self.bytes + self.messages.len() * (size_of::<Handled>() + LONGEST_ID));
    }
}

impl Answered {
    fn bytes(&self) -> usize {
        self.answers.iter().map(|answer| answer.text.len()).sum()
    }

    /// Forgets the answers. Returns their bytes.
    fn forget(&mut self) -> usize {
        let bytes = self.bytes();
        self.is_forgotten |= !self.answers.is_empty();
        self.answers = Vec::new();
        bytes
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
                let is_known = model.iter().rev().take(MOST).any(|(known, _)| *known == number);
                prop_assert_eq!(answers.begin(&room, &id), !is_known);
                if is_known {
                    continue;
                }
                if let Some(length) = answer {
                    answers.answer(&room, &id, &vec![b'x'; length], DeliveryPolicy::CONTROL);
                }
                answers.finish(&room, &id);
                model.retain(|(known, _)| *known != number);
                model.push((number, answer));
                let (mut bytes, mut is_full) = (0, false);
                for (number, answer) in model.iter().rev().take(MOST) {
                    let answered = answers.get(&room, &number.to_string());
                    let Some(length) = answer else {
                        prop_assert!(answered.answers.is_empty() && !answered.is_forgotten);
                        continue;
                    };
                    is_full |= bytes + length > MOST_BYTES;
                    if !is_full {
                        prop_assert_eq!(texts(&answered), [*length]);
                        bytes += length;
                    }
                    prop_assert_eq!(answered.is_forgotten, answered.answers.is_empty());
                }
                let log = answers.log.lock();
                let sum: usize = log.messages.iter().map(|known| known.answered.bytes()).sum();
                prop_assert!(log.bytes == sum && sum <= MOST_BYTES && log.messages.len() <= MOST);
            }
        }
    }

    #[test]
    fn a_message_is_one_of_its_channel() {
        let answers = Answers::new(&Arc::default());
        assert!(answers.begin(&channel("/a"), "1") && answers.begin(&channel("/b"), "1"));
        assert!(!answers.begin(&channel("/a"), "1"));
        let long = "x".repeat(LONGEST_ID + 1);
        assert!(answers.begin(&channel("/a"), &long) && answers.begin(&channel("/a"), &long), "not noted");
    }

    #[test]
    fn a_message_that_is_being_handled_is_not_forgotten_for_others() {
        let (answers, room) = (Answers::new(&Arc::default()), channel("/a"));
        assert!(answers.begin(&room, "slow"));
        for number in 0..2 * MOST {
            let id = number.to_string();
            assert!(answers.begin(&room, &id));
            answers.finish(&room, &id);
        }
        answers.answer(&room, "slow", b"late", DeliveryPolicy::CONTROL);
        assert_eq!((answers.begin(&room, "slow"), texts(&answers.get(&room, "slow"))), (false, vec![4]));
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
        answers.finish(&room, "1");
        waiting.await.expect("it ends");
        answers.finished(&room, "unknown").await;
    }
}
