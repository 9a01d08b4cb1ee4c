//! What players and server say to each other.

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Payload, PondSocket, RateLimit,
    Result, SlowClient, State,
};
use serde_json::{Value, json};

use crate::fish::{Course, Fish, HEIGHT, TITLES, WIDTH, score_of};
use crate::leaderboard;
use crate::players::{Player, Players};
use crate::pond::GOLDEN;
use crate::tick;

/// The one channel: everybody is in the same pond.
pub(crate) const POND: &str = "/pond";

/// How many messages a player may send in a second, and at once: a page steers at most 20 times.
const MESSAGES: f64 = 40.0;
const BURST: u32 = 80;

/// Creates the endpoint and its channel.
pub(crate) fn create(pond: &PondSocket) -> Endpoint {
    let socket = pond.create_endpoint("/api/socket", connect);
    let lobby = socket.create_channel(POND, join);
    lobby
        .on_event("steer", steer)
        .on_event("ping", ping)
        .on_outgoing("leaderboard", leaderboard::with_rank)
        // Whoever does not keep up misses positions that are outdated anyway, and nothing else.
        .slow_client("tick", SlowClient::DropOldest)
        .layer(RateLimit::per_user(MESSAGES, BURST).close_after(200));
    socket
}

/// A name and a secret of one's own are enough. A real game asks for a token that it has signed.
async fn connect(ctx: ConnectionContext, State(players): State<Players>) -> Result<Connected> {
    let told = |what| ctx.query(what).ok_or_else(|| Error::unauthorized(format!("there is no {what}")));
    let player = players.recognise(told("token")?, told("name")?)?;
    Ok(ctx.accept().user_id(&player.id).assign("player", &player))
}

/// A player's fish is an assign of the member: from now on the tick finds it, and when the member leaves it is gone.
async fn join(ctx: JoinContext, State(players): State<Players>) -> Result<Joined> {
    let player: Player = ctx.assign("player")?;
    let fish = match ctx.channel().user(&player.id).await {
        // It swims already, in another tab.
        Ok(user) => user.assign("fish")?,
        Err(_) => Fish::hatch(players.score(&player.id)),
    };
    let welcome = welcome(&player, &fish);
    // Presence says who is there and no more: a list of all players goes to all of them whenever it changes.
    let joined = ctx.accept().assign("fish", &fish).assign("course", &Course::default());
    Ok(joined.track(&player).reply("welcome", &welcome))
}

fn welcome(player: &Player, fish: &Fish) -> Value {
    let level = |(number, title): (usize, &&str)| json!({ "title": title, "score": score_of(number + 1) });
    json!({
        "you": player,
        "score": fish.score,
        "level": fish.level,
        "levels": TITLES.iter().enumerate().map(level).collect::<Vec<_>>(),
        "pond": { "width": WIDTH, "height": HEIGHT, "golden": GOLDEN },
        "tickMs": tick::EVERY.as_millis(),
    })
}

/// Only says where to go: the tick moves the fish. It comes often, so that nothing is answered.
async fn steer(ctx: EventContext, Payload(course): Payload<Course>) -> Result<()> {
    ctx.set_assign("course", &course)
}

/// Sends back what it gets: the page measures the way there and back.
async fn ping(ctx: EventContext, Payload(payload): Payload<Value>) -> Result<()> {
    ctx.reply("ping", &payload)
}
