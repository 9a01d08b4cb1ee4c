//! The examples of docs/testing.md, as they stand there.

use pondsocket::testing::{Change, Connector};
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, History, JoinContext, Joined, Payload, PondSocket, Result,
};
use serde_json::{Value, json};

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
    let tab = ctx.query("tab").unwrap_or_default().to_owned();
    Ok(ctx.accept().user_id(&name).session(&tab))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    if ctx.param("room")? == "staff" {
        return Err(Error::forbidden("staff only"));
    }
    let name = ctx.user_id().to_owned();
    Ok(ctx.accept().track(&json!({ "name": name })))
}

fn chat() -> PondSocket {
    let pond = PondSocket::new();
    let lobby = pond.create_endpoint("/api/socket", connect).create_channel("/chat/:room", join);
    lobby.history(History::new());
    lobby.on_event("say", async |ctx: EventContext, Payload(text): Payload<Value>| ctx.broadcast_from("said", &text));
    lobby.on_event("count", async |ctx: EventContext| {
        let members = ctx.all_presence::<Value>()?.len();
        ctx.reply("count", &json!({ "members": members }))
    });
    pond
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_name_joins_and_is_shown() -> Result<(), Box<dyn std::error::Error>> {
    let client = chat().test_client();
    assert_eq!(client.connect("/api/socket").await.unwrap_err().code(), Some(401));

    let ada = client.connect("/api/socket?name=ada").await?;
    assert_eq!(ada.join("/chat/staff", json!({})).await.unwrap_err().code(), Some(403));
    let mut room = ada.join("/chat/1", json!({})).await?;
    let shown = room.next_presence().await?;
    assert_eq!((shown.change, &shown.changed["name"]), (Change::Join, &json!("ada")));
    room.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_other_member_receives_a_message() -> Result<(), Box<dyn std::error::Error>> {
    let client = chat().test_client();
    let ada = client.connect("/api/socket?name=ada").await?;
    let bob = client.connect("/api/socket?name=bob").await?;
    let mut adas = ada.join("/chat/1", json!({})).await?;
    let mut bobs = bob.join("/chat/1", json!({})).await?;

    adas.send("say", json!({ "text": "hi" }));
    assert_eq!(bobs.next("said").await?["text"], "hi");
    assert_eq!(bobs.request("count", json!({})).await?["members"], 2);
    assert_eq!(adas.request("dance", json!({})).await.unwrap_err().code(), Some(404));

    bobs.leave().await?;
    bob.close();
    assert_eq!(bob.closed().await?.code, Some(1000));
    let changes = [adas.next_presence().await?, adas.next_presence().await?, adas.next_presence().await?];
    assert_eq!(changes.map(|change| change.change), [Change::Join, Change::Join, Change::Leave]);
    adas.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_away_gets_what_it_missed() -> Result<(), Box<dyn std::error::Error>> {
    let (client, tab) = (chat().test_client(), "/api/socket?name=ada&tab=3f9c2a71d0b84e65");
    let bob = client.connect("/api/socket?name=bob").await?;
    let bobs = bob.join("/chat/1", json!({})).await?;
    let ada = client.connect(tab).await?;
    let room = ada.join("/chat/1", json!({})).await?;

    drop((ada, room));
    bobs.send("say", json!({ "text": "hi" }));
    let ada = client.connect(tab).await?;
    let mut room = ada.join("/chat/1", json!({})).await?;
    assert_eq!(room.next("said").await?["text"], "hi");

    ada.close();
    ada.closed().await?;
    bobs.send("say", json!({ "text": "bye" }));
    assert_eq!(bobs.request("count", json!({})).await?["members"], 1);
    let ada = client.connect(tab).await?;
    let mut room = ada.join("/chat/1", json!({})).await?;
    assert_eq!(room.next_presence().await?.change, Change::Join);
    room.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn payloads_have_types_of_your_own() -> Result<(), Box<dyn std::error::Error>> {
    #[derive(serde::Deserialize)]
    struct Count {
        members: usize,
    }

    let ada = chat().test_client().connect("/api/socket?name=ada").await?;
    let room = ada.join("/chat/1", ()).await?;
    let count: Count = room.request_as("count", ()).await?;
    assert_eq!(count.members, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_host_is_tested_too() -> Result<(), Box<dyn std::error::Error>> {
    let router = axum::Router::new().fallback_service(chat().service());
    let client = Connector::new(router).header("origin", "https://example.com").peer("203.0.113.7:9".parse()?);
    let refused = client.connect("/api/socket").await.unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.text()), Some("who are you?".to_owned()));
    Ok(())
}

#[test]
fn the_guide_shows_these_tests() {
    let guide = include_str!("../../../../docs/testing.md");
    let examples: Vec<_> = guide.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 6);
    for example in examples {
        assert!(include_str!("testing_guide.rs").contains(example), "not among the tests:\n{example}");
    }
}
