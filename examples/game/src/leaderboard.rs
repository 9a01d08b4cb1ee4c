//! The leaderboard, once a second: the same list for all, and to each player the own rank.

use std::collections::HashMap;
use std::time::Duration;

use pondsocket::{Endpoint, Outgoing, OutgoingContext, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::interval;

use crate::fish::Fish;
use crate::game::POND;
use crate::players::Player;

const EVERY: Duration = Duration::from_secs(1);

/// The number of players in the list.
const LISTED: usize = 10;

/// The assigns of a member that are read here.
#[derive(Debug, Deserialize)]
struct RankedAssigns {
    player: Player,
    fish: Fish,
}

/// The broadcast, before an outgoing handler replaces the scores by the rank of each recipient.
#[derive(Debug, Deserialize, Serialize)]
struct Leaderboard {
    top: Vec<Entry>,
    /// The scores of all players, the best first.
    scores: Vec<u32>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Entry {
    id: String,
    name: String,
    score: u32,
    level: usize,
}

/// Broadcasts the leaderboard in each interval. Never completes.
pub(crate) async fn run(endpoint: Endpoint) {
    let pond = endpoint.channel(POND).expect("the name of a channel");
    let mut times = interval(EVERY);
    loop {
        times.tick().await;
        let told = pond.assigns().and_then(|members| pond.broadcast("leaderboard", &ranked(members)));
        if let Err(error) = told {
            tracing::warn!(%error, "the leaderboard was not sent");
        }
    }
}

fn ranked(members: HashMap<String, RankedAssigns>) -> Leaderboard {
    let entry =
        |(id, RankedAssigns { player, fish })| Entry { id, name: player.name, score: fish.score, level: fish.level };
    let mut all: Vec<_> = members.into_iter().map(entry).collect();
    all.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.name.cmp(&b.name)).then_with(|| a.id.cmp(&b.id)));
    let scores = all.iter().map(|entry| entry.score).collect();
    all.truncate(LISTED);
    Leaderboard { top: all, scores }
}

/// Gives each recipient the list with its own rank.
pub(crate) fn with_rank(ctx: &OutgoingContext) -> Result<Outgoing> {
    let Leaderboard { top, scores } = ctx.payload()?;
    let mine: Fish = ctx.recipient().assign("fish")?;
    Outgoing::replace(&json!({ "top": top, "players": scores.len(), "rank": rank_of(mine.score, &scores) }))
}

/// The rank of a score. Equal scores share a rank.
fn rank_of(score: u32, scores: &[u32]) -> usize {
    scores.partition_point(|other| *other > score) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_first_and_equals_share_a_rank() {
        let member = |(id, score): (usize, u32)| {
            let player = Player { id: id.to_string(), name: format!("player {id}") };
            (id.to_string(), RankedAssigns { player, fish: Fish::hatch(score) })
        };
        let Leaderboard { top, scores } = ranked((0..20).zip([3, 9, 9, 1].into_iter().cycle()).map(member).collect());
        assert_eq!(top.len(), LISTED);
        assert_eq!((&*top[0].name, top[0].score, top[9].score), ("player 1", 9, 9));
        assert_eq!(scores.len(), 20);
        assert_eq!([10, 9, 3, 1].map(|score| rank_of(score, &scores)), [1, 1, 11, 16]);
    }
}
