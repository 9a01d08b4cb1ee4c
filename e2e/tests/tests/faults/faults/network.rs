//! Cuts of the route between a node and Redis, of which neither is informed.

use std::time::Duration;

use e2e_tests::network::Cut;
use tokio::time::Instant;

use super::node::CRASH;
use crate::fixture::Fixture;
use crate::world::VICTIM;

/// The longest time until a node has noticed that its connections are dead: twice the interval of the probe, and a margin.
const DETECTION: Duration = Duration::from_millis(10_500);

/// Loses all packets, or all in one direction.
pub(crate) async fn cut(fixture: &mut Fixture, what: Cut, time: Duration) {
    let seems_dead = fixture.hide();
    away(fixture, what, time).await;
    // If its renewals still arrive, other nodes consider it alive for a while.
    if what != Cut::Back && time > CRASH {
        fixture.check_leaves(&seems_dead, CRASH);
    }
}

/// Repeated cuts in random directions, whether or not the cluster has healed in between.
pub(crate) async fn comes_and_goes(fixture: &mut Fixture, time: Duration) {
    fixture.hide();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let what = *fixture.rng.pick(&[Cut::There, Cut::Back, Cut::Both]).expect("there are three");
        let (time, pause) = (fixture.random(500..8000), fixture.random(100..4000));
        away(fixture, what, time).await;
        fixture.live(pause).await;
    }
}

async fn away(fixture: &mut Fixture, what: Cut, time: Duration) {
    fixture.nodes[VICTIM].cut(what);
    fixture.live(time).await;
    fixture.nodes[VICTIM].heal();
}

/// The network device is taken down.
pub(crate) async fn unplugged(fixture: &mut Fixture, time: Duration) {
    let seems_dead = fixture.hide();
    fixture.nodes[VICTIM].unplug();
    fixture.live(time).await;
    fixture.check_leaves(&seems_dead, CRASH);
    fixture.nodes[VICTIM].heal();
}

/// Connections stay open and pass nothing on: the node must notice that by itself.
pub(crate) async fn half_open(fixture: &mut Fixture) {
    fixture.hide();
    fixture.nodes[VICTIM].cut(Cut::Both);
    let dead = Instant::now();
    while fixture.nodes[VICTIM].has_bus().await {
        assert!(dead.elapsed() < DETECTION, "the node has not noticed");
        fixture.live(Duration::from_millis(200)).await;
    }
    fixture.note = format!("noticed after {:.1} s", dead.elapsed().as_secs_f64());
    fixture.live(Duration::from_secs(2)).await;
    fixture.nodes[VICTIM].heal();
}
