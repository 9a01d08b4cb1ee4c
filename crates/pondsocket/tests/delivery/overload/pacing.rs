//! The bounded waits for members that do not read, with the clock paused.

use std::time::Duration;

use pondsocket::{Options, SlowClient};
use serde_json::json;
use testkit::eventually;
use tokio::time::{Instant, sleep};

use super::{PausedMember, RoomServer, SECOND, said, served};

/// Broadcasts large messages as fast as the channel takes them. Returns the time until a member that reads
/// everything has read the last one.
async fn flood(
    served: &RoomServer,
    healthy: &mut PausedMember,
    numbers: std::ops::Range<usize>,
    size: usize,
) -> Duration {
    let channel = served.endpoint.channel("/room/1").expect("ours");
    let begun = Instant::now();
    let publish = async {
        for number in numbers.clone() {
            channel.ready().await;
            channel.broadcast("said", &json!({ "number": number, "filler": "x".repeat(size) })).expect("room");
        }
    };
    let read = async {
        for number in numbers.clone() {
            let message = healthy.next().await.expect("it reads");
            assert_eq!(message["payload"]["number"], json!(number));
        }
    };
    tokio::join!(publish, read);
    begun.elapsed()
}

/// The default size of a message in these tests.
const LARGE: usize = 64 * 1024;

/// The time that the clock of a test and the timer's grain add.
const SLACK: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn a_stalled_member_delays_the_others_for_pacing_wait_and_is_the_only_one_closed() {
    for wait in [2 * SECOND, SECOND / 2] {
        let served = served(Options::default().pacing_wait(wait));
        let mut healthy = PausedMember::join(&served.pond, "healthy", 64 * 1024, None).await;
        let mut stalled = PausedMember::join(&served.pond, "stalled", 64 * 1024, None).await;
        let took = flood(&served, &mut healthy, 0..200, LARGE).await;
        assert!(took >= wait && took <= wait + SLACK, "{took:?} in place of {wait:?}");
        eventually("it is closed", || served.endpoint.connections().len() == 1).await;
        let mut got = 0;
        let code = loop {
            match stalled.next().await {
                Ok(message) => {
                    assert_eq!(message["payload"]["number"], json!(got), "what it gets is without holes");
                    got += 1;
                }
                Err(code) => break code,
            }
        };
        assert_eq!((code, stalled.next().await.err()), (Some(1013), Some(None)));
        eventually("it has gone", || served.given_up().len() == 1).await;
        assert!(served.given_up()[0].ends_with("1013 too_slow"), "{:?}", served.given_up());
        assert!(served.counted.of("limit_reached").contains(&"/ pacing".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn without_pacing_wait_channels_wait_for_no_member() {
    let served = served(Options::default().pacing_wait(Duration::ZERO));
    let mut healthy = PausedMember::join(&served.pond, "healthy", 64 * 1024, None).await;
    let _stalled = PausedMember::join(&served.pond, "stalled", 64 * 1024, None).await;
    let mut took = Duration::ZERO;
    for number in 0..150 {
        // The member has read everything.
        took += flood(&served, &mut healthy, number..number + 1, LARGE).await;
    }
    assert!(took <= SLACK, "{took:?}");
    assert_eq!(served.endpoint.connections().len(), 1, "four times as much waited as may");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_stalled_before_does_not_delay_the_others() {
    let served = served(Options::default());
    let mut healthy = PausedMember::join(&served.pond, "healthy", 64 * 1024, None).await;
    let _stalled = PausedMember::join(&served.pond, "stalled", 1024, None).await;
    flood(&served, &mut healthy, 0..8, LARGE).await;
    sleep(3 * SECOND).await;
    let took = flood(&served, &mut healthy, 8..200, LARGE).await;
    assert!(took <= SLACK, "{took:?}");
    eventually("it is closed", || served.endpoint.connections().len() == 1).await;
}

/// Each member reads until the one before it was closed, and then stops.
#[tokio::test(start_paused = true)]
async fn members_that_stall_in_turn_delay_the_others_for_no_more_than_the_budget() {
    const MEMBERS: usize = 12;
    for budget in [4 * SECOND, SECOND] {
        let served = served(Options::default().pacing_budget(budget).outbox_bytes(64 * 1024));
        let mut healthy = PausedMember::join(&served.pond, "healthy", 64 * 1024, None).await;
        let mut members = Vec::new();
        for number in 0..MEMBERS {
            members.push(PausedMember::join(&served.pond, &format!("m{number}"), 64 * 1024, None).await);
        }
        let mut held_up = Duration::ZERO;
        let begun = Instant::now();
        let mut first = 0;
        while let Some(stalled) = members.pop() {
            let readers: Vec<_> = members
                .drain(..)
                .map(|mut member| {
                    tokio::spawn(async move {
                        for number in first..first + 150 {
                            assert_eq!(member.next().await.expect("it reads")["payload"]["number"], json!(number));
                        }
                        member
                    })
                })
                .collect();
            held_up += flood(&served, &mut healthy, first..first + 150, 4096).await;
            first += 150;
            for reader in readers {
                members.push(reader.await.expect("no panic"));
            }
            drop(stalled);
        }
        let bound = budget + begun.elapsed() / 10 + MEMBERS as u32 * (budget / 40 + SLACK);
        assert!(held_up >= budget.min(2 * SECOND) && held_up <= bound, "{held_up:?}, and no more than {bound:?}");
    }
}

/// The channel waits for a member that reads above `pacing_rate`, and not for a slower one.
#[tokio::test(start_paused = true)]
async fn channels_wait_for_a_member_that_takes_pacing_rate_and_not_below_it() {
    for (rate, is_waited_for) in [(200 * 1024, true), (400 * 1024, false)] {
        let served = served(Options::default().pacing_rate(rate));
        let mut healthy = PausedMember::join(&served.pond, "healthy", 64 * 1024, None).await;
        let mut slow = PausedMember::join(&served.pond, "slow", 16 * 1024, None).await;
        // Each message has 64 KiB: some 256 KiB in a second.
        let reading = tokio::spawn(async move {
            for number in 0..100 {
                match slow.next().await {
                    Ok(message) => assert_eq!(message["payload"]["number"], json!(number)),
                    Err(code) => return code,
                }
                sleep(SECOND / 4).await;
            }
            None
        });
        flood(&served, &mut healthy, 0..100, LARGE).await;
        let closed = reading.await.expect("no panic");
        assert_eq!(closed, if is_waited_for { None } else { Some(1013) }, "{rate}");
        assert_eq!(served.counted.of("limit_reached").contains(&"/ pacing".to_owned()), !is_waited_for);
    }
}

/// A channel never waits for a message that the policy allows to be dropped.
#[tokio::test(start_paused = true)]
async fn channels_do_not_wait_for_a_member_with_a_dropping_policy() {
    for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
        let served = served(Options::default().slow_client(policy));
        let mut healthy = PausedMember::join(&served.pond, "healthy", 64 * 1024, None).await;
        let _stalled = PausedMember::join(&served.pond, "stalled", 1024, None).await;
        let reading = tokio::spawn(async move { while healthy.next().await.is_ok() {} });
        let channel = served.endpoint.channel("/room/1").expect("ours");
        let begun = Instant::now();
        for number in 0..200 {
            channel.ready().await;
            channel.broadcast("said", &said(number, &"x".repeat(64 * 1024))).expect("room");
        }
        channel.ready().await;
        assert!(begun.elapsed() <= SLACK, "{policy:?}: {:?}", begun.elapsed());
        assert!(served.counted.of("message_dropped").iter().any(|line| line.starts_with("/ stalled ")));
        reading.abort();
    }
}
