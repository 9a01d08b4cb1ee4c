//! Users when nodes, or the network between them, fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use pondsocket::cluster::{BoxFuture, Bus, BusError, BusErrorKind, BusSink, Outcome, Publish, Stop, Topic};
use pondsocket::testing::Change;
use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use pondsocket::{Options, PondSocket, Remote};
use serde_json::json;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{connect, eventually, join, pair, within};

/// A bus that seems to be up, and may refuse all messages at once.
struct Refusing {
    bus: Arc<MemoryBus>,
    refuses: AtomicBool,
}

impl Bus for Refusing {
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<(), BusError>> {
        Arc::clone(&self.bus).run(sink, stop)
    }

    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
        self.bus.update_subscriptions(add, remove);
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>> {
        if !self.refuses.load(Ordering::Relaxed) {
            return self.bus.publish(batch);
        }
        let refused = || Outcome::NotSent(BusError::new(BusErrorKind::Closed, "the connection is lost"));
        Box::pin(std::future::ready(batch.iter().map(|_| refused()).collect()))
    }
}

#[test]
fn a_bus_that_refuses_messages_at_once_does_not_stop_the_node() {
    let (done, is_done) = mpsc::channel();
    // A thread of its own, because a runtime whose only task never yields has no timeouts.
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let hub = MemoryHub::new();
            let bus = Arc::new(Refusing { bus: hub.node(), refuses: AtomicBool::new(false) });
            let options = Options::default().bus(Arc::clone(&bus)).node_name("one".to_owned());
            let pond = PondSocket::with_options(options).expect("valid options");
            let endpoint = pond.create_endpoint("/api/socket", connect);
            endpoint.create_channel("/chat/:room", join);
            eventually("it is up", || pond.snapshot().cluster.is_some_and(|node| node.up)).await;
            bus.refuses.store(true, Ordering::Relaxed);
            endpoint.channel("/chat/1").expect("a name").broadcast("said", &json!({})).expect("room");
            sleep(Duration::from_millis(100)).await;
        });
        done.send(())
    });
    is_done.recv_timeout(Duration::from_secs(20)).expect("the node goes on");
}

#[tokio::test(start_paused = true)]
async fn the_users_of_a_node_that_stops_leave_at_once() {
    let (_hub, one, two) = pair().await;
    let (_ada, mut adas) = one.join("ada", "/chat/1").await;
    let (_bob, _bobs) = two.join("bob", "/chat/1").await;
    eventually("bob is seen", || one.shown("/chat/1") == ["ada", "bob"]).await;
    two.pond.shutdown(Duration::from_secs(1)).await;
    let took = within(Duration::from_secs(1), "bob has gone", || one.shown("/chat/1") == ["ada"]).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let changes = [adas.next_presence().await, adas.next_presence().await, adas.next_presence().await];
    assert_eq!(changes.map(|change| change.expect("told").change), [Change::Join, Change::Join, Change::Leave]);
    assert!(one.pond.nodes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_users_of_a_node_that_dies_leave_within_five_and_a_half_seconds() {
    let (_hub, one, two) = pair().await;
    let (_ada, _adas) = one.join("ada", "/chat/1").await;
    let (_bob, _bobs) = two.join("bob", "/chat/1").await;
    eventually("bob is seen", || one.shown("/chat/1") == ["ada", "bob"]).await;
    two.bus.cut();
    within(Duration::from_millis(5500), "bob has gone", || one.shown("/chat/1") == ["ada"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_reconnects_shows_its_present_users() {
    let (_hub, one, two) = pair().await;
    let (_ada, _adas) = one.join("ada", "/chat/1").await;
    let (bob, _bobs) = two.join("bob", "/chat/1").await;
    let (_eve, _eves) = two.join("eve", "/chat/1").await;
    eventually("all are seen", || one.shown("/chat/1") == ["ada", "bob", "eve"]).await;
    two.bus.cut();
    eventually("they have gone", || one.shown("/chat/1") == ["ada"]).await;
    assert_eq!(two.shown("/chat/1"), ["ada", "bob", "eve"], "a node without a bus hides no user");
    bob.close();
    let (_zoe, _zoes) = two.join("zoe", "/chat/1").await;
    two.bus.restore();
    eventually("one sees who is there", || one.shown("/chat/1") == ["ada", "eve", "zoe"]).await;
    eventually("two sees who is there", || two.shown("/chat/1") == ["ada", "eve", "zoe"]).await;
}

/// Both nodes check the leases at whole seconds, the first one before the second.
#[tokio::test(start_paused = true)]
async fn a_node_whose_bus_is_back_is_shown_after_the_next_lease_check() {
    let start = Instant::now();
    let (_hub, one, two) = pair().await;
    let (_ada, _adas) = one.join("ada", "/chat/1").await;
    let (_bob, _bobs) = two.join("bob", "/chat/1").await;
    eventually("bob is seen", || one.shown("/chat/1") == ["ada", "bob"]).await;
    two.bus.cut();
    eventually("bob has gone", || one.shown("/chat/1") == ["ada"]).await;
    sleep_until(start + Duration::from_millis(9500)).await;
    two.bus.restore();
    within(Duration::from_millis(700), "bob is seen", || one.shown("/chat/1") == ["ada", "bob"]).await;
}

#[tokio::test(start_paused = true)]
async fn without_its_bus_a_node_serves_its_own_users_and_reports_undelivered_messages() {
    let (_hub, one, two) = pair().await;
    let (_ada, mut adas) = one.join("ada", "/chat/1").await;
    let (_bob, mut bobs) = two.join("bob", "/chat/1").await;
    eventually("both are seen", || one.shown("/chat/1") == ["ada", "bob"] && two.shown("/chat/1") == ["ada", "bob"])
        .await;
    one.bus.cut();
    eventually("it is noticed", || one.pond.snapshot().cluster.is_some_and(|node| !node.up)).await;
    assert_eq!(adas.request("say", json!({ "n": 1 })).await.expect("said")["remote"], "Queued");
    assert_eq!(adas.next("said").await.expect("heard")["n"], 1);
    assert!(one.pond.is_ready());
    let error = one.channel("/chat/1").evict("bob", "spam").await.expect_err("cannot be told");
    assert_eq!(error.code(), 503);
    one.bus.restore();
    assert_eq!(bobs.next("said").await.expect("it waited")["n"], 1);

    one.bus.cut();
    eventually("it is noticed", || one.pond.snapshot().cluster.is_some_and(|node| !node.up)).await;
    let send = || one.channel("/chat/nobody-here").broadcast("flood", &json!({})).expect("sent").remote;
    let taken = (0..20_000).filter(|_| send() == Remote::Queued).count();
    assert_eq!(taken, 10_000, "what waits is bounded");
}

#[tokio::test(start_paused = true)]
async fn a_lost_message_is_recovered() {
    for announced in [true, false] {
        let (_hub, one, two) = pair().await;
        let (_ada, _adas) = one.join("ada", "/chat/1").await;
        let (_bob, _bobs) = two.join("bob", "/chat/1").await;
        eventually("both are seen", || one.shown("/chat/1") == ["ada", "bob"]).await;
        if announced {
            one.bus.lose_with_gap(2)
        } else {
            one.bus.lose(2)
        }
        let (_eve, _eves) = two.join("eve", "/chat/1").await;
        within(Duration::from_secs(6), "eve is seen", || one.shown("/chat/1") == ["ada", "bob", "eve"]).await;
    }
}
