//! Simulated players. They are clients like any other: each has a WebSocket over the loopback network, joins, reads all messages
//! and steers. So with `--players 300` the server does all that it would do for 300 people, and the latency that a page shows is
//! the real one, except that they share the processor with the server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::fish::is_in_reach;
use crate::game::POND;

/// The time between two joins, so that a page sees players come one by one.
const BETWEEN: Duration = Duration::from_millis(10);

/// The time between two decisions of a simulated player, in milliseconds: like people, it does not react at once.
const DECISION_INTERVAL: std::ops::Range<u64> = 350..800;

const ADJECTIVES: [&str; 16] = [
    "Amber", "Brave", "Calm", "Dotted", "Eager", "Fancy", "Gentle", "Hasty", "Idle", "Jolly", "Keen", "Lucky", "Merry",
    "Nimble", "Quiet", "Silver",
];
const NAMES: [&str; 16] = [
    "Barbel", "Bleak", "Bream", "Burbot", "Carp", "Chub", "Dace", "Gudgeon", "Ide", "Loach", "Orfe", "Perch", "Rudd",
    "Tench", "Trout", "Zander",
];

/// Starts a number of simulated players.
pub(crate) fn start(server: SocketAddr, count: u16) {
    for number in 0..count {
        tokio::spawn(async move {
            sleep(BETWEEN * number.into()).await;
            if let Err(error) = play(server, number).await {
                tracing::debug!(number, "a simulated player has ended: {error:#}");
            }
        });
    }
}

/// Plays until the server closes the connection.
async fn play(server: SocketAddr, number: u16) -> Result<()> {
    let (name, secret) = (name(number), fastrand::u128(..));
    let url = format!("ws://{server}/api/socket?name={name}&token={secret:032x}");
    let (mut socket, _) = connect_async(url).await.context("cannot connect")?;
    socket.send(message("JOIN_CHANNEL", "JOIN_CHANNEL", json!({}))).await?;
    let mut decisions = interval(Duration::from_millis(fastrand::u64(DECISION_INTERVAL)));
    let (mut me, mut seen) = (None, None);
    loop {
        tokio::select! {
            received = socket.next() => match received.context("the connection has ended")?? {
                // Ticks are kept as text: only the last one before a decision is decoded.
                Message::Text(text) if text.contains(r#""event":"tick""#) => seen = Some(text),
                Message::Text(text) if text.contains(r#""event":"welcome""#) => me = Some(my_id(&text)?),
                _ => {}
            },
            _ = decisions.tick() => {
                if let (Some(me), Some(text)) = (me, seen.take()) {
                    let tick: Received = serde_json::from_str(&text)?;
                    socket.send(message("BROADCAST", "steer", tick.payload.course_of(me))).await?;
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Received {
    payload: ReceivedTick,
}

#[derive(Deserialize)]
struct ReceivedTick {
    fish: Vec<i64>,
    crumbs: Vec<i64>,
}

impl ReceivedTick {
    /// The course to the nearest crumb in reach, with some error.
    fn course_of(&self, me: i64) -> Value {
        let Some([_, x, y, heading, ..]) = self.fish.chunks_exact(6).find(|fish| fish[0] == me) else {
            return json!({ "angle": null });
        };
        let ways = self.crumbs.chunks_exact(2).map(|crumb| (crumb[0] - x, crumb[1] - y));
        let heading = *heading as f32 / 100.0;
        let in_reach = ways.filter(|(x, y)| is_in_reach(*x as f32, *y as f32, heading));
        let nearest = in_reach.min_by_key(|(x, y)| x * x + y * y);
        let (x, y) = nearest.unwrap_or((1, 0));
        let angle = (y as f32).atan2(x as f32) + 0.5 * (fastrand::f32() - 0.5);
        json!({ "angle": angle, "dash": fastrand::u8(..10) == 0 })
    }
}

fn my_id(welcome: &str) -> Result<i64> {
    let welcome: Value = serde_json::from_str(welcome)?;
    welcome["payload"]["you"]["id"].as_str().and_then(|id| id.parse().ok()).context("a welcome without an id")
}

fn message(action: &str, event: &str, payload: Value) -> Message {
    let text = json!({ "action": action, "event": event, "channelName": POND, "requestId": "1", "payload": payload });
    Message::Text(Utf8Bytes::from(text.to_string()))
}

/// A name that no other of the first 256 has.
fn name(number: u16) -> String {
    let (first, second) = (number as usize % ADJECTIVES.len(), number as usize / ADJECTIVES.len() + number as usize);
    format!("{}%20{}", ADJECTIVES[first], NAMES[second % NAMES.len()])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_different() {
        assert_eq!((0..256).map(name).collect::<HashSet<_>>().len(), 256);
    }

    #[test]
    fn a_bot_swims_to_the_nearest_crumb_in_reach() {
        let fish = vec![7, 0, 0, 0, 1, 100, 8, 500, 500, 0, 1, 100];
        let tick = ReceivedTick { fish, crumbs: vec![900, 0, 0, 100, 0, -50] };
        let angle = tick.course_of(7)["angle"].as_f64().expect("an angle");
        assert!((angle - std::f64::consts::FRAC_PI_2).abs() < 0.3, "{angle}");
        assert!(tick.course_of(9)["angle"].is_null());
    }
}
