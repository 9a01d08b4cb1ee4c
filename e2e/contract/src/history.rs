//! The channels `/history/:roomId` and `/watched/:roomId`, which keep their last messages.

use std::time::Duration;

use pondsocket::{History, JoinContext, Joined, Payload, Recovery, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::options::number;
use crate::username;

/// The history, with limits from the environment.
pub(crate) fn history() -> Result<History> {
    let mut history = History::new().bytes(4 * 1024 * 1024).stamp("_pos").without(["typing"]);
    if let Some(messages) = number("HISTORY_MESSAGES")? {
        history = history.messages(messages);
    }
    if let Some(milliseconds) = number("HISTORY_TTL_MS")? {
        history = history.ttl(Duration::from_millis(milliseconds));
    }
    Ok(history)
}

#[derive(Deserialize)]
pub(crate) struct HistoryRequest {
    username: Option<String>,
    /// The number of messages that the client gets unless it resumes.
    last: Option<usize>,
}

/// Replies with what the handler knows of the client: `history {recovery, missed, may_repeat, gap, position}`.
pub(crate) async fn join(ctx: JoinContext, Payload(request): Payload<HistoryRequest>) -> Result<Joined> {
    let username = username(request.username)?;
    let seen = seen(&ctx);
    let mut joined = ctx.accept().assign("username", &username);
    if let Some(last) = request.last {
        joined = joined.replay_last(last);
    }
    Ok(joined.reply("history", &seen))
}

/// The same with presence.
pub(crate) async fn join_tracked(ctx: JoinContext, Payload(request): Payload<HistoryRequest>) -> Result<Joined> {
    let username = username(request.username)?;
    let (seen, presence) = (seen(&ctx), json!({ "id": ctx.user_id(), "username": username }));
    Ok(ctx.accept().assign("username", &username).track(&presence).reply("history", &seen))
}

fn seen(ctx: &JoinContext) -> Value {
    let mut seen = outcome(ctx.recovery());
    seen["position"] = json!(ctx.position());
    seen
}

fn outcome(recovery: Recovery) -> Value {
    match recovery {
        Recovery::Resumed { missed, may_repeat } => {
            // A number that is not known is larger than JavaScript's integers.
            let [missed, may_repeat] = [missed, may_repeat].map(|number| number.min(u32::MAX as usize));
            json!({ "recovery": "resumed", "missed": missed, "may_repeat": may_repeat })
        }
        Recovery::Gap(reason) => json!({ "recovery": "gap", "gap": reason.as_str() }),
        _ => json!({ "recovery": "new" }),
    }
}
