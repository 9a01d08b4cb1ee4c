//! Values of clients that are no JSON objects: the origin of the error, and their strict decoding.

use std::collections::HashMap;

use pondsocket::metrics::{Component, Metrics};
use pondsocket::{
    Assigns, Connected, ConnectionContext, Error, EventContext, Handler, JoinContext, Joined, Next, Payload,
    PondSocket, Presence, Query, Result,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use testkit::{Log, Peer, serve};

/// The metric of errors.
struct Errors(Log);

impl Metrics for Errors {
    fn error(&self, component: Component, error: &Error) {
        self.0.note(format!("{component}: {error}"));
    }
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept().user_id("ada"))
}

/// Passes the payload on, by each method that sends.
async fn pass_on(ctx: EventContext, Payload(value): Payload<Value>) -> Result<()> {
    let channel = ctx.channel();
    match ctx.event() {
        "broadcast" => drop(ctx.broadcast("e", &value)?),
        "broadcast_to" => drop(ctx.broadcast_to(["ada"], "e", &value)?),
        "broadcast_from" => drop(ctx.broadcast_from("e", &value)?),
        "reply" => ctx.reply("e", &value)?,
        "track" => ctx.track(&value)?,
        "track_for" => ctx.track_for(["ada"], &value)?,
        "update_presence" => ctx.update_presence(&value)?,
        "update_presence_for" => ctx.update_presence_for(["ada"], &value).await?,
        "channel.broadcast" => drop(channel.broadcast("e", &value)?),
        "channel.broadcast_to" => drop(channel.broadcast_to(["ada"], "e", &value)?),
        "channel.broadcast_from" => drop(channel.broadcast_from("ada", "e", &value)?),
        "channel.track" => channel.track("ada", &value)?,
        "channel.update_presence" => channel.update_presence("ada", &value).await?,
        "raw" => {
            let raw: Box<RawValue> = ctx.payload()?;
            ctx.broadcast("e", &raw)?;
        }
        event => panic!("no such way: {event}"),
    }
    Ok(())
}

const WAYS: [&str; 14] = [
    "broadcast",
    "broadcast_to",
    "broadcast_from",
    "reply",
    "track",
    "track_for",
    "update_presence",
    "update_presence_for",
    "channel.broadcast",
    "channel.broadcast_to",
    "channel.broadcast_from",
    "channel.track",
    "channel.update_presence",
    "raw",
];

fn values() -> [Value; 7] {
    [json!([]), json!([1, { "a": [2] }]), json!("hi"), json!(""), json!(7), json!(-0.5), json!(true)]
}

/// The code and text of the error with which a message is answered.
async fn failed(peer: &mut Peer, event: &str, payload: Value) -> (Value, Value) {
    let id = peer.event("/c", event, payload).await;
    let answer = peer.next().await;
    assert_eq!((&answer["event"], &answer["requestId"]), (&json!("INTERNAL_ERROR"), &json!(id)), "{answer}");
    (answer["payload"]["code"].clone(), answer["payload"]["message"].clone())
}

#[tokio::test]
async fn a_client_value_that_is_no_object_is_the_clients_mistake() {
    let errors = Log::default();
    let pond = PondSocket::new().metrics(Errors(errors.clone()));
    let endpoint = pond.create_endpoint("/in", connect);
    let lobby = endpoint.create_channel("/c", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
    for way in WAYS {
        lobby.on_event(way, pass_on);
    }
    lobby.on_event(
        "layer",
        (async |ctx: EventContext| ctx.reply("e", &ctx.payload::<Value>()?)).layer(
            async |mut ctx: EventContext, next: Next<EventContext>| {
                let value: Value = ctx.payload()?;
                ctx.set_payload(&value)?;
                next.run(ctx).await
            },
        ),
    );
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/in").await;
    peer.join("/c", json!({})).await;
    let expected = (json!(400), json!("invalid payload: not a JSON object"));
    for way in WAYS.into_iter().chain(["layer"]) {
        for value in values() {
            assert_eq!(failed(&mut peer, way, value.clone()).await, expected, "{way} of {value}");
        }
    }
    assert_eq!(errors.take(), Vec::<String>::new());
}

#[tokio::test]
async fn a_join_payload_that_is_no_object_declines_the_join() {
    let errors = Log::default();
    let pond = PondSocket::new().metrics(Errors(errors.clone()));
    let endpoint = pond.create_endpoint("/in", connect);
    endpoint.create_channel("/:way", async |ctx: JoinContext, Payload(value): Payload<Value>| -> Result<Joined> {
        let channel = ctx.channel();
        let way = channel.name().to_owned();
        Ok(match way.as_str() {
            "/track" => ctx.accept().track(&value),
            "/reply" => ctx.accept().reply("e", &value),
            "/broadcast" => ctx.accept().broadcast("e", &value),
            "/broadcast_from" => ctx.accept().broadcast_from("e", &value),
            "/broadcast_to" => ctx.accept().broadcast_to(["ada"], "e", &value),
            "/channel" => {
                channel.broadcast("e", &value)?;
                ctx.accept()
            }
            way => panic!("no such way: {way}"),
        })
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/in").await;
    for way in ["/track", "/reply", "/broadcast", "/broadcast_from", "/broadcast_to", "/channel"] {
        for value in values() {
            let declined = peer.join_declined(way, value.clone()).await;
            let told = (&declined["code"], &declined["message"]);
            assert_eq!(told, (&json!(400), &json!("invalid payload: not a JSON object")), "{way} with {value}");
        }
    }
    assert_eq!(errors.take(), Vec::<String>::new());
}

#[tokio::test]
async fn a_value_of_the_application_that_is_no_object_is_its_own_mistake() {
    let errors = Log::default();
    let pond = PondSocket::new().metrics(Errors(errors.clone()));
    let endpoint = pond.create_endpoint("/in", connect);
    let lobby = endpoint.create_channel("/c", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
    // The handler sends another value than the received one.
    lobby.on_event("another", async |ctx: EventContext, Payload(_): Payload<Value>| ctx.broadcast("e", &json!([1])));
    lobby.on_event("length", async |ctx: EventContext, Payload(items): Payload<Value>| {
        ctx.broadcast("e", &items.as_array().map_or(0, Vec::len))
    });
    // The application sends a list, which is never allowed.
    lobby.on_event("list", async |ctx: EventContext, Payload(items): Payload<Vec<u32>>| ctx.broadcast("e", &items));
    // The handler has not read the payload.
    lobby.on_event("unread", async |ctx: EventContext| ctx.broadcast("e", &[1, 2, 3]));
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/in").await;
    peer.join("/c", json!({})).await;
    for event in ["another", "length", "list", "unread"] {
        assert_eq!(failed(&mut peer, event, json!([1, 2, 3])).await, (json!(500), json!("internal error")), "{event}");
    }
    assert_eq!(errors.take(), vec!["event_handler: internal error (500)"; 4]);
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct User {
    username: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[expect(dead_code, reason = "only parsed")]
    from: User,
}

#[tokio::test]
async fn an_array_does_not_pass_for_a_struct_wherever_it_comes_from() {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/in", connect);
    let joins =
        async |ctx: JoinContext, Payload(user): Payload<User>| Ok::<_, Error>(ctx.accept().assign("user", &user));
    endpoint.create_channel("/strict", joins);
    let lobby = endpoint.create_channel("/c", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
    lobby.on_event("extracted", async |_: EventContext, Payload(_): Payload<User>| {});
    lobby.on_event("read", async |ctx: EventContext| ctx.payload::<User>().map(drop));
    lobby.on_event("nested", async |_: EventContext, Payload(_): Payload<Message>| {});
    lobby.on_event("many", async |_: EventContext, Payload(_): Payload<HashMap<String, User>>| {});
    lobby.on_event("keep", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.set_assign("user", &value));
    lobby.on_event("kept", async |ctx: EventContext| ctx.assign::<User>("user").map(drop));
    lobby.on_event("all kept", async |_: EventContext, Assigns(_): Assigns<HashMap<String, User>>| {});
    lobby.on_event("show", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.update_presence(&value));
    lobby.on_event("shown", async |_: EventContext, Presence(_): Presence<Message>| {});
    lobby.on_event("all shown", async |ctx: EventContext| ctx.all_presence::<Message>().map(drop));
    lobby.on_event("queried", async |_: EventContext, Query(_): Query<User>| {});
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/in").await;

    let declined = peer.join_declined("/strict", json!(["ada"])).await;
    assert_eq!((&declined["code"], declined["details"].get("field")), (&json!(400), None));
    peer.join("/strict", json!({ "username": "ada" })).await;
    peer.join("/c", json!({})).await;

    assert_eq!(failed(&mut peer, "extracted", json!(["ada"])).await.0, json!(400));
    assert_eq!(failed(&mut peer, "read", json!(["ada"])).await.0, json!(400));
    assert_eq!(failed(&mut peer, "nested", json!([["ada"]])).await.0, json!(400));
    let (code, text) = failed(&mut peer, "nested", json!({ "from": ["ada"] })).await;
    assert_eq!(code, json!(400));
    assert!(
        text.as_str().is_some_and(|text| text.starts_with("invalid payload: from: invalid type: sequence")),
        "{text}"
    );
    assert_eq!(failed(&mut peer, "many", json!({ "a": ["ada"] })).await.0, json!(400));
    assert_eq!(failed(&mut peer, "queried?0=ada", json!(["ada"])).await.0, json!(400));

    peer.event("/c", "keep", json!(["ada"])).await;
    assert_eq!(failed(&mut peer, "kept", json!({})).await.0, json!(500));
    assert_eq!(failed(&mut peer, "all kept", json!({})).await.0, json!(500));
    peer.event("/c", "show", json!({ "from": ["ada"] })).await;
    assert_eq!(peer.next().await["action"], json!("PRESENCE"));
    assert_eq!(failed(&mut peer, "shown", json!({})).await.0, json!(500));
    assert_eq!(failed(&mut peer, "all shown", json!({})).await.0, json!(500));
}
