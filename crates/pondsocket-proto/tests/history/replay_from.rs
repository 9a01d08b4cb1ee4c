//! Joins whose handler sends a snapshot, and has what was sent since its position replayed.

use pondsocket_proto::channel::{DeliveryPolicy, GapReason, HistoryRules, LocalTarget, Recovery, Step};
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::Resume;

use super::world::{HistoryWorld, at, rules};

fn with_messages(rules: HistoryRules, count: usize) -> HistoryWorld {
    let mut world = HistoryWorld::with_rules(rules);
    (0..count).for_each(|_| assert!(world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST).is_some()));
    world
}

/// Joins with a replay from a position. Returns the outcome, the payload of the acknowledgement, and the offsets that follow.
fn join(world: &mut HistoryWorld, resume: Option<Resume>, from: Option<Position>) -> (Recovery, String, Vec<u64>) {
    let recovery = world.join(0, resume, vec![Step::ReplayFrom(from)]);
    world.deliver();
    let offsets = world.positions(0).iter().map(|position| position.offset).collect();
    world.leave(0);
    world.deliver();
    world.received[0].clear();
    (recovery, world.acknowledgements[0].clone(), offsets)
}

#[test]
fn a_client_is_told_that_it_begins_anew_where_a_snapshot_takes_the_place_of_what_it_missed() {
    let mut world = with_messages(rules(), 50);
    let anew = |replayed: usize| match replayed {
        0 => r#"{"position":"000001.50","recovered":false}"#.to_owned(),
        _ => format!(r#"{{"position":"000001.50","recovered":false,"replayed":{replayed}}}"#),
    };
    // The snapshot is newer than the client, as old, and older.
    for (resume, from) in [(49, 50), (48, 48), (50, 48), (0, 50)] {
        let (recovery, acknowledgement, offsets) = join(&mut world, Some(Resume::From(at(resume))), Some(at(from)));
        let expected: Vec<_> = (from + 1..=50).collect();
        assert_eq!((recovery, acknowledgement), (Recovery::New, anew(expected.len())), "{resume}, {from}");
        assert_eq!(offsets, expected, "{resume}, {from}");
    }
    assert_eq!(join(&mut world, Some(Resume::From(at(49))), None).1, anew(50));
    assert_eq!(join(&mut world, Some(Resume::FromNothing), Some(at(48))).1, anew(2));
    assert_eq!(join(&mut world, None, Some(at(49))), (Recovery::New, "{}".to_owned(), vec![50]));
}

#[test]
fn a_client_that_cannot_resume_is_told_why_also_if_a_snapshot_comes() {
    let mut world = with_messages(HistoryRules { messages: 3, ..rules() }, 5);
    let gap = r#"{"position":"000001.5","recovered":false,"gap":"trimmed","replayed":1}"#.to_owned();
    let trimmed = Recovery::Gap(GapReason::Trimmed);
    assert_eq!(join(&mut world, Some(Resume::From(at(1))), Some(at(4))), (trimmed, gap, vec![5]));
}

#[test]
fn a_snapshot_whose_position_is_not_kept_any_more_is_a_gap() {
    let mut world = with_messages(HistoryRules { messages: 3, ..rules() }, 5);
    let elsewhere = Position { epoch: Epoch::new(9), offset: 4 };
    for (from, reason) in [(at(1), GapReason::Trimmed), (at(6), GapReason::Ahead), (elsewhere, GapReason::Epoch)] {
        let told = format!(r#"{{"position":"000001.5","recovered":false,"gap":"{reason}","replayed":3}}"#);
        let gap = Recovery::Gap(reason);
        for resume in [Resume::From(at(4)), Resume::FromNothing] {
            let joined = join(&mut world, Some(resume), Some(from));
            assert_eq!(joined, (gap, told.clone(), vec![3, 4, 5]), "{resume:?}");
        }
        assert_eq!(join(&mut world, None, Some(from)), (gap, "{}".to_owned(), vec![3, 4, 5]));
    }
}

#[test]
fn a_snapshot_is_followed_by_more_than_a_client_that_resumes_may_get() {
    let mut world = with_messages(HistoryRules { replay_messages: 2, replay_bytes: 1, ..rules() }, 5);
    assert_eq!(join(&mut world, None, Some(at(1))).2, [2, 3, 4, 5]);
}
