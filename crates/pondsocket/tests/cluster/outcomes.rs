//! A bus that leaves out outcomes: a message that may be lost is counted, and one that may be kept is not kept twice.

use std::sync::Arc;

use pondsocket::cluster::{Bus, SharedBus};
use pondsocket::testing::bus::MemoryHub;
use pondsocket::testing::{Client, Room};
use pondsocket::{Channel, PondSocket};
use serde_json::json;
use testkit::{Recorder, eventually};

use crate::histories::Storeless;
use crate::stubborn::{Manner, Stubborn, kept_chat};

struct Member {
    channel: Channel,
    room: Room,
    recorder: Recorder,
    _pond: PondSocket,
    _client: Client,
}

impl Member {
    async fn join(bus: impl Into<SharedBus>) -> Member {
        let recorder = Recorder::default();
        let pond = kept_chat(bus, &recorder);
        let client = pond.test_client().connect("/").await.expect("let in");
        let mut room = client.join("/chat/a", json!({})).await.expect("let in");
        let channel = pond.endpoints()[0].channel("/chat/a").expect("a name");
        channel.broadcast("said", &json!({ "n": 0 })).expect("room");
        assert_eq!(room.next("said").await.expect("answered")["n"], 0);
        Member { channel, room, recorder, _pond: pond, _client: client }
    }

    /// The number of messages that may be lost.
    fn unknown(&self) -> usize {
        let of = |event: &String| {
            let count = event.strip_prefix("Dropped { reason: Unknown, messages: ")?.strip_suffix(" }")?;
            count.parse::<usize>().ok()
        };
        self.recorder.of("cluster").iter().filter_map(of).sum()
    }
}

#[tokio::test(start_paused = true)]
async fn messages_whose_outcome_a_bus_leaves_out_are_counted_as_perhaps_lost() {
    for has_store in [false, true] {
        let bus = Stubborn::new(&MemoryHub::new());
        let shared = if has_store { SharedBus::from(Arc::clone(&bus)) } else { Storeless(Arc::clone(&bus)).into() };
        let mut member = Member::join(shared).await;
        assert_eq!(member.unknown(), 0);
        bus.set(Manner::LeavesOutcomesOut);
        for n in 0..3 {
            member.channel.broadcast("typed", &json!({ "n": n })).expect("room");
            assert_eq!(member.room.next("typed").await.expect("in time")["n"], n);
        }
        eventually("the count of those that may be lost", || member.unknown() == 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_position_a_bus_leaves_out_is_kept_once() {
    let bus = Stubborn::new(&MemoryHub::new());
    let mut member = Member::join(Arc::clone(&bus)).await;
    bus.set(Manner::LeavesOutcomesOut);
    let before = bus.asked();
    member.channel.broadcast("said", &json!({ "n": 1 })).expect("room");
    eventually("another attempt", || bus.asked() > before + 1).await;
    bus.set(Manner::Answers);
    assert_eq!(member.room.next("said").await.expect("in time")["n"], 1);
    member.channel.broadcast("said", &json!({ "n": 2 })).expect("room");
    assert_eq!(member.room.next("said").await.expect("in time")["n"], 2);
    let topic = "pondsocket:v1:default::/chat/a".into();
    let history = bus.history().expect("a store").read(&topic, None, 99).await.expect("a history");
    assert_eq!((history.position.map(|at| at.offset), history.messages.len()), (Some(3), 3));
}
