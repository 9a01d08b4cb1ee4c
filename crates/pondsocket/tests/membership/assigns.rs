//! Assigns and presence as types of the application, in every context.

use std::collections::HashMap;

use pondsocket::testing::{Change, Client, Room};
use pondsocket::{
    Assigns, Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Lobby, Lossy, Payload,
    PondSocket, Presence, Result,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::TestResult;

use crate::Mood;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Account {
    name: String,
    admin: bool,
}

/// The assigns of a membership.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Seat {
    account: Account,
    row: Option<u8>,
}

fn account(name: &str) -> Account {
    Account { name: name.to_owned(), admin: name == "ada" }
}

fn seat(name: &str, row: impl Into<Option<u8>>) -> Seat {
    Seat { account: account(name), row: row.into() }
}

fn shown(mood: &str) -> Mood {
    Mood { mood: mood.to_owned() }
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").unwrap_or_default().to_owned();
    Ok(ctx.accept().user_id(&name).assign("account", &account(&name)))
}

#[derive(Deserialize)]
struct Join {
    row: u8,
    mood: String,
}

/// Sends the present members to the joining one.
async fn join(ctx: JoinContext, Assigns(mine): Assigns<Seat>, Payload(join): Payload<Join>) -> Result<Joined> {
    assert_eq!(mine.account, ctx.assign::<Account>("account")?);
    assert_eq!(mine, ctx.user().assigns::<Seat>()?);
    assert_eq!(ctx.assign::<u8>("missing").map_err(|error| error.code()), Err(404));
    assert_eq!(ctx.assign::<u8>("account").map_err(|error| error.code()), Err(500));
    let seats: HashMap<String, Seat> = ctx.all_assigns()?;
    let moods: HashMap<String, Mood> = ctx.all_presence()?;
    let there = json!({ "seats": seats, "moods": moods });
    Ok(ctx.accept().assign("row", &join.row).track(&shown(&join.mood)).reply("there", &there))
}

fn pond() -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby.on_event("mine", async |ctx: EventContext, Assigns(seat): Assigns<Seat>, Presence(shown): Presence<Mood>| {
        assert_eq!(seat.account, ctx.assign::<Account>("account")?);
        assert_eq!((&seat, &shown), (&ctx.user()?.assigns::<Seat>()?, &ctx.user()?.presence::<Mood>()?));
        assert_eq!((&seat, &shown), (&ctx.assigns::<Seat>()?, &ctx.presence::<Mood>()?));
        ctx.reply("mine", &json!({ "seat": seat, "shown": shown }))
    });
    (pond, endpoint, lobby)
}

async fn enter(pond: &PondSocket, name: &str, row: u8, mood: &str) -> (Client, Room, Value) {
    let client = pond.test_client().connect(&format!("/?name={name}")).await.expect("let in");
    let mut room = client.join("/c/1", json!({ "row": row, "mood": mood })).await.expect("joined");
    let there = room.next("there").await.expect("who is there");
    room.next_presence().await.expect("oneself");
    (client, room, there)
}

async fn mine(room: &Room) -> (Seat, Mood) {
    let mine: Value = room.request("mine", json!({})).await.expect("a reply");
    let seat = serde_json::from_value(mine["seat"].clone()).expect("a seat");
    (seat, serde_json::from_value(mine["shown"].clone()).expect("a mood"))
}

#[tokio::test(start_paused = true)]
async fn assigns_are_typed_by_key_and_as_a_whole_in_every_context() -> TestResult {
    let (pond, ..) = pond();
    let (_ada, ada, nobody) = enter(&pond, "ada", 1, "calm").await;
    assert_eq!(nobody, json!({ "seats": {}, "moods": {} }));
    let (_bob, bob, there) = enter(&pond, "bob", 2, "glad").await;
    assert_eq!(there, json!({ "seats": { "ada": seat("ada", 1) }, "moods": { "ada": shown("calm") } }));
    assert_eq!(mine(&ada).await, (seat("ada", 1), shown("calm")));
    assert_eq!(mine(&bob).await, (seat("bob", 2), shown("glad")));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_handler_sets_assigns_for_all_connections_of_its_user() -> TestResult {
    let (pond, _, lobby) = pond();
    lobby.on_event("move", async |ctx: EventContext, Payload((row, mood)): Payload<(u8, String)>| -> Result<()> {
        ctx.set_assign("row", &row)?;
        ctx.update_presence(&shown(&mood))?;
        assert_eq!((ctx.assign::<u8>("row")?, ctx.presence::<Mood>()?), (row, shown(&mood)), "at once");
        ctx.reply("move", &())
    });
    let (_one, mut one, _) = enter(&pond, "ada", 1, "calm").await;
    let (_two, two, _) = enter(&pond, "ada", 1, "calm").await;
    let (_bob, bob, _) = enter(&pond, "bob", 2, "glad").await;
    one.next_presence().await?;
    two.request("move", json!([9, "wild"])).await?;
    assert_eq!(mine(&one).await, (seat("ada", 9), shown("wild")));
    assert_eq!(mine(&two).await, (seat("ada", 9), shown("wild")));
    assert_eq!(mine(&bob).await, (seat("bob", 2), shown("glad")));
    let change = one.next_presence_as::<Mood>().await?;
    assert_eq!((change.change, change.user_id.as_str(), change.changed), (Change::Update, "ada", shown("wild")));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn assigns_are_set_and_read_from_outside() -> TestResult {
    let (pond, endpoint, _) = pond();
    let (_ada, mut ada, _) = enter(&pond, "ada", 1, "calm").await;
    let (_bob, _bobs, _) = enter(&pond, "bob", 2, "glad").await;
    ada.next_presence().await?;
    let channel = endpoint.channel("/c/1")?;
    channel.update_assigns("ada", "row", &7).await?;
    channel.update_assigns("ada", "account", &account("eve")).await?;
    channel.update_presence("ada", &shown("wild")).await?;
    assert_eq!(mine(&ada).await, (seat("eve", 7), shown("wild")));
    let change = ada.next_presence_as::<Mood>().await?;
    assert_eq!((change.change, change.user_id.as_str(), change.changed), (Change::Update, "ada", shown("wild")));

    let seats: HashMap<String, Seat> = channel.assigns()?;
    assert_eq!(seats, HashMap::from([("ada".to_owned(), seat("eve", 7)), ("bob".to_owned(), seat("bob", 2))]));
    let moods: HashMap<String, Mood> = channel.presence()?;
    assert_eq!(moods, HashMap::from([("ada".to_owned(), shown("wild")), ("bob".to_owned(), shown("glad"))]));
    let user = channel.user("ada").await?;
    assert_eq!((user.id(), user.assigns::<Seat>()?, user.presence::<Mood>()?), ("ada", seat("eve", 7), shown("wild")));
    assert_eq!(user.assign::<String>("row").map_err(|error| error.code()), Err(500));
    assert_eq!(user.assign::<String>("missing").map_err(|error| error.code()), Err(404));

    assert_eq!(channel.user("eve").await.map(|_| ()).map_err(|error| error.code()), Err(404));
    assert_eq!(channel.update_assigns("eve", "row", &7).await.map_err(|error| error.code()), Err(404));
    assert_eq!(channel.update_presence("eve", &shown("wild")).await.map_err(|error| error.code()), Err(404));
    assert_eq!(channel.update_presence("ada", &5).await.map_err(|error| error.code()), Err(500), "no object");
    assert_eq!(mine(&ada).await, (seat("eve", 7), shown("wild")), "nothing has changed");
    ada.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn assigns_of_a_connection_are_visible_to_its_later_joins() -> TestResult {
    let (pond, endpoint, _) = pond();
    let (client, room, _) = enter(&pond, "ada", 1, "calm").await;
    let connection = endpoint.connection(client.id()).expect("it is there");
    connection.set_assign("account", &account("eve"))?;
    assert_eq!(connection.user().assign::<Account>("account")?, account("eve"));
    assert_eq!(mine(&room).await.0, seat("ada", 1), "a membership has its own copy");
    let mut later = client.join("/c/2", json!({ "row": 3, "mood": "calm" })).await?;
    later.next("there").await?;
    assert_eq!(mine(&later).await.0, seat("eve", 3));
    // A further connection of a member adds its assigns to the membership.
    let (_other, _rooms, _) = enter(&pond, "ada", 5, "calm").await;
    assert_eq!(mine(&room).await.0, seat("ada", 5));
    Ok(())
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The internal part of an error.
fn reason(error: &Error) -> String {
    std::error::Error::source(error).expect("a reason").to_string()
}

#[tokio::test]
async fn a_member_with_other_assigns_is_left_out_and_a_missing_key_is_named() {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| {
        let name = ctx.query("name").unwrap_or("nobody").to_owned();
        Ok::<_, Error>(ctx.accept().user_id(&name))
    });
    let join = async |ctx: JoinContext| -> Result<Joined> {
        let shown = if ctx.user_id() == "odd" { json!({ "name": 5 }) } else { json!({ "name": ctx.user_id() }) };
        Ok(ctx.accept().assign("name", &shown["name"]).assign("role", &"guest").track(&shown))
    };
    let lobby = endpoint.create_channel("/c", join);
    lobby.on_event("all", async |ctx: EventContext| {
        assert_eq!(ctx.all_presence::<Named>().map(drop).map_err(|error| error.code()), Err(500));
        assert_eq!(ctx.all_assigns::<Named>().map(drop).map_err(|error| error.code()), Err(500));
        let (presence, assigns) = (ctx.all_presence_lossy::<Named>(), ctx.all_assigns_lossy::<Named>());
        let name = |all: &Lossy<Named>| all.members.get("ada").map(|account| account.name.clone());
        let told = json!({
            "presence": [name(&presence), presence.members.len(), presence.skipped],
            "assigns": [name(&assigns), assigns.members.len(), assigns.skipped],
            "missing": reason(&ctx.assigns::<HashMap<String, u8>>().expect_err("texts")),
        });
        ctx.reply("all", &told)
    });
    let (_server, address) = testkit::serve(&pond).await;
    let mut odd = testkit::Peer::connect(address, "/?name=odd").await;
    odd.join("/c", json!({})).await;
    let mut ada = testkit::Peer::connect(address, "/?name=ada").await;
    ada.join("/c", json!({})).await;
    ada.event("/c", "all", json!({})).await;
    let told = ada.until("all").await["payload"].clone();
    assert_eq!(told["presence"], json!(["ada", 1, 1]));
    assert_eq!(told["assigns"], json!(["ada", 1, 1]));
    let missing = told["missing"].as_str().expect("a text");
    assert!(
        missing.starts_with("assigns: invalid type") && missing.contains("the keys are `name`, `role`"),
        "{missing}"
    );
}
