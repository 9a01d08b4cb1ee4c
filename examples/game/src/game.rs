//! The handlers of the game: for connections, joins and each event.

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

/// The only channel: all players are in one pond.
pub(crate) const POND: &str = "/pond";

/// The messages that a player may send per second, and at once: a page steers at most 20 times a second.
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
        // A client that does not keep up misses outdated positions, and nothing else.
        .slow_client("tick", SlowClient::DropOldest)
        .layer(RateLimit::per_user(MESSAGES, BURST).close_after(200));
    socket
}

/// A name and a random secret of the page are enough. A real game requires a token that it has signed.
async fn connect(ctx: ConnectionContext, State(players): State<Players>) -> Result<Connected> {
    let told = |what| ctx.query(what).ok_or_else(|| Error::unauthorized(format!("there is no {what}")));
    let player = players.recognise(told("token")?, told("name")?)?;
    Ok(ctx.accept().user_id(&player.id).assign("player", &player))
}

/// The fish is an assign of the member: the tick finds it there from the join to the leave.
async fn join(ctx: JoinContext, State(players): State<Players>) -> Result<Joined> {
    let player: Player = ctx.assign("player")?;
    let fish = match ctx.channel().user(&player.id).await {
        // The player has another tab.
        Ok(user) => user.assign("fish")?,
        Err(_) => Fish::hatch(players.score(&player.id)),
    };
    let welcome = welcome(&player, &fish);
    // Presence has names only: its list goes to all players whenever it changes.
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

/// Stores the course: the tick moves the fish. There is no reply, because this event is frequent.
async fn steer(ctx: EventContext, Payload(course): Payload<Course>) -> Result<()> {
    ctx.set_assign("course", &course)
}

/// Sends the payload back: the page measures the round-trip time.
async fn ping(ctx: EventContext, Payload(payload): Payload<Value>) -> Result<()> {
    ctx.reply("ping", &payload)
}
