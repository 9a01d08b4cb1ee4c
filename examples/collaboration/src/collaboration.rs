//! The endpoint, and the handlers of a document's events.

use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, LeaveContext, Payload, PondSocket,
    RateLimit, Result, State,
};
use serde::Deserialize;
use serde_json::json;

use crate::document::MAX_SIZE;
use crate::documents::Documents;
use crate::messages::{Answer, Ask, Bytes, Change, Cursor, Person, Select, Selection};

/// The number of messages a page may send in a second, and at once. It sends its changes and its cursor at most twenty times a
/// second each.
const MESSAGES: f64 = 60.0;
const BURST: u32 = 200;

/// Creates the endpoint and its documents.
pub(crate) fn create(pond: &PondSocket) {
    let socket = pond.create_endpoint("/api/socket", connect);
    let lobby = socket.create_channel("/documents/:name", join);
    lobby
        .on_event("sync", sync)
        .on_event("change", change)
        .on_event("cursor", cursor)
        .on_leave(leave)
        .layer(RateLimit::per_connection(MESSAGES, BURST).close_after(500));
}

/// A name is enough. A real application asks for a token that it has signed.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").ok_or_else(|| Error::unauthorized("there is no name"))?;
    let person = Person::new(ctx.connection_id(), name)?;
    Ok(ctx.accept().assign("person", &person))
}

/// Accepts each join of a document that exists or may be created. The page requests the text after its join: if the answer
/// to the join contained it, a change between the answer and the membership would be lost.
async fn join(ctx: JoinContext, State(documents): State<Documents>) -> Result<Joined> {
    documents.with(ctx.param("name")?, |_| Ok(())).await?;
    let person: Person = ctx.assign("person")?;
    Ok(ctx.accept().track(&person).reply("welcome", &json!({ "you": person })))
}

/// Sends the changes that the page lacks, and the state of the server, so that the page can send those that the server lacks.
async fn sync(ctx: EventContext, Payload(ask): Payload<Ask>, State(documents): State<Documents>) -> Result<()> {
    let synced = documents.with(ctx.param("name")?, move |document| document.sync(&ask.vector.0)).await?;
    let cursors = cursors(&ctx)?;
    let (change, vector) = (Bytes(synced.change), Bytes(synced.vector));
    ctx.reply("sync", &Answer { change, vector, size: synced.size, max: MAX_SIZE, cursors })
}

/// Stores a change, broadcasts it to the others, and replies, in this order: a change that a page shows is stored.
async fn change(ctx: EventContext, Payload(change): Payload<Change>, State(documents): State<Documents>) -> Result<()> {
    let bytes = change.change.clone();
    let changed = documents.with(ctx.param("name")?, move |document| document.change(&bytes.0)).await?;
    if changed.is_new {
        ctx.broadcast_from("change", &change)?;
    }
    ctx.reply("change", &json!({ "size": changed.size }))
}

/// Broadcasts the selection to the others, and stores it in the assigns for later members.
async fn cursor(ctx: EventContext, Payload(Select { selection }): Payload<Select>) -> Result<()> {
    selection.check()?;
    ctx.set_assign("selection", &selection)?;
    ctx.broadcast_from("cursor", &Cursor { person: ctx.assign("person")?, selection }).map(drop)
}

/// Closes the document when the last member has left.
async fn leave(ctx: LeaveContext, State(documents): State<Documents>) -> Result<()> {
    if ctx.remaining() == 0 {
        documents.close(ctx.param("name")?);
    }
    Ok(())
}

/// The assigns of a member. There is a selection after the first `cursor`.
#[derive(Deserialize)]
struct Member {
    person: Person,
    selection: Option<Selection>,
}

/// The positions of all others in the text.
fn cursors(ctx: &EventContext) -> Result<Vec<Cursor>> {
    let others = ctx.all_assigns::<Member>()?.into_iter().filter(|(id, _)| id != ctx.user_id());
    let cursor = |(_, Member { person, selection })| selection.map(|selection| Cursor { person, selection });
    Ok(others.filter_map(cursor).collect())
}
