//! The laboratory: an endpoint, and the layers around its handlers.

use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, Handler, JoinContext, Joined, PondSocket, RateLimit,
    Result,
};
use serde_json::json;
use tokio::time::sleep;

use crate::layers::{logged, recovered, timed};

/// The limit of all events of one connection, per second and at once, and the number of refused events after which the
/// connection is closed.
const ALL: (f64, u32) = (5.0, 40);
const MAX_REFUSED: u32 = 20;

/// The limits of single events, per second and at once. The welcome contains them.
const PING: (f64, u32) = (4.0, 8);
const SEARCH: (f64, u32) = (0.5, 3);

/// The limit of connections of one address, per second and at once.
const CONNECTIONS: (f64, u32) = (20.0, 100);

/// The time that a search takes.
const WORK: Duration = Duration::from_millis(250);

/// Creates the endpoint and its channel.
pub(crate) fn create(pond: &PondSocket) -> Endpoint {
    let endpoint =
        pond.create_endpoint("/api/socket", async |ctx: ConnectionContext| -> Result<Connected> { Ok(ctx.accept()) });
    endpoint.layer(RateLimit::per_ip(CONNECTIONS.0, CONNECTIONS.1));

    // The first layer is the outermost: the log also has the events that the limit refuses, and the times include all
    // layers further inside.
    let lab = endpoint.create_channel("/lab", join);
    lab.layer(logged)
        .layer(timed)
        .layer(RateLimit::per_connection(ALL.0, ALL.1).close_after(MAX_REFUSED))
        .layer(recovered);
    lab.on_event("ping", ping.layer(RateLimit::per_connection(PING.0, PING.1)))
        .on_event("search", search.layer(RateLimit::per_connection(SEARCH.0, SEARCH.1)))
        .on_event("fail", fail)
        .on_event("panic", panic);
    endpoint
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    let limit = |(per_second, burst): (f64, u32)| json!({ "perSecond": per_second, "burst": burst });
    let limits = json!({ "ping": limit(PING), "search": limit(SEARCH), "all": limit(ALL) });
    Ok(ctx.accept().reply("welcome", &json!({ "limits": limits })))
}

async fn ping(ctx: EventContext) -> Result<()> {
    ctx.reply("ping", &json!({ "ok": true }))
}

async fn search(ctx: EventContext) -> Result<()> {
    sleep(WORK).await;
    ctx.reply("search", &json!({ "ok": true, "found": 42 }))
}

/// Fails with an intended error, which the sender gets as it is.
async fn fail(_: EventContext) -> Result<()> {
    Err(Error::conflict("somebody else was faster"))
}

/// Panics, as a handler with a bug does.
async fn panic(_: EventContext) -> Result<()> {
    let empty: [u8; 0] = [];
    let first = empty.first().expect("there is always a first one");
    Err(Error::bad_request(format!("{first}")))
}
