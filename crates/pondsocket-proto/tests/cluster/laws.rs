//! Merging the messages of a node gives the same users in any order, and when some are received again.

use pondsocket_proto::cluster::replication::{At, Entry, Record, Users};
use pondsocket_proto::id::UserId;
use pondsocket_proto::model::{Assigns, MemberChange};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{assigns, object, user};

/// A change as its owner publishes it, and all users after it.
#[derive(Clone, Debug)]
struct Step {
    incarnation: u64,
    span: (u64, u64),
    change: MemberChange,
    /// The time of the change.
    at: u64,
    after: Users,
}

impl Step {
    fn version(&self) -> At {
        At { incarnation: self.incarnation, version: self.span.1 }
    }
}

/// A message about a step: the change, or a snapshot of all users.
#[derive(Clone, Debug)]
struct ReceivedStep {
    step: Index,
    whole: bool,
}

fn change() -> impl Strategy<Value = MemberChange> {
    let who = || (0..3_usize).prop_map(|n| user(["ada", "bob", "eve"][n]));
    let all = |n: u8| assigns(&[("n", &n.to_string())]);
    prop_oneof![
        3 => who().prop_map(joined),
        2 => who().prop_map(|user| MemberChange::Left { user }),
        1 => (who(), any::<bool>()).prop_map(|(user, on)| {
            MemberChange::Presence { user, presence: on.then(|| object("{}")) }
        }),
        1 => (who(), any::<u8>()).prop_map(move |(user, n)| {
            MemberChange::Assigns { user, assigns: all(n), key: None }
        }),
    ]
}

fn joined(user: UserId) -> MemberChange {
    MemberChange::Joined { user, assigns: Assigns::default() }
}

/// All changes of an owner in two incarnations, of which the second begins without users.
fn history() -> impl Strategy<Value = Vec<Step>> {
    vec((change(), 0..100_u64, prop::bool::weighted(0.05)), 0..30).prop_map(move |mut changes| {
        changes.insert(0, (joined(user("ada")), 1, false));
        let (mut users, mut incarnation, mut version) = (Users::new(), 1, 7);
        let mut steps = Vec::new();
        for (change, at, reborn) in changes {
            if reborn {
                (users, incarnation, version) = (Users::new(), incarnation + 1, 3);
            }
            if !matches!(change, MemberChange::Joined { .. }) && !users.contains_key(change.user()) {
                continue;
            }
            let before = if users.is_empty() { 0 } else { version };
            version += 1;
            apply(&mut users, change.clone(), at);
            steps.push(Step { incarnation, span: (before, version), change, at, after: users.clone() });
        }
        steps
    })
}

fn apply(users: &mut Users, change: MemberChange, at: u64) {
    match change {
        MemberChange::Joined { user, assigns } => {
            drop(users.insert(user, Entry { assigns, presence: None, joined: at }))
        }
        MemberChange::Left { user } => drop(users.remove(&user)),
        MemberChange::Presence { user, presence } => users.get_mut(&user).expect("there").presence = presence,
        MemberChange::Assigns { user, assigns, .. } => users.get_mut(&user).expect("there").assigns = assigns,
    }
}

fn heard(most: usize) -> impl Strategy<Value = Vec<ReceivedStep>> {
    let one = (any::<Index>(), prop::bool::weighted(0.2)).prop_map(|(step, whole)| ReceivedStep { step, whole });
    vec(one, 0..most)
}

fn merge(record: &mut Record, step: &Step, whole: bool) -> Vec<UserId> {
    if whole {
        record.snapshot(step.version(), step.after.clone())
    } else {
        record.delta(step.incarnation, step.span, step.change.clone(), step.at)
    }
}

fn users(record: &Record) -> Users {
    record.iter().map(|(user, entry)| (user.clone(), entry.clone())).collect()
}

proptest! {
    #[test]
    fn changes_in_order_lead_to_the_users_of_the_owner(steps in history()) {
        let mut record = Record::default();
        for step in &steps {
            merge(&mut record, step, false);
            prop_assert!(!record.is_behind());
            prop_assert_eq!(users(&record), step.after.clone());
        }
    }

    #[test]
    fn after_any_messages_the_last_snapshot_leads_to_the_users_of_the_owner(steps in history(), heard in heard(40)) {
        let last = steps.last().expect("never empty");
        let mut record = Record::default();
        for ReceivedStep { step, whole } in heard {
            merge(&mut record, step.get(&steps), whole);
        }
        record.expect(last.version());
        let was_known = record.known_at() == Some(last.version());
        prop_assert_eq!(record.is_behind(), !was_known);
        record.snapshot(last.version(), last.after.clone());
        prop_assert!(!record.is_behind());
        prop_assert_eq!(users(&record), last.after.clone());
    }

    #[test]
    fn a_record_is_always_an_earlier_state_of_the_owner_and_never_goes_back(steps in history(), heard in heard(60)) {
        let mut record = Record::default();
        for ReceivedStep { step, whole } in heard {
            let before = (record.at(), users(&record));
            let changed = merge(&mut record, step.get(&steps), whole);
            prop_assert!(record.at() >= before.0);
            if let Some(at) = record.known_at() {
                let then = steps.iter().find(|step| step.version() == at).expect("the owner was there");
                prop_assert_eq!(users(&record), then.after.clone());
            }
            let after = users(&record);
            for name in ["ada", "bob", "eve"].map(user) {
                let differs = before.1.get(&name) != after.get(&name);
                prop_assert!(!differs || changed.contains(&name), "{} changed and was not returned", name);
            }
        }
    }

    #[test]
    fn snapshots_merge_in_any_order_and_any_number_of_times(
        (steps, order) in history().prop_flat_map(|steps| {
            let order = Just((0..steps.len()).chain(0..steps.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(steps), order)
        })
    ) {
        let mut shuffled = Record::default();
        order.iter().for_each(|n| drop(merge(&mut shuffled, &steps[*n], true)));
        let mut sorted = Record::default();
        steps.iter().for_each(|step| drop(merge(&mut sorted, step, true)));
        prop_assert_eq!(shuffled, sorted);
    }
}
