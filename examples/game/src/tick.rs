//! The tick: twenty times a second it moves all fish, and broadcasts their positions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pondsocket::{Channel, Endpoint, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::fish::{Course, Fish};
use crate::game::POND;
use crate::players::{Player, Players};
use crate::pond::{Meal, Swimmers, Water};

/// The time between two ticks.
pub(crate) const EVERY: Duration = Duration::from_millis(50);

/// The longest step, in seconds: after a pause no fish jumps across the pond.
const LONGEST: f32 = 0.25;

/// The assigns of a member. The tick alone writes `fish`, and the player's messages alone write `course`.
#[derive(Debug, Deserialize)]
struct PlayerAssigns {
    player: Player,
    fish: Fish,
    course: Course,
}

/// All that a page draws. Each tick is complete, so a lost one does no harm.
#[derive(Debug, Serialize)]
struct Tick {
    /// Milliseconds since the server's start.
    at: u128,
    /// Id, x, y, heading in hundredths, level and energy in hundredths of each fish, one after the other.
    fish: Vec<i64>,
    /// The x and y of each crumb.
    crumbs: Vec<i64>,
}

/// Runs the ticks. Never completes.
pub(crate) async fn run(endpoint: Endpoint, players: Players) {
    let pond = endpoint.channel(POND).expect("the name of a channel");
    let mut water = Water::default();
    let (start, mut last) = (Instant::now(), Instant::now());
    let mut times = interval(EVERY);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let dt = last.elapsed().as_secs_f32().min(LONGEST);
        last = Instant::now();
        if pond.member_count() == 0 {
            continue;
        }
        if let Err(error) = tick(&pond, &players, &mut water, start, dt).await {
            tracing::warn!(%error, "a tick failed");
        }
    }
}

async fn tick(pond: &Channel, players: &Players, water: &mut Water, start: Instant, dt: f32) -> Result<()> {
    let members: HashMap<String, PlayerAssigns> = pond.assigns()?;
    let mut swimmers: Swimmers =
        members.iter().map(|(id, member)| (id.clone(), (member.fish, member.course))).collect();
    let meals = water.step(&mut swimmers, dt);
    for (id, (fish, _)) in &swimmers {
        // An error means that the player has just left.
        let _ = pond.update_assigns(id, "fish", fish).await;
    }
    for meal in &meals {
        tell(pond, players, meal, &members[&meal.player].player, &swimmers[&meal.player].0)?;
    }
    pond.broadcast("tick", &shown(&swimmers, water, start)).map(drop)
}

/// Broadcasts the new score of a player, and the level if it is another one.
fn tell(pond: &Channel, players: &Players, meal: &Meal, player: &Player, fish: &Fish) -> Result<()> {
    let (id, name, level) = (&player.id, &player.name, fish.level);
    players.set_score(id, fish.score);
    pond.broadcast("score_update", &json!({ "id": id, "score": fish.score, "level": level }))?;
    if meal.has_grown {
        let achievement = json!({ "id": id, "name": name, "level": level, "title": fish.title() });
        pond.broadcast("achievement", &achievement)?;
    }
    Ok(())
}

fn shown(swimmers: &Swimmers, water: &Water, start: Instant) -> Tick {
    let mut fish = Vec::with_capacity(swimmers.len() * 6);
    for (id, (shown, _)) in swimmers {
        let Fish { x, y, heading, energy, level, .. } = shown;
        // Ids are numbers: see `Players`.
        let id = id.parse().unwrap_or_default();
        fish.extend([id, whole(*x), whole(*y), whole(heading * 100.0), *level as i64, whole(energy.max(0.0) * 100.0)]);
    }
    let crumbs = water.crumbs.iter().flat_map(|(x, y)| [whole(*x), whole(*y)]).collect();
    Tick { at: start.elapsed().as_millis(), fish, crumbs }
}

fn whole(number: f32) -> i64 {
    number.round() as i64
}
