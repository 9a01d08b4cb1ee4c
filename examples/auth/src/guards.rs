//! Layers around the handlers that check tokens and rights, so that no handler can omit a check.

use pondsocket::{Connection, Error, EventContext, JoinContext, Joined, Next, Result};
use serde_json::json;

use crate::rights::{Right, right};
use crate::tokens::{Claims, Refused};

/// The assign of a connection that holds the content of its token. A renewed token replaces it.
pub(crate) const CLAIMS: &str = "claims";

/// The content of the present token of a connection, which may be newer than the one of its connect request.
pub(crate) fn claims(connection: &Connection) -> Result<Claims> {
    connection.user().assign(CLAIMS)
}

/// Declines joins of connections whose token has expired.
pub(crate) async fn valid_join(ctx: JoinContext, next: Next<JoinContext>) -> Result<Joined> {
    if claims(&ctx.connection())?.is_expired() {
        return Err(unauthorized(Refused::Expired));
    }
    next.run(ctx).await
}

/// Refuses events of connections whose token has expired, except the event that brings a new token.
pub(crate) async fn valid_event(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    if ctx.event() != "renew" && claims(&ctx.connection())?.is_expired() {
        return Err(unauthorized(Refused::Expired));
    }
    next.run(ctx).await
}

/// Refuses an event unless its sender may write in this room.
pub(crate) async fn may_write(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    let (role, room) = (claims(&ctx.connection())?.role, ctx.param("room")?);
    if right(role, room) != Some(Right::Write) {
        return Err(Error::forbidden("your role may only read here").with_details(&json!({ "reason": "right" })));
    }
    next.run(ctx).await
}

/// An error 401 whose details name the reason, for the page.
pub(crate) fn unauthorized(refused: Refused) -> Error {
    Error::unauthorized(refused.text()).with_details(&json!({ "reason": refused.name() }))
}
