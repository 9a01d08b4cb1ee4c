//! Admission, joins and messages of the chat.

use pondsocket::{
    Connected, ConnectionContext, Delivery, Error, EventContext, JoinContext, Joined, Payload, PondSocket, RateLimit,
    Result,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The longest name and message, in bytes.
const MAX_NAME: usize = 40;
const MAX_TEXT: usize = 2000;

#[derive(Deserialize)]
struct Say {
    text: String,
}

#[derive(Serialize)]
struct Said {
    name: String,
    text: String,
}

pub(crate) fn create(pond: &PondSocket) {
    let socket = pond.create_endpoint("/api/socket", connect);
    let lobby = socket.create_channel("/chat/:room", join);
    lobby.layer(RateLimit::per_user(5.0, 20));
    lobby.on_event("say", say);
}

/// Accepts clients with a name. A real application verifies a token here, and takes the name from it.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").filter(|name| (1..=MAX_NAME).contains(&name.len()));
    let name = name.ok_or(Error::unauthorized("who are you?"))?.to_owned();
    Ok(ctx.accept().assign("name", &name))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    let name: String = ctx.assign("name")?;
    Ok(ctx.accept().track(&json!({ "name": name })))
}

async fn say(ctx: EventContext, Payload(say): Payload<Say>) -> Result<Delivery> {
    if say.text.trim().is_empty() || say.text.len() > MAX_TEXT {
        return Err(Error::bad_request(format!("a message has 1 to {MAX_TEXT} bytes")));
    }
    ctx.broadcast("said", &Said { name: ctx.assign("name")?, text: say.text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_reaches_all_members() -> Result<(), Box<dyn std::error::Error>> {
        let pond = PondSocket::new();
        create(&pond);
        let client = pond.test_client();
        assert_eq!(client.connect("/api/socket").await.unwrap_err().code(), Some(401));
        let (ada, bob) = (client.connect("/api/socket?name=ada").await?, client.connect("/api/socket?name=bob").await?);
        let (ada, mut bob) = (ada.join("/chat/1", ()).await?, bob.join("/chat/1", ()).await?);
        ada.send("say", json!({ "text": "hi" }));
        assert_eq!(bob.next("said").await?, json!({ "name": "ada", "text": "hi" }));
        Ok(())
    }
}
