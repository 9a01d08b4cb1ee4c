//! The replica of one node's users in one channel, and the merging of messages about them (docs/cluster.md, State that
//! converges).
//!
//! Only the owner changes its users, and it numbers the changes. So the pair of incarnation and version orders all
//! messages of an owner, and merging takes the larger pair: the same messages lead to the same record, in any order and
//! any number of times.

use super::digest;
use super::users::{Entry, Users, apply};
use crate::id::UserId;
use crate::model::MemberChange;

/// The position of an owner: its incarnation, and the number of changes that it has made in the channel. The order of
/// the fields is the order of positions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct At {
    /// The incarnation of the owner.
    pub incarnation: u64,
    /// The number of changes; 0 is before all of them.
    pub version: u64,
}

/// The outcome of comparing a digest with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Check {
    /// The record is as new as the digest, or newer, and agrees with it.
    Passed,
    /// Changes are missing: the owner has to be queried.
    Behind,
    /// The users differ at the same version, which must not happen: the owner has to be queried.
    Diverged,
}

/// The replica of one node's users in one channel.
///
/// ```text
///             snapshot, first change                      snapshot
///  UNKNOWN ---------------------------> KNOWN <----------------------- DOUBTFUL
///     ^                                   |  digest of the same version   ^
///     +-----------------------------------+  with other users; a silent   |
///        another incarnation              |  sweep; expired users         |
///                                         +-------------------------------+
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    at: At,
    /// The newest version of this incarnation that a message has mentioned. If it is larger than that of `at`, changes
    /// are missing.
    heard: u64,
    content: Content,
    /// True if a message of the owner about the channel has arrived since the last sweep.
    fresh: bool,
    /// True if fewer users or values are kept than the owner has sent, because they exceeded a limit.
    is_cut: bool,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Content {
    /// The users are not known. Only the position is: older messages are ignored.
    #[default]
    Unknown,
    /// All users at this position.
    Known(Users),
    /// The last known users. They are shown until the owner, which has to be queried, has answered.
    Doubtful(Users),
}

impl Record {
    /// Creates a record of which only the position is known, as a tombstone keeps it.
    pub fn remembered(at: At) -> Record {
        Record { at, heard: at.version, content: Content::Unknown, fresh: false, is_cut: false }
    }

    /// The position of the owner to which the known users belong.
    pub fn at(&self) -> At {
        self.at
    }

    /// The position of the owner to which the known users belong, if they are known for certain.
    pub fn known_at(&self) -> Option<At> {
        matches!(self.content, Content::Known(_)).then_some(self.at)
    }

    /// Returns whether the owner has to be queried, because changes are missing or users are doubtful.
    pub fn is_behind(&self) -> bool {
        self.heard > self.at.version || matches!(self.content, Content::Doubtful(_))
    }

    /// A user, if it is known.
    pub fn get(&self, user: &UserId) -> Option<&Entry> {
        self.users()?.get(user)
    }

    /// The number of users that are known.
    pub fn len(&self) -> usize {
        self.users().map_or(0, Users::len)
    }

    /// Returns whether no user is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that less is kept than the owner has just sent. Its digest cannot match then, and is not compared.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// All users that are known.
    pub fn iter(&self) -> impl Iterator<Item = (&UserId, &Entry)> {
        self.users().into_iter().flatten()
    }

    fn users(&self) -> Option<&Users> {
        match &self.content {
            Content::Unknown => None,
            Content::Known(users) | Content::Doubtful(users) => Some(users),
        }
    }

    /// Merges a snapshot: all users at `at`. A user that is not in it has left. Returns the users that this changes.
    pub fn snapshot(&mut self, at: At, users: Users) -> Vec<UserId> {
        self.fresh |= at >= self.at;
        // A snapshot of the same position brings nothing new to a known record, but settles a doubtful or unknown one.
        let wanted = at == self.at && !matches!(self.content, Content::Known(_));
        if at <= self.at && !wanted {
            return Vec::new();
        }
        self.move_to(at);
        let old = self.take();
        let mut changed: Vec<_> = old.keys().filter(|user| !users.contains_key(*user)).cloned().collect();
        changed
            .extend(users.iter().filter(|(user, entry)| old.get(*user) != Some(*entry)).map(|(user, _)| user.clone()));
        self.content = Content::Known(users);
        self.is_cut = false;
        changed
    }

    /// Merges a change, with the versions of the owner before and after it; 0 before means that the channel was empty.
    /// If earlier changes are missing, the change is not applied and the record [is behind](Record::is_behind), except
    /// that a later incarnation of the owner ends the users of the earlier one. `joined` is the time of a join. Returns
    /// the users that this changes.
    pub fn delta(
        &mut self,
        incarnation: u64,
        (before, after): (u64, u64),
        change: MemberChange,
        joined: u64,
    ) -> Vec<UserId> {
        let at = At { incarnation, version: after };
        // The first change of an empty channel is the whole state, so it needs nothing that was before it.
        if before == 0 {
            let mut users = Users::new();
            apply(&mut users, change, joined);
            return self.snapshot(at, users);
        }
        // Repeated or late: the record includes it already.
        if at <= self.at {
            return Vec::new();
        }
        let follows = (At { incarnation, version: before }) == self.at;
        match &mut self.content {
            Content::Known(users) | Content::Doubtful(users) if follows => {
                let user = change.user().clone();
                apply(users, change, joined);
                self.fresh = true;
                self.move_to(at);
                vec![user]
            }
            // A gap, or nothing to apply the change to: only the version is noted, and the owner is queried.
            _ => self.note_version(at),
        }
    }

    /// Notes that the owner has reached `at`. Returns the users of an earlier incarnation, which are gone.
    pub fn note_version(&mut self, at: At) -> Vec<UserId> {
        self.fresh |= at >= self.at;
        let ended = self.supersede(at.incarnation);
        if at.incarnation == self.at.incarnation {
            self.heard = self.heard.max(at.version);
        }
        ended
    }

    /// Replaces an earlier incarnation of the owner. A later or equal one is kept. Returns the users of the replaced
    /// one.
    pub fn supersede(&mut self, incarnation: u64) -> Vec<UserId> {
        if incarnation <= self.at.incarnation {
            return Vec::new();
        }
        self.move_to(At { incarnation, version: 0 });
        self.take().into_keys().collect()
    }

    /// Replaces any other incarnation of the owner, also a later one: the caller knows that it is not valid. Returns
    /// the users of the replaced one, which are gone.
    pub fn begin(&mut self, incarnation: u64) -> Vec<UserId> {
        if incarnation == self.at.incarnation {
            return Vec::new();
        }
        self.move_to(At { incarnation, version: 0 });
        self.take().into_keys().collect()
    }

    /// Notes that the owner reports to be at `at`. If the record is not, the owner has to be queried. Returns the users
    /// of an earlier incarnation, which are gone.
    pub fn expect(&mut self, at: At) -> Vec<UserId> {
        if at < self.at {
            return Vec::new();
        }
        let ended = self.note_version(at);
        // An unknown record at this very version is not behind by number: doubt makes it so, and the owner is queried.
        if self.known_at() != Some(at)
            && let Content::Unknown = self.content
        {
            self.content = Content::Doubtful(Users::new());
        }
        ended
    }

    /// Compares the record with the digest of the owner's users at `at`.
    pub fn check(&mut self, at: At, hash: u64) -> Check {
        match &self.content {
            Content::Known(users) if at == self.at && !self.is_cut && digest::of_users(users) != hash => {
                self.content = Content::Doubtful(self.take());
                Check::Diverged
            }
            // At another position, or with a cut record, the hashes are not comparable.
            _ => {
                self.expect(at);
                if self.is_behind() { Check::Behind } else { Check::Passed }
            }
        }
    }

    /// Makes the users doubtful, if no message of their owner about the channel has arrived since the last call. An
    /// owner that still has users publishes a digest in each sweep.
    pub fn doubt_if_silent(&mut self) {
        // A cut record is queried in each sweep: there may be room by now for what was left out.
        let is_fresh = std::mem::take(&mut self.fresh) && !self.is_cut;
        if let (false, Content::Known(users)) = (is_fresh, &mut self.content)
            && !users.is_empty()
        {
            self.content = Content::Doubtful(std::mem::take(users));
        }
    }

    /// Drops all users, because the owner has been dead for long. They are requested if it comes back.
    pub fn expire(&mut self) -> Vec<UserId> {
        let users = self.take();
        self.content = Content::Doubtful(Users::new());
        users.into_keys().collect()
    }

    fn move_to(&mut self, at: At) {
        // Versions of two incarnations are not comparable.
        let same_life = at.incarnation == self.at.incarnation;
        self.heard = if same_life { self.heard.max(at.version) } else { at.version };
        self.at = at;
    }

    fn take(&mut self) -> Users {
        match std::mem::take(&mut self.content) {
            Content::Unknown => Users::new(),
            Content::Known(users) | Content::Doubtful(users) => users,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::{entry, object, user, users};
    use super::*;
    use crate::model::Assigns;
    use crate::wire::Json;

    fn at(incarnation: u64, version: u64) -> At {
        At { incarnation, version }
    }

    fn joined(name: &str) -> MemberChange {
        MemberChange::Joined { user: user(name), assigns: Assigns::default() }
    }

    fn left(name: &str) -> MemberChange {
        MemberChange::Left { user: user(name) }
    }

    fn names(record: &Record) -> Vec<&str> {
        record.iter().map(|(user, _)| user.as_str()).collect()
    }

    #[test]
    fn changes_in_order_are_applied_and_return_the_changed_users() {
        let mut record = Record::default();
        assert_eq!(record.delta(1, (0, 5), joined("ada"), 1), [user("ada")]);
        assert_eq!(record.delta(1, (5, 6), joined("bob"), 1), [user("bob")]);
        assert_eq!(
            record.delta(1, (6, 7), MemberChange::Presence { user: user("bob"), presence: Some(object("{}")) }, 1),
            [user("bob")]
        );
        let mut assigns = Assigns::default();
        assigns.set("k", &Json::from_raw("1").expect("JSON"));
        let set = MemberChange::Assigns { user: user("bob"), assigns: assigns.clone(), key: None };
        assert_eq!(record.delta(1, (7, 8), set.clone(), 1), [user("bob")]);
        assert_eq!(record.delta(1, (8, 9), left("ada"), 1), [user("ada")]);
        let bob = Entry { assigns, presence: Some(object("{}")), joined: 1 };
        assert_eq!(record.iter().collect::<Vec<_>>(), [(&user("bob"), &bob)]);
        assert_eq!((record.at(), record.is_behind()), (at(1, 9), false));
    }

    #[test]
    fn older_and_equal_positions_change_nothing() {
        let mut record = Record::default();
        record.snapshot(at(2, 5), users([("ada", entry(1, None))]));
        let before = record.clone();
        assert!(record.delta(2, (4, 5), joined("bob"), 1).is_empty());
        assert!(record.delta(2, (0, 5), joined("bob"), 1).is_empty());
        assert!(record.delta(1, (0, 9), joined("bob"), 1).is_empty());
        assert!(record.snapshot(at(2, 5), users([])).is_empty());
        assert!(record.snapshot(at(1, 9), users([])).is_empty());
        assert!(record.supersede(1).is_empty());
        assert_eq!(record, before);
    }

    #[test]
    fn behind_a_gap_the_owner_is_queried_and_a_snapshot_repairs() {
        let mut record = Record::default();
        record.delta(1, (0, 5), joined("ada"), 1);
        assert!(record.delta(1, (6, 7), joined("eve"), 1).is_empty());
        assert!(record.is_behind());
        assert_eq!(names(&record), ["ada"]);
        record.snapshot(at(1, 6), users([("bob", entry(1, None))]));
        assert!(record.is_behind(), "version 7 was mentioned");
        assert_eq!(record.snapshot(at(1, 7), users([("eve", entry(1, None))])), [user("bob"), user("eve")]);
        assert!(!record.is_behind());
    }

    #[test]
    fn the_missing_change_repairs_up_to_its_own_version() {
        let mut record = Record::default();
        record.delta(1, (0, 5), joined("ada"), 1);
        record.delta(1, (6, 7), joined("eve"), 1);
        record.delta(1, (5, 6), joined("bob"), 1);
        assert!(record.is_behind());
        record.delta(1, (6, 7), joined("eve"), 1);
        assert!(!record.is_behind());
        assert_eq!(names(&record), ["ada", "bob", "eve"]);
    }

    #[test]
    fn the_first_change_of_an_empty_channel_replaces_all_users() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        assert_eq!(record.delta(1, (0, 9), joined("bob"), 1), [user("ada"), user("bob")]);
        assert_eq!(names(&record), ["bob"]);
    }

    #[test]
    fn the_first_message_of_a_later_incarnation_ends_the_users_of_the_earlier_one() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        assert_eq!(record.delta(2, (3, 4), joined("bob"), 1), [user("ada")]);
        assert!(record.is_behind() && names(&record).is_empty());
        assert!(record.snapshot(at(1, 6), users([("ada", entry(1, None))])).is_empty());
        assert_eq!(record.snapshot(at(2, 4), users([("bob", entry(1, None))])), [user("bob")]);
    }

    #[test]
    fn a_remembered_record_accepts_the_same_position_but_no_older_one() {
        let mut record = Record::remembered(at(1, 5));
        assert!(!record.is_behind());
        assert_eq!(record.known_at(), None);
        assert!(record.snapshot(at(1, 4), users([("eve", entry(1, None))])).is_empty());
        assert_eq!(record.snapshot(at(1, 5), users([("ada", entry(1, None))])), [user("ada")]);
        assert_eq!(record.known_at(), Some(at(1, 5)));
    }

    #[test]
    fn an_owner_whose_users_have_expired_is_queried_again() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        assert_eq!(record.expire(), [user("ada")]);
        assert!(names(&record).is_empty() && record.is_behind());
        assert!(record.snapshot(at(1, 4), users([("eve", entry(1, None))])).is_empty());
        assert_eq!(record.snapshot(at(1, 5), users([("ada", entry(1, None))])), [user("ada")]);
    }

    #[test]
    fn a_digest_detects_missing_changes_and_divergence() {
        let right = users([("ada", entry(1, None))]);
        let hash = digest::of_users(&right);
        let mut record = Record::default();
        assert_eq!(record.check(at(1, 5), hash), Check::Behind);
        assert!(record.is_behind());
        record.snapshot(at(1, 5), right.clone());
        assert_eq!(record.check(at(1, 5), hash), Check::Passed);
        assert_eq!(record.check(at(1, 4), hash + 1), Check::Passed);
        assert_eq!(record.check(at(1, 5), hash + 1), Check::Diverged);
        assert!(record.is_behind());
        assert_eq!(names(&record), ["ada"], "shown until the owner has answered");
        assert_eq!(record.check(at(1, 4), hash + 1), Check::Behind);
        assert_eq!(record.snapshot(at(1, 5), users([])), [user("ada")]);
        assert!(!record.is_behind());
        assert_eq!(record.check(at(1, 6), hash), Check::Behind);
    }

    #[test]
    fn users_of_an_owner_that_is_silent_for_a_sweep_become_doubtful() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        record.doubt_if_silent();
        assert!(!record.is_behind(), "a message has arrived since the last sweep");
        record.expect(at(1, 5));
        record.doubt_if_silent();
        assert!(!record.is_behind());
        record.doubt_if_silent();
        assert!(record.is_behind());
        assert_eq!(names(&record), ["ada"]);
        record.snapshot(at(1, 5), users([]));
        record.doubt_if_silent();
        record.doubt_if_silent();
        assert!(!record.is_behind(), "an owner without users publishes no digests");
    }

    #[test]
    fn a_digest_makes_a_remembered_record_query_its_owner() {
        let mut record = Record::remembered(at(1, 5));
        assert_eq!(record.check(at(1, 5), 7), Check::Behind);
        assert!(record.is_behind());
        record.snapshot(at(1, 5), users([]));
        assert!(!record.is_behind());
    }
}
