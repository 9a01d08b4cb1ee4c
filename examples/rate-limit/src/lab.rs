//! The laboratory: which layer stands around which handler.

use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, Handler, JoinContext, Joined, PondSocket, RateLimit,
    Result,
};
use serde_json::json;
use tokio::time::sleep;

use crate::layers::{logged, recovered, timed};

/// Events of one connection, over all of them: so many a second, and so many at once. Whoever goes on all the same is closed.
const ALL: (f64, u32) = (5.0, 40);
const PATIENCE: u32 = 20;

/// The limits of single events. The page learns them with its welcome.
const PING: (f64, u32) = (4.0, 8);
const SEARCH: (f64, u32) = (0.5, 3);

/// Connections of one address.
const CONNECTIONS: (f64, u32) = (20.0, 100);

/// The time that a search takes.
const WORK: Duration = Duration::from_millis(250);

/// Creates the endpoint and its channel.
pub(crate) fn create(pond: &PondSocket) -> Endpoint {
    let endpoint =
        pond.create_endpoint("/api/socket", async |ctx: ConnectionContext| -> Result<Connected> { Ok(ctx.accept()) });
    endpoint.layer(RateLimit::per_ip(CONNECTIONS.0, CONNECTIONS.1));

    // The first is the outermost: the log also has what the limit refuses, and the times are those of all that is inside.
    let lab = endpoint.create_channel("/lab", join);
    lab.layer(logged)
        .layer(timed)
        .layer(RateLimit::per_connection(ALL.0, ALL.1).close_after(PATIENCE))
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

/// An error that the handler has meant: its sender is told as it is.
async fn fail(_: EventContext) -> Result<()> {
    Err(Error::conflict("somebody else was faster"))
}

/// A mistake in a handler.
async fn panic(_: EventContext) -> Result<()> {
    let empty: [u8; 0] = [];
    let first = empty.first().expect("there is always a first one");
    Err(Error::bad_request(format!("{first}")))
}
