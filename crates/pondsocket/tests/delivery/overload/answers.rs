//! Pongs, answers and replies for a client that requests many at once.

use futures_util::StreamExt;
use pondsocket::{Error, EventContext, JoinContext, Joined, Options, Result};
use serde_json::json;
use testkit::{Message, Peer, serve};
use tokio::time::{Instant, sleep, timeout};

use super::{PausedMember, SECOND, TIMEOUT, frame, member, patient, served};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_gets_a_pong_for_each_of_its_pings_however_many_it_sends_at_once() {
    const COUNT: usize = 20_000;
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut tcp = Peer::connect(address, "/?name=tcp").await;
    // An empty ping, masked with zeros.
    let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(COUNT);
    tcp.bytes(&pings).await;
    for _ in 0..COUNT {
        assert_eq!(tcp.frame().await, Some(Message::Pong("".into())));
    }
    // Only the connection's task can write to a stream in memory, as to one with TLS.
    let mut memory = PausedMember::join(&served.pond, "memory", 1 << 20, None).await;
    tokio::io::AsyncWriteExt::write_all(memory.socket.get_mut(), &pings).await.expect("room");
    for _ in 0..COUNT {
        let frame = timeout(TIMEOUT, memory.socket.next()).await.expect("in time");
        assert!(matches!(frame, Some(Ok(Message::Pong(_)))), "{frame:?}");
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_gets_an_answer_to_each_of_its_messages_however_many_it_sends_at_once() {
    const COUNT: usize = 1500;
    let served = served(patient().send_channel_buffer(16));
    let (_server, address) = serve(&served.pond).await;
    let mut tcp = member(address, "tcp", None).await;
    let mut memory = PausedMember::join(&served.pond, "memory", 1 << 20, None).await;
    for event in ["echo", "nothing"] {
        let all: Vec<u8> = (0..COUNT).flat_map(|number| frame(event, number, &json!({ "number": number }))).collect();
        tcp.bytes(&all).await;
        tokio::io::AsyncWriteExt::write_all(memory.socket.get_mut(), &all).await.expect("room");
        for number in 0..COUNT {
            assert_eq!(tcp.next().await["requestId"], json!(format!("r{number}")));
            let message = timeout(TIMEOUT, memory.next()).await.expect("in time").expect("open");
            assert_eq!(message["requestId"], json!(format!("r{number}")));
        }
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

/// A client that sends requests without reading is not read, so the server holds no more than its bounds allow.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_requests_and_reads_nothing_is_closed_after_send_timeout() {
    let served = served(Options::default());
    let mut silent = PausedMember::join(&served.pond, "silent", 4096, None).await;
    let asked = Instant::now();
    let (mut most, mut writing) = (0, true);
    let ask = frame("echo", 0, &json!({ "filler": "x".repeat(10_000) }));
    while !served.endpoint.connections().is_empty() {
        if writing {
            let write = tokio::io::AsyncWriteExt::write_all(silent.socket.get_mut(), &ask);
            writing = timeout(SECOND / 10, write).await.is_ok();
        } else {
            sleep(SECOND / 10).await;
        }
        most = most.max(served.pond.snapshot().endpoints[0].waiting_bytes);
        assert!(asked.elapsed() < 60 * SECOND, "it stays");
    }
    assert!(most <= 2 * (1 << 20) + 2 * ask.len(), "{most} bytes waited");
    assert!(asked.elapsed() >= 5 * SECOND && asked.elapsed() <= 7 * SECOND, "{:?}", asked.elapsed());
    assert_eq!(silent.next().await.err(), None, "what it had begun to receive is whole");
}

/// Nothing is delivered while the handler runs without a wait, so its replies stay in the channel's queue.
#[tokio::test(start_paused = true)]
async fn replies_are_queued_up_to_the_hard_limit_of_the_channel() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::default().channel_queue_bytes(10_000);
    let served = served(options);
    let lobby = served.endpoint.create_channel("/replies", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("fill", async |ctx: EventContext| {
        while ctx.broadcast("filler", &json!({ "filler": "x".repeat(1000) })).is_ok() {}
        let refused = ctx.reply("fill", &json!({})).expect_err("it is full");
        assert_eq!(refused.code(), 503);
        ctx.channel().ready().await;
        ctx.reply("fill", &json!({ "sent": true }))
    });
    let ada = served.pond.test_client().connect("/?name=ada").await?;
    let room = ada.join("/replies", json!({})).await?;
    assert_eq!(room.request("fill", json!({})).await?, json!({ "sent": true }));
    assert_eq!(served.counted.of("limit_reached"), ["/ channel_queue", "/ channel_queue"]);
    Ok(())
}
