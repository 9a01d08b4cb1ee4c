//! Layers around all events. Each is an async function that takes the context, extractors, and the rest of the stack.

use std::sync::Arc;
use std::time::Instant;

use pondsocket::{Error, EventContext, Next, Result, State};
use serde_json::json;

use crate::counters::Counters;

/// Logs each event with its outcome.
pub(crate) async fn logged(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    let (event, connection) = (ctx.event().to_owned(), ctx.connection_id());
    let outcome = next.run(ctx).await;
    match &outcome {
        Ok(()) => tracing::info!(event, connection, "done"),
        Err(error) => tracing::info!(event, connection, code = error.code(), "{}", error.message()),
    }
    outcome
}

/// Counts each event with its outcome and its time.
pub(crate) async fn timed(
    ctx: EventContext,
    State(counters): State<Arc<Counters>>,
    next: Next<EventContext>,
) -> Result<()> {
    let start = Instant::now();
    let outcome = next.run(ctx).await;
    counters.finished(start.elapsed(), outcome.as_ref().err().map(Error::code));
    outcome
}

/// Turns unexpected failures of handlers, panics included, into errors with code 500. The client gets the number of
/// the incident, which the log has too; connection and channel stay open.
pub(crate) async fn recovered(
    ctx: EventContext,
    State(counters): State<Arc<Counters>>,
    next: Next<EventContext>,
) -> Result<()> {
    let event = ctx.event().to_owned();
    next.run(ctx).await.map_err(|error| {
        if error.code() != 500 {
            return error;
        }
        let incident = counters.incident();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(incident, event, cause, "a handler failed");
        Error::new(500, "something went wrong here").with_details(&json!({ "incident": incident }))
    })
}
