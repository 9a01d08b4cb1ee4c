//! Messages of clients, one in each request.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use pondsocket::Options;
use serde_json::json;
use testkit::{DEADLINE, EventPeer, Peer, eventually, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{StreamServer, served, served_with};

async fn member(served: &StreamServer, name: &str) -> EventPeer {
    let mut peer = EventPeer::connect(served.address, &format!("/?name={name}")).await;
    peer.until("hello").await;
    peer.join("/room/1", json!({})).await;
    peer.until("JOIN").await;
    peer
}

/// Makes a request with these headers. Returns the status and text of the response.
async fn ask(address: SocketAddr, method: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut asked = Request::builder().method(method).uri("/?name=ann");
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    let answer = request(address, asked.body(body.to_owned()).expect("a request")).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    (status, String::from_utf8_lossy(&body).trim_end().to_owned())
}

fn message(event: &str, number: usize) -> String {
    let (action, channel) = ("BROADCAST", "/room/1");
    json!({ "action": action, "event": event, "channelName": channel, "requestId": "q", "payload": { "n": number } })
        .to_string()
}

/// Begins a request without sending its body.
async fn begin(address: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("POST /?name=ann HTTP/1.1\r\nHost: x\r\nX-Connection-ID: {id}\r\nContent-Length: 10\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    stream
}

/// The first line of an answer.
async fn status_line(mut stream: TcpStream) -> String {
    let mut answer = vec![0; 1024];
    let read = timeout(DEADLINE, stream.read(&mut answer)).await.expect("an answer in time").expect("an answer");
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn only_messages_for_an_open_stream_are_accepted() {
    let served = served().await;
    let ann = member(&served, "ann").await;
    let bob = Peer::connect(served.address, "/?name=bob").await;
    let public =
        served.endpoint.connections().into_iter().find(|one| one.user_id() == "ann").expect("she is there").id();
    let json = ("content-type", "application/json");
    for (what, method, headers, status, text) in [
        ("no id", "POST", vec![json], 400, "no X-Connection-ID"),
        (
            "an unknown id",
            "POST",
            vec![json, ("x-connection-id", "0123456789abcdef0123456789abcdef")],
            404,
            "no such event stream",
        ),
        ("no id at all", "POST", vec![json, ("x-connection-id", "")], 404, "no such event stream"),
        ("a WebSocket's id", "POST", vec![json, ("x-connection-id", &*bob.id)], 404, "no such event stream"),
        ("what others may know", "POST", vec![json, ("x-connection-id", &*public)], 404, "no such event stream"),
        ("the user's id", "POST", vec![json, ("x-connection-id", "ann")], 404, "no such event stream"),
        (
            "a form",
            "POST",
            vec![("content-type", "application/x-www-form-urlencoded"), ("x-connection-id", &*ann.id)],
            415,
            "not application/json",
        ),
        (
            "compressed",
            "POST",
            vec![json, ("content-encoding", "gzip"), ("x-connection-id", &*ann.id)],
            415,
            "encoded content",
        ),
        (
            "with a charset",
            "POST",
            vec![("content-type", "Application/JSON; charset=utf-8"), ("x-connection-id", &*ann.id)],
            202,
            "",
        ),
        ("without a type", "POST", vec![("x-connection-id", &*ann.id)], 202, ""),
        ("an end without an id", "DELETE", vec![], 400, "no X-Connection-ID"),
        ("the end of nothing", "DELETE", vec![("x-connection-id", "0123456789abcdef0123456789abcdef")], 204, ""),
        ("the end of a WebSocket", "DELETE", vec![("x-connection-id", &*bob.id)], 204, ""),
        ("another method", "PUT", vec![json, ("x-connection-id", &*ann.id)], 405, "method not allowed"),
    ] {
        let answer = ask(served.address, method, &headers, &message("note", 1)).await;
        assert_eq!(answer, (status, text.to_owned()), "{what}");
    }
    eventually("both are handled", || served.counted.of("message_received").len() == 2).await;
    assert_eq!(served.endpoint.connections().len(), 2, "no connection was closed");
}

#[tokio::test]
async fn a_secret_is_invalid_at_another_endpoint() {
    let served = served().await;
    served.pond.create_endpoint("/other", super::connect);
    let ann = member(&served, "ann").await;
    let asked = Request::post("/other").header("x-connection-id", &ann.id).body(message("note", 1)).expect("a request");
    assert_eq!(request(served.address, asked).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_thousand_messages_are_handled_in_order() {
    let served = served().await;
    let ann = member(&served, "ann").await;
    let stream = TcpStream::connect(served.address).await.expect("it listens");
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("HTTP");
    tokio::spawn(connection);
    for number in 0..1000 {
        let asked = Request::post("/?name=ann").header("host", "x").header("x-connection-id", &ann.id);
        let answer =
            sender.send_request(asked.body(message("note", number)).expect("a request")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.into_body().collect().await.expect("an empty body");
    }
    eventually("all are handled", || served.counted.of("message_received").len() == 1000).await;
    let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(served.log.take(), expected);
}

#[tokio::test]
async fn messages_are_read_in_the_order_of_their_requests() {
    let served = served().await;
    let ann = member(&served, "ann").await;
    let text = message("note", 0);
    let mut first = TcpStream::connect(served.address).await.expect("it listens");
    let head = format!(
        "POST /?name=ann HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nX-Connection-ID: {}\r\nContent-Length: {}\r\n\r\n",
        ann.id,
        text.len()
    );
    first.write_all(head.as_bytes()).await.expect("it reads");
    // The server reads the body, which shows that it is the turn of this request.
    let mut asked_on = vec![0; 64];
    let read = timeout(DEADLINE, first.read(&mut asked_on)).await.expect("in time").expect("asked on");
    assert!(asked_on[..read].starts_with(b"HTTP/1.1 100"));
    let behind = message("note", 1);
    let posts = async { tokio::join!(ann.text(&behind), ann.text(&behind)) };
    let rest = async {
        tokio::task::yield_now().await;
        first.write_all(text.as_bytes()).await.expect("it reads");
    };
    let (statuses, ()) = tokio::join!(posts, rest);
    assert_eq!(statuses, (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    eventually("all are handled", || served.counted.of("message_received").len() == 3).await;
    assert_eq!(served.log.take(), ["0", "1", "1"]);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_stream_goes_on() {
    let served = served_with(Options::default().max_message_size(200)).await;
    let mut ann = member(&served, "ann").await;
    let large = json!({ "x": "y".repeat(200) }).to_string();
    assert_eq!(ann.text(&large).await, StatusCode::PAYLOAD_TOO_LARGE);
    // The size of a chunked body is not known before.
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let head = format!(
        "POST /?name=ann HTTP/1.1\r\nHost: x\r\nX-Connection-ID: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        ann.id
    );
    let chunk = format!("64\r\n{}\r\n", "z".repeat(100));
    stream.write_all(format!("{head}{chunk}{chunk}{chunk}").as_bytes()).await.expect("it reads");
    assert_eq!(status_line(stream).await, "HTTP/1.1 413 Payload Too Large");
    assert_eq!(served.counted.of("limit_reached"), ["/ message_size", "/ message_size"]);
    ann.event("/room/1", "echo", json!({ "still": "there" })).await;
    assert_eq!(ann.next().await["payload"], json!({ "still": "there" }));
}

#[tokio::test]
async fn an_incomplete_message_is_counted_until_it_is_discarded() {
    let served = served_with(Options::default().write_wait(Duration::from_millis(1500))).await;
    let ann = member(&served, "ann").await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let head =
        format!("POST /?name=ann HTTP/1.1\r\nHost: x\r\nX-Connection-ID: {}\r\nContent-Length: 200000\r\n\r\n", ann.id);
    stream.write_all(format!("{head}{}", "z".repeat(100_000)).as_bytes()).await.expect("it reads");
    eventually("it is counted", || served.pond.snapshot().memory.used >= 100_000).await;
    assert_eq!(status_line(stream).await, "HTTP/1.1 408 Request Timeout");
    eventually("nothing is held", || served.pond.snapshot().memory.used == 0).await;
}

#[tokio::test]
async fn an_incomplete_message_delays_the_others_for_a_limited_time() {
    let served = served_with(Options::default().write_wait(Duration::from_millis(300))).await;
    let ann = member(&served, "ann").await;
    let start = Instant::now();
    let stuck = begin(served.address, &ann.id).await;
    assert_eq!(status_line(stuck).await, "HTTP/1.1 408 Request Timeout");
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    assert_eq!(ann.text(&message("note", 1)).await, StatusCode::ACCEPTED);
    assert_eq!(served.log.next().await, ["1"]);
}

#[tokio::test]
async fn messages_over_the_limit_of_waiting_requests_are_refused() {
    let served = served_with(Options::default().receive_channel_buffer(2)).await;
    let ann = member(&served, "ann").await;
    let _stuck = (begin(served.address, &ann.id).await, begin(served.address, &ann.id).await);
    // Both requests were begun before; the order in which the server sees them is not specified.
    let answer = async {
        loop {
            let ahead = timeout(Duration::from_millis(50), ann.ask(Method::POST, message("note", 1))).await;
            if let Ok(answer) = ahead {
                return answer;
            }
        }
    };
    let answer = timeout(DEADLINE, answer).await.expect("refused in time");
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "5");
}

#[tokio::test]
async fn a_client_whose_handlers_do_not_keep_up_is_closed() {
    let options = Options::default().receive_channel_buffer(1).write_wait(Duration::from_millis(200));
    let served = served_with(options).await;
    let mut ann = member(&served, "ann").await;
    // One message is being handled, one waits for it, one is not read yet.
    for number in 0..3 {
        assert_eq!(ann.text(&message("hold", number)).await, StatusCode::ACCEPTED);
    }
    let late = ann.text(&message("note", 3)).await;
    assert!(matches!(late, StatusCode::TOO_MANY_REQUESTS | StatusCode::NOT_FOUND), "{late}");
    assert_eq!(ann.ended().await, [] as [serde_json::Value; 0]);
    served.release.add_permits(3);
    eventually("it is counted", || !served.counted.of("connection_closed").is_empty()).await;
    assert_eq!(served.counted.of("connection_closed"), ["/ ann 0s 1013 too_many_messages"]);
}

#[tokio::test]
async fn rate_limits_apply_to_streams() {
    let served = served_with(Options::default().messages_per_second(2).max_refusals(3)).await;
    let mut ann = member(&served, "ann").await;
    let refused = async |ann: &mut EventPeer| {
        let answer = ann.next().await;
        (answer["event"].clone(), answer["payload"]["code"].clone())
    };
    for number in 0..4 {
        assert_eq!(ann.text(&message("note", number)).await, StatusCode::ACCEPTED, "{number}");
    }
    for _ in 0..3 {
        assert_eq!(refused(&mut ann).await, (json!("INTERNAL_ERROR"), json!(429)));
    }
    assert_eq!(ann.ended().await, [] as [serde_json::Value; 0]);
    eventually("it is counted", || !served.counted.of("connection_closed").is_empty()).await;
    assert_eq!(served.counted.of("connection_closed"), ["/ ann 0s 1008 rate_limit"]);
}

#[tokio::test]
async fn a_client_can_end_its_stream() {
    let served = served().await;
    let mut ann = member(&served, "ann").await;
    let mut bob = member(&served, "bob").await;
    ann.until("JOIN").await;
    assert_eq!(ann.text(&message("note", 1)).await, StatusCode::ACCEPTED);
    assert_eq!(ann.ask(Method::DELETE, "").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(bob.next().await["event"], "LEAVE");
    assert_eq!(ann.ended().await, [] as [serde_json::Value; 0]);
    assert_eq!(ann.text(&message("note", 2)).await, StatusCode::NOT_FOUND);
    assert_eq!(ann.ask(Method::DELETE, "").await.status(), StatusCode::NO_CONTENT);
    eventually("it is counted", || !served.counted.of("connection_closed").is_empty()).await;
    assert_eq!(served.counted.of("connection_closed"), ["/ ann 0s 1005 client"]);
    assert_eq!(served.log.take(), ["1", "ann left"], "what was sent before is handled before");
}

#[tokio::test]
async fn accepted_messages_are_handled_after_their_sender_has_gone() {
    let served = served().await;
    for round in 0..20 {
        let ann = member(&served, "ann").await;
        assert_eq!(ann.text(&message("note", round)).await, StatusCode::ACCEPTED);
        drop(ann);
        eventually("she has gone", || served.endpoint.connections().is_empty()).await;
        eventually("it is handled", || served.counted.of("channel_left").len() == round + 1).await;
        assert_eq!(served.log.take(), [round.to_string(), "ann left".to_owned()]);
    }
}

#[tokio::test]
async fn malformed_messages_are_answered_on_the_stream_and_affect_no_other_client() {
    let served = served().await;
    let mut ann = member(&served, "ann").await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for nonsense in ["", "{", "null", "[]", "\"\"", "\u{0}", "{}", "data: x\n\n", &deep] {
        assert_eq!(ann.text(nonsense).await, StatusCode::ACCEPTED, "{nonsense:.20}");
        let answer = ann.next().await;
        assert_eq!(
            (&answer["event"], &answer["payload"]["code"]),
            (&json!("INTERNAL_ERROR"), &json!(400)),
            "{nonsense:.20}"
        );
    }
    assert_eq!(ann.ask(Method::POST, vec![0xff, 0xfe]).await.status(), StatusCode::ACCEPTED);
    assert_eq!(ann.next().await["payload"]["code"], 400);
    assert_eq!(ann.text(r#"{"action":"ping"}"#).await, StatusCode::ACCEPTED);
    ann.event("/room/1", "echo", json!({ "still": "there" })).await;
    assert_eq!(ann.next().await["payload"], json!({ "still": "there" }));
}
