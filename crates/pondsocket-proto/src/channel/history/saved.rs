use std::sync::Arc;

use super::ring::RemovedUsers;
use super::{Exclusion, GapReason, HistoryRules, KeptMessage, Ring};
use crate::channel::DeliveryPolicy;
use crate::id::UserId;
use crate::position::Position;

/// The history of a channel beyond the life of its server. Times are relative, in milliseconds, because each server has a
/// clock of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedRing {
    /// The position before the first message.
    pub before: Position,
    /// The messages that are kept, the oldest first. Their offsets are contiguous.
    pub messages: Vec<SavedMessage>,
    /// The reason for which the newest of the removed messages was removed.
    pub removed_for: GapReason,
    /// The key under which payloads carry positions.
    pub stamp: Option<Box<str>>,
    /// The users that were removed from the channel, each with the last offset from which it does not resume.
    pub removed: Vec<(UserId, u64)>,
    /// The time since a message was last appended or replayed.
    pub unused_for: u64,
    /// The time for which the history is kept although it may be empty.
    pub lingers_for: u64,
}

/// A message of a saved history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedMessage {
    /// The text as it was sent.
    pub text: Box<str>,
    /// The time since it was sent.
    pub age: u64,
    /// The user that does not get it.
    pub except: Option<UserId>,
}

impl Ring {
    /// A copy of the history for another server. A connection that a message leaves out becomes its user: on another server
    /// the connection is none that is in the channel.
    pub fn save(&self) -> SavedRing {
        let age = |at| self.now.saturating_sub(at);
        let message = |entry: &KeptMessage| {
            let mut text = Vec::with_capacity(entry.length());
            self.write(entry, &mut text);
            let except = entry.excluded.as_deref().map(|excluded| match excluded {
                Exclusion::User(user) | Exclusion::Connection(user, ..) => user.clone(),
            });
            SavedMessage { text: String::from_utf8_lossy(&text).into(), age: age(entry.at()), except }
        };
        SavedRing {
            before: Position { epoch: self.epoch, offset: self.first - 1 },
            messages: self.entries.iter().map(message).collect(),
            removed_for: self.removed_for,
            stamp: self.rules().stamp.clone(),
            removed: self.removed.save(self.epoch),
            unused_for: age(self.used_at),
            lingers_for: self.lingers_until.saturating_sub(self.now),
        }
    }

    /// The history that was saved `ago` milliseconds ago, as of `now`, under these rules: what they do not allow is removed.
    /// `policy` is the policy of a message with this text. `None` if the history cannot go on: its offsets are used up, or
    /// its messages carry their positions under another key, so that clients would not know the positions.
    pub fn restore(
        rules: Arc<HistoryRules>,
        saved: SavedRing,
        now: u64,
        ago: u64,
        policy: impl Fn(&str) -> DeliveryPolicy,
    ) -> Option<Ring> {
        let SavedRing { before, messages, removed_for, stamp, removed, unused_for, lingers_for } = saved;
        let is_used_up = before.offset.saturating_add(messages.len() as u64) >= u64::MAX / 2;
        if is_used_up || stamp != rules.stamp {
            return None;
        }
        let mut ring = Ring::new(rules, before.epoch);
        (ring.first, ring.removed_for) = (before.offset + 1, removed_for);
        ring.removed = RemovedUsers::restore(before.epoch, removed);
        let at = |age: u64| now.saturating_sub(age.saturating_add(ago));
        for SavedMessage { text, age, except } in messages {
            // Each is appended at its own time. Time does not go back.
            ring.now = ring.now.max(at(age));
            ring.append(text.as_bytes(), policy(&text), except.map(Exclusion::User), 0);
        }
        ring.advance(now);
        (ring.used_at, ring.lingers_until) = (at(unused_for), now.saturating_add(lingers_for.saturating_sub(ago)));
        Some(ring)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::channel::Slot;
    use crate::id::ConnectionId;
    use crate::position::Epoch;

    fn rules(messages: usize, ttl: u64, stamp: Option<&str>) -> Arc<HistoryRules> {
        Arc::new(HistoryRules { ttl, stamp: stamp.map(Into::into), ..HistoryRules::of(messages, 100) })
    }

    fn restore(rules: Arc<HistoryRules>, saved: SavedRing, now: u64, ago: u64) -> Option<Ring> {
        Ring::restore(rules, saved, now, ago, |_| DeliveryPolicy::BROADCAST)
    }

    fn texts(ring: &Ring) -> Vec<String> {
        ring.last(usize::MAX).into_iter().map(|text| String::from_utf8(text).expect("text")).collect()
    }

    proptest! {
        /// A history that goes on under another clock accepts the same positions as one that has only waited, and gives the
        /// next message the same one.
        #[test]
        fn a_restored_history_is_one_that_has_waited(
            steps in prop::collection::vec((0..40usize, 0..400u64), 0..40),
            (ago, begin) in (0..2000u64, 100_000..200_000u64),
        ) {
            let rules = rules(8, 1000, None);
            let mut ring = Ring::new(Arc::clone(&rules), Epoch::new(7));
            let mut now = 5;
            for (length, pause) in steps {
                now += pause;
                ring.advance(now);
                ring.append("x".repeat(length).as_bytes(), DeliveryPolicy::BROADCAST, None, 0);
            }
            ring.advance(now);
            ring.linger();
            let mut restored = restore(rules, ring.save(), begin, ago).expect("it goes on");
            ring.advance(now + ago);
            for pause in [0, 300, 800] {
                ring.advance(now + ago + pause);
                restored.advance(begin + pause);
                prop_assert_eq!(texts(&restored), texts(&ring));
                prop_assert_eq!((restored.next(), restored.is_needed()), (ring.next(), ring.is_needed()));
                for offset in 0..ring.position().offset + 2 {
                    let position = Position { epoch: Epoch::new(7), offset };
                    prop_assert_eq!(restored.resume(position), ring.resume(position), "{}", offset);
                }
            }
        }

        /// Whatever a file says, a history takes no more than its rules allow.
        #[test]
        fn no_saved_history_exceeds_the_rules(
            (offset, ages) in (any::<u64>(), prop::collection::vec((any::<u64>(), 0..60usize), 0..20)),
            (unused_for, lingers_for, ago) in (any::<u64>(), any::<u64>(), any::<u64>()),
        ) {
            let message = |(age, length)| SavedMessage { text: "x".repeat(length).into(), age, except: None };
            let saved = SavedRing {
                before: Position { epoch: Epoch::new(7), offset },
                messages: ages.into_iter().map(message).collect(),
                removed_for: GapReason::Expired,
                stamp: None,
                removed: Vec::new(),
                unused_for,
                lingers_for,
            };
            if let Some(ring) = restore(rules(8, 1000, None), saved, 5000, ago) {
                prop_assert!(ring.len() <= 8 && texts(&ring).concat().len() <= 100);
            }
        }
    }

    fn saved(count: u64) -> SavedRing {
        let mut ring = Ring::new(rules(8, 1000, Some("_pos")), Epoch::new(7));
        for n in 0..count {
            ring.advance(n * 100);
            ring.append(n.to_string().as_bytes(), DeliveryPolicy::BROADCAST, None, 0);
        }
        ring.save()
    }

    #[test]
    fn other_rules_apply_from_the_restart_on() {
        let ring = restore(rules(2, 1000, Some("_pos")), saved(5), 9000, 0).expect("it goes on");
        assert_eq!((texts(&ring), ring.position().offset), (vec!["3".to_owned(), "4".to_owned()], 5));
        let position = |offset| Position { epoch: Epoch::new(7), offset };
        assert_eq!(ring.resume(position(2)), Err(GapReason::Trimmed));
        let ring = restore(rules(8, 250, Some("_pos")), saved(5), 9000, 50).expect("it goes on");
        assert_eq!((texts(&ring).len(), ring.resume(position(2))), (2, Err(GapReason::Expired)));
        assert!(restore(rules(8, 1000, Some("_p")), saved(5), 9000, 0).is_none(), "another stamp");
    }

    #[test]
    fn a_connection_that_was_left_out_becomes_its_user() {
        let mut ring = Ring::new(rules(8, 1000, None), Epoch::new(7));
        let user = UserId::new("ada").expect("valid");
        let connection = Exclusion::Connection(user.clone(), Slot(0), ConnectionId::from_u128(1));
        ring.append(b"a", DeliveryPolicy::BROADCAST, Some(connection), 0);
        assert_eq!(ring.save().messages[0].except, Some(user));
    }
}
