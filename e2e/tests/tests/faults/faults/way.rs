//! The way between a node and Redis is cut, without a word to either.

use std::time::Duration;

use e2e_tests::network::Cut;
use tokio::time::Instant;

use super::node::CRASH;
use crate::stage::Stage;
use crate::world::VICTIM;

/// The longest time until a node has found out that its connections are dead: twice the interval of the probe, and a
/// bit.
const FOUND: Duration = Duration::from_millis(10_500);

/// Loses all packets, or all in one direction.
pub(crate) async fn cut(stage: &mut Stage, what: Cut, time: Duration) {
    let seems_dead = stage.hide();
    away(stage, what, time).await;
    // If its beats arrive it lives on for a while.
    if what != Cut::Back && time > CRASH {
        stage.was_told_of(&seems_dead, CRASH);
    }
}

/// In any direction, again and again, and each time it is back before all has healed, or not.
pub(crate) async fn comes_and_goes(stage: &mut Stage, time: Duration) {
    stage.hide();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let what = *stage.rng.pick(&[Cut::There, Cut::Back, Cut::Both]).expect("there are three");
        let (time, pause) = (stage.random(500..8000), stage.random(100..4000));
        away(stage, what, time).await;
        stage.live(pause).await;
    }
}

async fn away(stage: &mut Stage, what: Cut, time: Duration) {
    stage.nodes[VICTIM].cut(what);
    stage.live(time).await;
    stage.nodes[VICTIM].heal();
}

/// The plug is pulled.
pub(crate) async fn unplugged(stage: &mut Stage, time: Duration) {
    let seems_dead = stage.hide();
    stage.nodes[VICTIM].unplug();
    stage.live(time).await;
    stage.was_told_of(&seems_dead, CRASH);
    stage.nodes[VICTIM].heal();
}

/// Connections stay open and carry nothing: the node finds out by itself.
pub(crate) async fn half_open(stage: &mut Stage) {
    stage.hide();
    stage.nodes[VICTIM].cut(Cut::Both);
    let dead = Instant::now();
    while stage.nodes[VICTIM].has_bus().await {
        assert!(dead.elapsed() < FOUND, "nobody has noticed");
        stage.live(Duration::from_millis(200)).await;
    }
    stage.note = format!("found after {:.1} s", dead.elapsed().as_secs_f64());
    stage.live(Duration::from_secs(2)).await;
    stage.nodes[VICTIM].heal();
}
