use super::append_queue::{AppendQueue, QueuedAppend};
use super::queue::{self, PublishQueue, QueuedPublish};

/// Everything that waits to be sent: for the bus, and for its store of histories. The two queues have bounds and rules of their own,
/// and one order, so that other nodes receive the kept messages of a channel in their order among all else that is sent there.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) publishes: PublishQueue,
    pub(super) appends: AppendQueue,
    /// The place of the last message in the order of both.
    last: u64,
}

/// Messages of one kind, between which there is none of the other kind.
#[derive(Debug)]
pub(super) enum Run {
    Publish(Vec<QueuedPublish>),
    Append(Vec<QueuedAppend>),
}

/// The messages and bytes that a batch has already.
#[derive(Default)]
struct Taken {
    publishes: usize,
    bytes: usize,
    appends: usize,
}

impl Outgoing {
    /// Appends a message for the bus. Returns `false` if it was refused.
    pub(super) fn publish(&mut self, mut entry: QueuedPublish) -> bool {
        self.last += 1;
        entry.order = self.last;
        self.publishes.push(entry)
    }

    /// Appends a message for the store.
    pub(super) fn append(&mut self, mut entry: QueuedAppend) {
        self.last += 1;
        entry.order = self.last;
        self.appends.push(entry);
    }

    /// Takes the next batch of both queues, in their common order. It has no messages for the bus while that is down.
    pub(super) fn take(&mut self, now: u64) -> Vec<Run> {
        self.publishes.expire(now);
        let (mut runs, mut taken) = (Vec::new(), Taken::default());
        loop {
            let is_publish = match (self.publishes.next(), self.appends.next()) {
                (Some(publish), Some(append)) => publish < append,
                (publish, None) => publish.is_some(),
                (None, Some(_)) => false,
            };
            // Where one of the two ends, so does the other: what is behind keeps its place.
            let next = match is_publish {
                true if taken.publishes == queue::BATCH_MESSAGES || taken.bytes >= queue::BATCH_BYTES => None,
                true => self.publishes.pop().map(Next::Publish),
                false if taken.appends == AppendQueue::BATCH => None,
                false => self.appends.pop().map(Next::Append),
            };
            match (next, runs.last_mut()) {
                (None, _) => return runs,
                (Some(Next::Publish(entry)), last) => {
                    (taken.publishes, taken.bytes) = (taken.publishes + 1, taken.bytes + entry.bytes());
                    match last {
                        Some(Run::Publish(run)) => run.push(entry),
                        _ => runs.push(Run::Publish(vec![entry])),
                    }
                }
                (Some(Next::Append(entry)), last) => {
                    taken.appends += 1;
                    match last {
                        Some(Run::Append(run)) => run.push(entry),
                        _ => runs.push(Run::Append(vec![entry])),
                    }
                }
            }
        }
    }

    /// Takes the next batch for the bus alone.
    pub(super) fn take_publishes(&mut self, now: u64) -> Vec<Run> {
        let batch = self.publishes.take(now);
        if batch.is_empty() { Vec::new() } else { vec![Run::Publish(batch)] }
    }

    /// Takes the next batch for the store alone.
    pub(super) fn take_appends(&mut self) -> Vec<Run> {
        let batch = self.appends.take();
        if batch.is_empty() { Vec::new() } else { vec![Run::Append(batch)] }
    }
}

enum Next {
    Publish(QueuedPublish),
    Append(QueuedAppend),
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::collections::HashSet;

    use pondsocket_proto::channel::AppendedMessage;
    use pondsocket_proto::cluster::ChannelKey;
    use pondsocket_proto::cluster::message::{Target, UserMessage};
    use pondsocket_proto::id::ChannelName;
    use pondsocket_proto::wire::Object;

    use super::super::queue::PublishKind;
    use super::*;
    use crate::cluster::Publish;

    /// Queues a message for each letter: a capital is kept, and another one is for the bus; `+` is one of the cluster.
    fn send(outgoing: &mut Outgoing, letters: &str) {
        for letter in letters.chars() {
            if letter.is_uppercase() {
                let channel = ChannelName::new("/c", 8).expect("valid");
                let key = ChannelKey { endpoint: "e".into(), channel };
                let (event, payload) = (letter.to_string(), Object::encode(&()).expect("JSON"));
                let (request_id, to, position) = (String::new(), Target::All, None);
                let message = UserMessage { from: "a".into(), event, payload, request_id, to, position };
                outgoing.append(QueuedAppend::new(key, 1, AppendedMessage { number: 1, message }, 0));
            } else {
                let kind = if letter == '+' { PublishKind::State } else { PublishKind::Message };
                let publish = Publish::new("t", letter.to_string());
                outgoing.publish(QueuedPublish { publish, kind, at: 0, unsigned: None, order: 0 });
            }
        }
    }

    fn up(letters: &str) -> Outgoing {
        let mut outgoing = Outgoing::default();
        outgoing.publishes.set_up(true);
        send(&mut outgoing, letters);
        outgoing
    }

    fn letters(runs: &[Run]) -> Vec<String> {
        let of = |run: &Run| match run {
            Run::Publish(run) => {
                run.iter().map(|entry| str::from_utf8(&entry.publish.data).expect("text")).collect::<String>()
            }
            Run::Append(run) => run.iter().map(QueuedAppend::event).collect(),
        };
        runs.iter().map(of).collect()
    }

    fn all(outgoing: &mut Outgoing) -> Vec<String> {
        letters(&outgoing.take(0))
    }

    #[test]
    fn both_kinds_are_taken_in_one_order() {
        let mut outgoing = up("aB+CDe");
        assert_eq!(all(&mut outgoing), ["a", "B", "+", "CD", "e"]);
        assert!(all(&mut outgoing).is_empty());
    }

    #[test]
    fn what_was_not_sent_comes_again_in_its_place() {
        let mut outgoing = up("aBcD");
        let runs = outgoing.take(0);
        send(&mut outgoing, "eF");
        let (mut publishes, mut appends) = (Vec::new(), Vec::new());
        for run in runs {
            match run {
                Run::Publish(run) => publishes.extend(run),
                Run::Append(run) => appends.extend(run),
            }
        }
        outgoing.publishes.give_back(publishes.split_off(1));
        outgoing.appends.give_back(appends);
        assert_eq!(all(&mut outgoing), ["B", "c", "D", "e", "F"]);
    }

    #[test]
    fn while_the_bus_is_down_kept_messages_alone_are_taken_and_the_others_wait() {
        let mut outgoing = up("aB");
        outgoing.publishes.set_up(false);
        send(&mut outgoing, "+cD");
        assert_eq!(all(&mut outgoing), ["BD"]);
        send(&mut outgoing, "E");
        outgoing.publishes.set_up(true);
        assert_eq!(all(&mut outgoing), ["ac", "E"]);
    }

    #[test]
    fn one_kind_alone_is_taken_while_the_other_one_pauses() {
        let mut outgoing = up("aBcD");
        assert_eq!(letters(&outgoing.take_publishes(0)), ["ac"]);
        assert!(outgoing.take_publishes(0).is_empty());
        assert_eq!(letters(&outgoing.take_appends()), ["BD"]);
        assert!(outgoing.take_appends().is_empty());
    }

    #[test]
    fn a_full_batch_of_one_kind_ends_where_the_next_one_goes_on() {
        let many = |letter: &str| letter.repeat(queue::BATCH_MESSAGES);
        let mut outgoing = up(&format!("A{}bC", many("b")));
        assert_eq!(all(&mut outgoing), ["A".to_owned(), many("b")]);
        assert_eq!(all(&mut outgoing), ["b", "C"]);
        let mut outgoing = up(&format!("a{}Bc", "B".repeat(AppendQueue::BATCH)));
        assert_eq!(all(&mut outgoing), ["a".to_owned(), "B".repeat(AppendQueue::BATCH)]);
        assert_eq!(all(&mut outgoing), ["B", "c"]);
    }

    #[test]
    fn kept_messages_of_a_channel_are_dropped_and_all_else_stays() {
        let mut outgoing = up("aBc");
        outgoing.appends.drop_channels(&HashSet::from([2]));
        assert_eq!(outgoing.appends.queued_until(0).count(), 1, "that of another instance");
        outgoing.appends.drop_channels(&HashSet::from([1, 2]));
        assert_eq!((all(&mut outgoing), outgoing.appends.oldest()), (vec!["ac".to_owned()], None));
    }
}
