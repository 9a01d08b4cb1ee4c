//! Layers that stand before the handlers, so that none can forget to ask.

use pondsocket::{Connection, Error, EventContext, JoinContext, Joined, Next, Result};
use serde_json::json;

use crate::rights::{Right, right};
use crate::tokens::{Claims, Refused};

/// The assign of a connection that holds what its token says. A renewed token takes its place.
pub(crate) const CLAIMS: &str = "claims";

/// The token of a connection as it is now, not as it was at the connection or the join.
pub(crate) fn claims(connection: &Connection) -> Result<Claims> {
    connection.user().assign(CLAIMS)
}

/// Nobody joins anything with an expired token.
pub(crate) async fn valid_join(ctx: JoinContext, next: Next<JoinContext>) -> Result<Joined> {
    if claims(&ctx.connection())?.is_expired() {
        return Err(unauthorized(Refused::Expired));
    }
    next.run(ctx).await
}

/// Nobody sends anything with an expired token, but the new one.
pub(crate) async fn valid_event(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    if ctx.event() != "renew" && claims(&ctx.connection())?.is_expired() {
        return Err(unauthorized(Refused::Expired));
    }
    next.run(ctx).await
}

/// The event is for those who may write in this room.
pub(crate) async fn may_write(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    let (role, room) = (claims(&ctx.connection())?.role, ctx.param("room")?);
    if right(role, room) != Some(Right::Write) {
        return Err(Error::forbidden("your role may only read here").with_details(&json!({ "reason": "right" })));
    }
    next.run(ctx).await
}

/// 401, with a reason that the page can tell from others.
pub(crate) fn unauthorized(refused: Refused) -> Error {
    Error::unauthorized(refused.text()).with_details(&json!({ "reason": refused.name() }))
}
