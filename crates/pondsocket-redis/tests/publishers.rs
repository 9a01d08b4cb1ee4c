//! Programs that are no nodes publish into channels with the Redis function, as members and those who were away see it.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pondsocket::cluster::Bus;
use pondsocket::{
    ConnectionContext, EventContext, History, JoinContext, Options, Payload, PondSocket, Position, Result, Server,
};
use pondsocket_proto::cluster::message::{Body, Envelope, strict};
use pondsocket_redis::{FUNCTIONS, RedisBus};
use redis::{ErrorKind, RedisResult};
use serde_json::{Value, json};
use support::options;
use testkit::{Peer, RedisServer, eventually, serve};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

const NAMESPACE: &str = "pondsocket:v1:default";
const ENDPOINT: &str = "/api/socket";
const CHANNEL: &str = "/news/1";
const STREAM: &str = "pondsocket:v1:default:__history__:{api/socket:/news/1}:s";
const META: &str = "pondsocket:v1:default:__history__:{api/socket:/news/1}:m";

/// The page that tells operators and authors of publishers what to do.
const PAGE: &str = include_str!("../../../docs/publishing.md");

struct Node {
    address: SocketAddr,
    bus: Arc<RedisBus>,
    _pond: PondSocket,
    _server: Server,
}

/// A node with channels that keep a history, `/news/...`, and channels that do not, `/plain/...`.
async fn start(redis: &RedisServer, name: &str) -> Node {
    let bus = Arc::new(RedisBus::new(options(redis).functions(true)).expect("valid options"));
    let options = Options::default().bus(Arc::clone(&bus)).node_name(name.to_owned());
    let pond = PondSocket::with_options(options).expect("valid options");
    let socket = pond.create_endpoint(ENDPOINT, async |ctx: ConnectionContext| Ok(ctx.accept()));
    let news = socket.create_channel("/news/:topic", async |ctx: JoinContext| Ok(ctx.accept().replay_last(50)));
    news.history(History::new().messages(400));
    news.on_event("say", async |ctx: EventContext, Payload(said): Payload<Value>| -> Result<()> {
        ctx.broadcast("said", &said)?;
        Ok(())
    });
    let plain = socket.create_channel("/plain/:topic", async |ctx: JoinContext| Ok(ctx.accept()));
    plain.on_event("ask", async |ctx: EventContext| ctx.reply("answered", &json!({})));
    let (server, address) = serve(&pond).await;
    eventually("a connection", || bus.stats().up).await;
    Node { address, bus, _pond: pond, _server: server }
}

/// A client in the channel, and the payload of its acknowledgement.
async fn join(node: &Node, payload: Value) -> (Peer, Value) {
    let mut peer = Peer::connect(node.address, ENDPOINT).await;
    peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", CHANNEL, payload).await;
    let answer = peer.next().await;
    assert_eq!(answer["event"], "ACKNOWLEDGE", "{answer}");
    (peer, answer["payload"].clone())
}

async fn with_functions() -> RedisServer {
    let redis = RedisServer::start().await;
    let _: String = redis.command(&["FUNCTION", "LOAD", FUNCTIONS]).await;
    redis
}

async fn try_publish(redis: &RedisServer, channel: &str, payload: &str, options: &[&str]) -> RedisResult<String> {
    let words = ["FCALL", "ps_publish", "0", NAMESPACE, ENDPOINT, channel, "said", payload];
    redis.try_command(&[&words, options].concat()).await
}

/// Publishes a message, and returns its position.
async fn publish(redis: &RedisServer, payload: &str, options: &[&str]) -> Position {
    let position = try_publish(redis, CHANNEL, payload, options).await.unwrap_or_else(|error| panic!("{error}"));
    position.parse().expect("a position")
}

#[track_caller]
fn assert_said(message: &Value, n: u64, position: Position) {
    assert_eq!(
        (&message["event"], &message["payload"], &message["requestId"]),
        (&json!("said"), &json!({ "n": n }), &json!(position.to_string()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_get_what_is_published_in_one_order_and_those_away_get_it_when_they_resume() {
    let redis = RedisServer::start().await;
    let (one, two) = (start(&redis, "one").await, start(&redis, "two").await);
    let (mut ada, _) = join(&one, json!({})).await;
    let (bob, seen) = join(&two, json!({ "$resume": "" })).await;
    bob.reset();
    let first = publish(&redis, r#"{"n":1}"#, &[]).await;
    assert_said(&ada.next().await, 1, first);
    ada.event(CHANNEL, "say", json!({ "n": 2 })).await;
    assert_said(&ada.next().await, 2, Position { offset: first.offset + 1, ..first });
    let third = publish(&redis, r#"{"n":3}"#, &[]).await;
    assert_eq!(third, Position { offset: first.offset + 2, ..first }, "nodes and publishers share one count");
    assert_said(&ada.next().await, 3, third);

    let (mut bob, answer) = join(&two, json!({ "$resume": seen["position"] })).await;
    assert_eq!(answer["recovered"], json!(true), "{answer}");
    for n in 1..=3 {
        assert_said(&bob.next().await, n, Position { offset: n, ..first });
    }
    let fourth = publish(&redis, r#"{"n":4}"#, &[]).await;
    assert_said(&ada.next().await, 4, fourth);
    assert_said(&bob.next().await, 4, fourth);
}

/// The first message of a channel that no node has opened begins its history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_a_channel_that_nobody_has_open_waits_for_newcomers() {
    let redis = with_functions().await;
    let first = publish(&redis, r#"{"n":1}"#, &[]).await;
    assert_eq!(first.offset, 1);
    let node = start(&redis, "one").await;
    let (mut ada, _) = join(&node, json!({})).await;
    assert_said(&ada.next().await, 1, first);
    let second = publish(&redis, r#"{"n":2}"#, &[]).await;
    assert_eq!(second, Position { offset: 2, ..first });
    assert_said(&ada.next().await, 2, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_the_same_id_is_published_once() {
    let redis = with_functions().await;
    let node = start(&redis, "one").await;
    let (mut ada, _) = join(&node, json!({})).await;
    let first = publish(&redis, r#"{"n":1}"#, &["id", "order-1"]).await;
    assert_eq!(publish(&redis, r#"{"n":1}"#, &["ID", "order-1"]).await, first);
    let second = publish(&redis, r#"{"n":2}"#, &["id", "order-2"]).await;
    assert_eq!(publish(&redis, r#"{"n":1}"#, &["id", "order-1"]).await, first, "also behind others");
    assert_said(&ada.next().await, 1, first);
    assert_said(&ada.next().await, 2, second);
    assert_eq!(redis.command::<u64>(&["XLEN", STREAM]).await, 2);
    // The message without an id is the next one, so nothing has come between.
    let third = publish(&redis, r#"{"n":3}"#, &[]).await;
    assert_said(&ada.next().await, 3, third);
    // Redis knows the last thousand.
    for n in 0..1000 {
        publish(&redis, "{}", &["id", &format!("later-{n}"), "messages", "2000"]).await;
    }
    assert_eq!(publish(&redis, "{}", &["id", "later-0"]).await.offset, 4);
    assert_eq!(publish(&redis, "{}", &["id", "order-2"]).await.offset, 1004);
}

/// After a restart the end of the history may be missing: it begins anew, and members are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_redis_a_published_message_begins_the_history_anew() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let node = start(&redis, "one").await;
    let (mut ada, _) = join(&node, json!({ "$resume": "" })).await;
    let before = publish(&redis, r#"{"n":1}"#, &["id", "a"]).await;
    assert_said(&ada.next().await, 1, before);
    redis.kill().await;
    eventually("the loss", || !node.bus.stats().up).await;
    redis.restart().await;
    // Redis has kept the function with its data.
    let after = publish(&redis, r#"{"n":1}"#, &["id", "a"]).await;
    assert!(after.epoch != before.epoch && after.offset == 1, "{after} after {before}");
    let notice = ada.until("RESYNC").await;
    assert_eq!(notice["payload"], json!({ "gap": "epoch", "position": format!("{}.0", after.epoch) }));
    assert_said(&ada.next().await, 1, after);
}

/// Every refusal names the argument, and leaves nothing behind.
#[tokio::test]
async fn wrong_arguments_are_refused_and_change_nothing() {
    let redis = with_functions().await;
    let long = "x".repeat(4097);
    let right = [NAMESPACE, ENDPOINT, CHANNEL, "said", "{}"];
    let with = |at: usize, word: &'static str| {
        let mut words = right;
        words[at] = word;
        words.to_vec()
    };
    let and = |more: &[&'static str]| [&right[..], more].concat();
    let cases = [
        (right[..4].to_vec(), "the arguments are namespace, endpoint, channel, event, payload and options"),
        (with(0, "default"), "namespace is not of the form pondsocket:v1:default"),
        (with(0, "pondsocket:v1:default:"), "namespace is not of the form pondsocket:v1:default"),
        (with(1, "__node__"), "endpoint is reserved"),
        (with(1, "/__node__:web-1"), "endpoint is reserved"),
        (with(2, ""), "channel is empty"),
        (with(2, "CHANNEL"), "channel is reserved"),
        (with(3, ""), "event is empty"),
        (with(3, "EVICTED"), "event is reserved"),
        (with(4, ""), "payload is no JSON object"),
        (with(4, "[{}]"), "payload is no JSON object"),
        (with(4, "{} {}"), "payload is no valid JSON"),
        (with(4, r#"{"a":1e400}"#), "payload has a number that no double holds"),
        (with(4, r#"{"a":"\ud83d"}"#), "payload has half a surrogate pair"),
        (and(&["id"]), "the option id has no value"),
        (and(&["id", "a b"]), "id is not 1 to 128 letters, digits, dots, colons, hyphens, underscores and tildes"),
        (and(&["id", "a", "id", "b"]), "id is there twice"),
        (and(&["messages", "0"]), "messages is no whole number from 1 to 4294967295"),
        (and(&["ttl", "1.5"]), "ttl is no whole number from 1 to 3153600000000"),
        (and(&["until", "1"]), "there is no option until"),
    ];
    let refused = async |words: &[&str]| {
        let answer: RedisResult<String> = redis.try_command(&[&["FCALL", "ps_publish", "0"], words].concat()).await;
        let error = answer.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Server(redis::ServerErrorKind::ResponseError), "{words:?}: {error}");
        error.detail().expect("a text").to_owned()
    };
    for (words, why) in cases {
        assert_eq!(refused(&words).await, format!("ps_publish: {why}"), "{words:?}");
    }
    let [namespace, endpoint, _, event, payload] = right;
    assert_eq!(
        refused(&[namespace, endpoint, &long, event, payload]).await,
        "ps_publish: channel is longer than 4096 bytes"
    );
    let invalid = b"{\"a\":\"\xc3\"}";
    let client = redis::Client::open(redis.url()).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let answer: RedisResult<String> = redis::cmd("FCALL")
        .arg(&["ps_publish", "0", namespace, endpoint, CHANNEL, event])
        .arg(&invalid[..])
        .query_async(&mut connection)
        .await;
    assert_eq!(answer.expect_err("refused").detail(), Some("ps_publish: payload is not UTF-8"));
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*"]).await, [""; 0]);
}

/// Every node can read all that the function accepts: each message arrives at its position, and byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_arrive_byte_for_byte_or_are_refused() {
    let redis = with_functions().await;
    let node = start(&redis, "one").await;
    let (mut ada, _) = join(&node, json!({})).await;
    let nested = |depth: usize| format!("{}{}{}", r#"{"a":"#.repeat(depth - 1), "{}", "}".repeat(depth - 1));
    let accepted = [
        "{}",
        " { } ",
        r#"{"a":12345678901234567890123456789.10}"#,
        r#"{"a":1E+2,"a":-0.0,"b":[0,-1,1e308,5e-400]}"#,
        r#"{"\u0061\"\\\/\b\f\n\r\t":"\ud83e\udd86\u0000"}"#,
        "{\"a\" :\t[ true , false,null,[],{},\"\"]}",
        "{\"ä\":\"\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff} \u{1f986}\"}",
        r#"{"requestId":"000000.0","ext":{"v":1,"k":1}}"#,
        &nested(100),
    ];
    let refused = [
        "",
        "null",
        "\"a\"",
        "{",
        "}",
        "{}}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":[}]",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":+1}",
        "{\"a\":0x1}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":-1e309}",
        "{\"a\":truex}",
        "{\"a\":'b'}",
        "{\"a\":\"\u{1f}\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\ud800\"}",
        "{\"a\":\"b}",
        "{\"a\":\"b\\\"}",
        "{\"a\":1}\u{0}",
        &nested(101),
    ];
    for payload in refused {
        assert!(try_publish(&redis, CHANNEL, payload, &[]).await.is_err(), "{payload}");
    }
    for (number, payload) in accepted.iter().enumerate() {
        let position = publish(&redis, payload, &[]).await;
        assert_eq!(position.offset, number as u64 + 1);
        let Some(Message::Text(text)) = ada.frame().await else { panic!("no text for {payload}") };
        assert!(text.contains(&format!(r#""payload":{}"#, payload.trim())), "{text}");
        assert!(text.contains(&position.to_string()), "{text}");
    }
    // In one message there is one line.
    publish(&redis, "{\r\n  \"a\": 1\n}", &[]).await;
    let Some(Message::Text(text)) = ada.frame().await else { panic!("no text") };
    assert!(text.contains(r#"{    "a": 1 }"#), "{text}");
}

/// Whatever the names are, nodes of all languages can read the message.
#[tokio::test]
async fn the_message_between_nodes_is_valid_for_all_languages() {
    let redis = with_functions().await;
    let (channel, event) = ("/a\\/\"b\"/\u{1}\u{7f}é", "\n\\/\"\\/\u{1f986}");
    let topic = format!("pondsocket:v1:default:t/:x:{channel}");
    let mut node = support::Node::listening(options(&redis), &[&topic]).await;
    let words = ["FCALL", "ps_publish", "0", NAMESPACE, "//t/:x", channel, event, r#"{"n":1}"#];
    let position: String = redis.command(&words).await;
    let (received_on, text) = node.message().await;
    assert_eq!((received_on.as_str(), strict::check(&text)), (&*topic, Ok(())), "{text}");
    let envelope = Envelope::decode(text.as_bytes()).expect("a message");
    let key = envelope.channel.as_ref().expect("a channel");
    assert_eq!((&*key.endpoint, key.channel.as_str()), ("t/:x", channel));
    let Body::UserMessage(message) = &envelope.body else { panic!("a message for users") };
    assert_eq!((&*message.from, &*message.event, message.payload.as_str()), ("CHANNEL", event, r#"{"n":1}"#));
    assert_eq!(message.position.map(|position| position.to_string()), Some(position));
}

/// Members get the message; nothing is replayed, because the node keeps nothing of the channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_without_a_history_gets_messages_live() {
    let redis = with_functions().await;
    let node = start(&redis, "one").await;
    let mut ada = Peer::connect(node.address, ENDPOINT).await;
    ada.join("/plain/1", json!({})).await;
    let position = try_publish(&redis, "/plain/1", r#"{"n":1}"#, &[]).await.expect("a position");
    assert_said(&ada.next().await, 1, position.parse().expect("a position"));
    let mut bob = Peer::connect(node.address, ENDPOINT).await;
    bob.join("/plain/1", json!({})).await;
    bob.nothing_before_reply("/plain/1", "ask").await;
}

/// The nodes know the bounds of a history, a publisher perhaps not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_never_makes_a_history_shorter() {
    let redis = with_functions().await;
    let node = start(&redis, "one").await;
    let (mut ada, _) = join(&node, json!({})).await;
    for n in 0..300 {
        ada.event(CHANNEL, "say", json!({ "n": n })).await;
        ada.next().await;
    }
    let time = async || redis.command::<u64>(&["PTTL", STREAM]).await;
    assert_eq!(redis.command::<u64>(&["XLEN", STREAM]).await, 300);
    publish(&redis, "{}", &["messages", "1", "ttl", "1"]).await;
    assert_eq!(redis.command::<u64>(&["XLEN", STREAM]).await, 300, "one more, one less");
    assert!(time().await > 60_000, "{} ms", time().await);
    publish(&redis, "{}", &["messages", "1000", "ttl", "600000"]).await;
    assert_eq!(redis.command::<u64>(&["XLEN", STREAM]).await, 301);
    assert!(time().await > 540_000, "{} ms", time().await);
}

/// A publisher cannot fill Redis by large messages, and keeps as many bytes as the nodes have said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_kept_up_to_a_number_of_bytes() {
    const SIZE: usize = 20_000;
    let redis = with_functions().await;
    let payload = json!({ "text": "x".repeat(SIZE) }).to_string();
    let kept = async || redis.command::<usize>(&["XLEN", STREAM]).await;
    let fill = async || {
        for _ in 0..60 {
            publish(&redis, &payload, &[]).await;
        }
    };
    fill().await;
    let default = (256 + 128) * 1024;
    assert!((default / SIZE - 1..=default / SIZE * 5 / 4).contains(&kept().await), "{} are kept", kept().await);
    // The bound of a history of 50,000 bytes in the nodes.
    let _: u64 = redis.command(&["HSET", META, "bound", "100000"]).await;
    fill().await;
    assert!((4..=6).contains(&kept().await), "{} are kept", kept().await);
}

/// A node loads the functions, replaces older ones, and leaves newer ones alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_loads_the_functions_unless_they_are_as_new() {
    let redis = RedisServer::start().await;
    let version = async || redis.command::<u64>(&["FCALL", "ps_version", "0"]).await;
    let (one, two) = tokio::join!(start(&redis, "one"), start(&redis, "two"));
    let present = version().await;
    let replaced = |by: u64| FUNCTIONS.replace(&format!("VERSION = {present}"), &format!("VERSION = {by}"));
    for (there, then) in [(present - 1, present), (present + 1, present + 1)] {
        let _: String = redis.command(&["FUNCTION", "LOAD", "REPLACE", &replaced(there)]).await;
        assert_eq!(version().await, there);
        start(&redis, "three").await;
        assert_eq!(version().await, then);
    }
    drop((one, two));
}

/// Redis 6.2 has no functions. The same text is a script there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_does_what_the_function_does() {
    let redis = with_functions().await;
    let (_, script) = FUNCTIONS.split_once('\n').expect("a first line");
    let words = ["EVAL", script, "0", NAMESPACE, ENDPOINT, CHANNEL, "said", r#"{"n":1}"#, "id", "a"];
    let by_script: String = redis.command(&words).await;
    let by_function = publish(&redis, r#"{"n":1}"#, &["id", "a"]).await;
    assert_eq!(by_script, by_function.to_string());
    let node = start(&redis, "one").await;
    let (mut ada, _) = join(&node, json!({})).await;
    assert_said(&ada.next().await, 1, by_function);
    let error = redis.try_command::<String>(&words[..7]).await.expect_err("refused");
    assert!(error.detail().is_some_and(|detail| detail.starts_with("ps_publish: the arguments are")), "{error}");
}

/// The blocks of code of the page in a language.
fn examples(language: &str) -> Vec<&'static str> {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// Runs a program as an operator does, beside the file with the functions. Returns what it prints.
async fn run(redis: &RedisServer, program: &str, code: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut command = Command::new(program);
    command.args(["-c", code]).current_dir(folder).env("REDIS_URL", redis.url());
    let output = command.output().await.expect("the program");
    assert!(output.status.success(), "{code}: {output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Runs what publishes, and checks that the member gets it at the position that is printed.
async fn assert_publishes(redis: &RedisServer, member: &mut Peer, text: &str, program: &str, code: &str) {
    let position = run(redis, program, code).await;
    let message = member.next().await;
    assert_eq!(
        (&message["event"], &message["payload"], &message["requestId"]),
        (&json!("said"), &json!({ "text": text }), &json!(position))
    );
    let kept: u64 = redis.command(&["XLEN", STREAM]).await;
    assert!(position.ends_with(&format!(".{kept}")), "{position} is the last of {kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_page_publish() {
    let redis = RedisServer::start().await;
    let [load, function, script] = examples("sh")[..] else { panic!("three commands") };
    assert_eq!(run(&redis, "sh", load).await, "pondsocket");
    let node = start(&redis, "one").await;
    let (mut ada, _) = join(&node, json!({})).await;
    assert_publishes(&redis, &mut ada, "from a shell", "sh", function).await;
    assert_publishes(&redis, &mut ada, "by a script", "sh", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs Python with the package redis: ./test interop"]
async fn the_python_program_of_the_page_publishes() {
    let redis = with_functions().await;
    let node = start(&redis, "one").await;
    let [program] = examples("python")[..] else { panic!("one program") };
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/servers/python/.venv/bin/python");
    let python = python.to_str().expect("a path");
    let (mut ada, _) = join(&node, json!({})).await;
    assert_publishes(&redis, &mut ada, "from Python", python, program).await;
    run(&redis, python, program).await;
    assert_eq!(redis.command::<u64>(&["XLEN", STREAM]).await, 1, "it has an id");
}

/// The recipe of the page suffices, for its channels and for no others.
#[tokio::test]
async fn the_rights_of_the_page_suffice() {
    let redis = with_functions().await;
    let recipe = examples("text").into_iter().find_map(|text| text.strip_prefix("ACL SETUSER ")).expect("a recipe");
    let words: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(recipe.split_whitespace()).collect();
    let _: String = redis.command(&words).await;
    let url = redis.url().replace("redis://", "redis://newsroom:secret@");
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let mut publish = async |namespace: &str, channel: &str, id: &str| -> RedisResult<String> {
        let words = ["ps_publish", "0", namespace, ENDPOINT, channel, "said", "{}", "id", id];
        redis::cmd("FCALL").arg(&words).query_async(&mut connection).await
    };
    let first = publish("pondsocket:v1:shop", "/news/1", "a").await.expect("a position");
    assert_eq!(publish("pondsocket:v1:shop", "/news/1", "a").await.expect("a position"), first);
    publish("pondsocket:v1:shop", "/news/1", "b").await.expect("a position");
    // The history has lost its messages, and begins anew.
    let stream = "pondsocket:v1:shop:__history__:{api/socket:/news/1}:s";
    let _: u64 = redis.command(&["DEL", stream]).await;
    let anew = publish("pondsocket:v1:shop", "/news/1", "c").await.expect("a position");
    assert!(anew.ends_with(".1") && anew != first, "{anew} after {first}");
    for (namespace, channel) in [("pondsocket:v1:shop", "/chat/1"), ("pondsocket:v1:bank", "/news/1")] {
        let error = publish(namespace, channel, "a").await.expect_err("no right");
        // Redis 7.0 has another text than its successors.
        let texts = ["can't access at least one of the keys", "ACL failure in script"];
        assert!(texts.iter().any(|text| error.to_string().contains(text)), "{error}");
    }
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*chat*"]).await, [""; 0]);
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*bank*"]).await, [""; 0]);
}

/// Whoever may not load functions still has a bus.
#[tokio::test]
async fn a_node_that_may_not_load_the_functions_works_without_them() {
    let redis = RedisServer::start().await;
    let rule = ["ACL", "SETUSER", "node", "on", ">secret", "allkeys", "allchannels", "+@all", "-function", "-fcall"];
    let _: String = redis.command(&rule).await;
    let options = options(&redis).username("node").password("secret").functions(true);
    let mut node = support::Node::listening(options, &["t"]).await;
    node.publish("t", "1").await;
    assert_eq!(node.message().await.1, "1");
    let error = redis.try_command::<u64>(&["FCALL", "ps_version", "0"]).await.expect_err("no function");
    assert!(error.to_string().contains("Function not found"), "{error}");
}
