//! Many clients that arrive at once take turns, and hardly delay those who are there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use pondsocket::{ConnectionContext, Endpoint, Error, EventContext, JoinContext, Options, PondSocket};
use serde_json::{Value, json};
use testkit::{DEADLINE, HttpClient, Peer, Recorder, connect_in_memory, eventually, serve, serve_in_memory, upgrade};
use tokio::io::DuplexStream;
use tokio::task::{JoinHandle, yield_now};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// The clients that arrive at once.
const MANY: usize = 400;

/// A pond, and what its handlers were asked: the ids of connects, and the number of joins.
struct Pond {
    pond: PondSocket,
    endpoint: Endpoint,
    connects: Arc<Mutex<Vec<String>>>,
    joins: Arc<AtomicUsize>,
}

fn pond(options: Options) -> Pond {
    pond_counted_by(Recorder::default(), options)
}

fn pond_counted_by(recorder: Recorder, options: Options) -> Pond {
    let pond = PondSocket::with_options(options).expect("valid options").metrics(recorder);
    let (connects, joins) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
    let (asked, joining) = (Arc::clone(&connects), Arc::clone(&joins));
    let endpoint = pond.create_endpoint("/socket", move |ctx: ConnectionContext| {
        asked.lock().expect("no panic").push(ctx.query("id").unwrap_or_default().to_owned());
        async { Ok::<_, Error>(ctx.accept()) }
    });
    let lobby = endpoint.create_channel("/:room", move |ctx: JoinContext| {
        joining.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Error>(ctx.accept()) }
    });
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("answer", &json!({})));
    Pond { pond, endpoint, connects, joins }
}

impl Pond {
    fn connects(&self) -> usize {
        self.connects.lock().expect("no panic").len()
    }

    fn arriving(&self) -> usize {
        self.pond.snapshot().endpoints[0].arriving
    }

    async fn member(&self) -> Client {
        let mut client = Client(connect_in_memory(&self.pond, "/socket?id=member", 4096).await);
        client.until("CONNECTION").await;
        client.say("JOIN_CHANNEL", "JOIN", "/room").await;
        client.until("ACKNOWLEDGE").await;
        client
    }

    /// Connects clients that have not joined yet.
    async fn clients(&self) -> Vec<Client> {
        let clients = join_all((0..MANY).map(|_| connect_in_memory(&self.pond, "/socket", 4096))).await;
        let mut clients: Vec<_> = clients.into_iter().map(Client).collect();
        for client in &mut clients {
            client.until("CONNECTION").await;
        }
        clients
    }

    /// Lets a client send a request, and does not wait for the answer.
    async fn request(&self, head: &str) -> HttpClient<DuplexStream> {
        let mut client = HttpClient(serve_in_memory(&self.pond, 4096));
        client.send(head).await;
        client
    }

    async fn request_many(&self, head: impl Fn(usize) -> String) -> Vec<HttpClient<DuplexStream>> {
        let mut clients = Vec::new();
        for number in 0..MANY {
            clients.push(self.request(&head(number)).await);
        }
        clients
    }
}

struct Client(WebSocketStream<DuplexStream>);

impl Client {
    async fn say(&mut self, action: &str, event: &str, channel: &str) {
        let message = json!({
            "action": action, "event": event, "channelName": channel, "requestId": event, "payload": {},
        });
        self.0.send(Message::text(message.to_string())).await.expect("open");
    }

    /// Reads up to an event.
    async fn until(&mut self, event: &str) {
        loop {
            let message = self.0.next().await.expect("open").expect("a message");
            let message: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
            if message["event"] == event {
                return;
            }
        }
    }

    /// Asks, and waits for the answer.
    async fn ask(&mut self) {
        self.say("BROADCAST", "ask", "/room").await;
        self.until("answer").await;
    }
}

fn websocket(number: usize) -> String {
    upgrade(&format!("/socket?id={number}"))
}

fn event_stream(number: usize) -> String {
    format!("GET /socket?id={number} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
}

/// The connects that were handled before a member got its answer.
async fn connects_ahead_of_an_answer(arrivals: usize, head: fn(usize) -> String) -> usize {
    let pond = pond(Options::default().arrivals_per_round(arrivals));
    let mut member = pond.member().await;
    let _clients = pond.request_many(head).await;
    member.ask().await;
    let ahead = pond.connects() - 1;
    eventually("all are let in", || pond.connects() == MANY + 1 && pond.arriving() == 0).await;
    ahead
}

/// The connects that were handled while a member got 30 messages one after the other: answers, or broadcasts of the server.
async fn connects_beside_messages(are_answers: bool) -> usize {
    let pond = pond(Options::default().arrivals_per_round(4));
    let mut member = pond.member().await;
    let room = pond.endpoint.channel("/room").expect("a channel");
    let _clients = pond.request_many(websocket).await;
    member.ask().await;
    let before = pond.connects();
    for _ in 0..30 {
        match are_answers {
            true => member.ask().await,
            false => {
                room.broadcast("news", &json!({})).expect("room");
                member.until("news").await;
            }
        }
    }
    pond.connects() - before
}

/// Four connects begin in a round, and four times as many after 32 rounds without a message.
#[tokio::test]
async fn rounds_stay_small_as_long_as_there_are_messages_for_members() {
    for are_answers in [true, false] {
        let beside = connects_beside_messages(are_answers).await;
        assert!((30..=300).contains(&beside), "{beside} connects were handled beside 30 messages");
    }
}

/// The steps of handlers that ran before a member got its answer, if those of many clients wait a hundred times each.
async fn steps_ahead_of_an_answer(arrivals: usize, is_join: bool) -> usize {
    const STEPS: usize = 100;
    let pond = PondSocket::with_options(Options::default().arrivals_per_round(arrivals)).expect("valid options");
    let steps = Arc::<AtomicUsize>::default();
    let work = |is_slow: bool, steps: &Arc<AtomicUsize>| {
        let steps = Arc::clone(steps);
        async move {
            for _ in 0..if is_slow { STEPS } else { 0 } {
                steps.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        }
    };
    let (connecting, joining) = (Arc::clone(&steps), Arc::clone(&steps));
    let endpoint = pond.create_endpoint("/socket", move |ctx: ConnectionContext| {
        let working = work(!is_join && ctx.query("id") != Some("member"), &connecting);
        async move {
            working.await;
            Ok::<_, Error>(ctx.accept())
        }
    });
    let lobby = endpoint.create_channel("/:room", move |ctx: JoinContext| {
        let working = work(is_join && ctx.param("room").is_ok_and(|room| room != "room"), &joining);
        async move {
            working.await;
            Ok::<_, Error>(ctx.accept())
        }
    });
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("answer", &json!({})));
    let pond = Pond { pond, endpoint, connects: Arc::default(), joins: Arc::default() };

    let mut member = pond.member().await;
    let requests = if is_join { Vec::new() } else { pond.request_many(websocket).await };
    let mut clients = if is_join { pond.clients().await } else { Vec::new() };
    for (number, client) in clients.iter_mut().enumerate() {
        client.say("JOIN_CHANNEL", "JOIN", &format!("/{number}")).await;
    }
    eventually("handlers are at work", || steps.load(Ordering::SeqCst) > MANY).await;
    let before = steps.load(Ordering::SeqCst);
    member.ask().await;
    let ahead = steps.load(Ordering::SeqCst) - before;
    drop((requests, clients));
    ahead
}

#[tokio::test]
async fn a_member_is_answered_ahead_of_most_steps_of_handlers_that_wait_again_and_again() {
    for is_join in [false, true] {
        let ahead = steps_ahead_of_an_answer(4, is_join).await;
        assert!(ahead < MANY / 8, "{ahead} steps ran before");
        let ahead = steps_ahead_of_an_answer(0, is_join).await;
        assert!(ahead > MANY, "without a limit only {ahead}");
    }
}

#[tokio::test]
async fn a_member_is_answered_ahead_of_most_clients_that_connect_at_once() {
    for head in [websocket, event_stream] {
        let ahead = connects_ahead_of_an_answer(4, head).await;
        assert!(ahead < MANY / 8, "{ahead} connects were handled before");
        assert_eq!(connects_ahead_of_an_answer(0, head).await, MANY, "without a limit");
    }
}

/// The joins that were handled before a member got its answer.
async fn joins_ahead_of_an_answer(arrivals: usize) -> usize {
    let pond = pond(Options::default().arrivals_per_round(arrivals));
    let mut member = pond.member().await;
    let mut clients = pond.clients().await;
    assert_eq!((pond.joins.load(Ordering::SeqCst), pond.arriving()), (1, 0));
    for (number, client) in clients.iter_mut().enumerate() {
        client.say("JOIN_CHANNEL", "JOIN", &format!("/{number}")).await;
    }
    member.ask().await;
    let ahead = pond.joins.load(Ordering::SeqCst) - 1;
    for client in &mut clients {
        client.until("ACKNOWLEDGE").await;
    }
    assert_eq!(pond.arriving(), 0);
    ahead
}

#[tokio::test]
async fn a_member_is_answered_ahead_of_most_clients_that_join_at_once() {
    let ahead = joins_ahead_of_an_answer(4).await;
    assert!(ahead < MANY / 8, "{ahead} joins were handled before");
    assert_eq!(joins_ahead_of_an_answer(0).await, MANY, "without a limit");
}

/// A message right behind a join waits with the join.
#[tokio::test]
async fn a_message_behind_a_join_that_waits_is_handled_when_that_is_accepted() {
    let pond = pond(Options::default().arrivals_per_round(1));
    let clients = join_all((0..20).map(|_| connect_in_memory(&pond.pond, "/socket", 4096))).await;
    let mut clients: Vec<_> = clients.into_iter().map(Client).collect();
    for client in &mut clients {
        client.say("JOIN_CHANNEL", "JOIN", "/room").await;
        client.say("BROADCAST", "ask", "/room").await;
    }
    for client in &mut clients {
        client.until("ACKNOWLEDGE").await;
        client.until("answer").await;
    }
}

#[tokio::test]
async fn clients_have_their_turns_in_the_order_in_which_they_came() {
    let pond = pond(Options::default().arrivals_per_round(3));
    let mut clients = pond.request_many(|number| if number % 2 == 0 { websocket } else { event_stream }(number)).await;
    for client in &mut clients {
        client.until("\r\n\r\n").await;
    }
    let numbers: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
    assert_eq!(*pond.connects.lock().expect("no panic"), numbers);
}

#[tokio::test]
async fn clients_over_the_limit_of_those_that_wait_are_declined_before_the_handler() {
    let recorder = Recorder::default();
    let options = Options::default().arrivals_per_round(1).max_waiting_connects(3);
    let pond = pond_counted_by(recorder.clone(), options);
    let mut clients = pond.request_many(websocket).await;
    let mut answers = Vec::new();
    for client in &mut clients[..10] {
        answers.push(client.until("\r\n\r\n").await);
    }
    let accepted = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 101")).count();
    // One has its turn at once, and three wait.
    assert_eq!(accepted, 4, "{answers:?}");
    let declined = answers.iter().find(|answer| !answer.starts_with("HTTP/1.1 101")).expect("some are");
    assert!(declined.starts_with("HTTP/1.1 503") && declined.contains("retry-after: 5"), "{declined}");
    assert_eq!(recorder.of("connection_declined")[0], "/socket 503 overloaded");
    assert!(recorder.of("queue_depth").contains(&"/socket arrivals 3".to_owned()), "{:?}", recorder.of("queue_depth"));
    // Those that wait leave room for others.
    pond.member().await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_takes_no_turn() {
    let pond = pond(Options::default().arrivals_per_round(1));
    let mut clients = pond.request_many(websocket).await;
    eventually("most wait", || pond.arriving() > MANY / 2).await;
    let mut last = clients.pop().expect("one");
    drop(clients);
    last.until("101 Switching").await;
    assert!(pond.connects() < MANY / 2, "{} connects were handled", pond.connects());
    let is_alone = || {
        let snapshot = pond.pond.snapshot();
        (snapshot.endpoints[0].arriving, snapshot.endpoints[0].admitted) == (0, 1)
    };
    eventually("nothing is left of the others", is_alone).await;
}

#[tokio::test]
async fn clients_that_wait_are_declined_when_a_shutdown_begins() {
    let pond = pond(Options::default().arrivals_per_round(1));
    let mut clients = pond.request_many(websocket).await;
    eventually("most wait", || pond.arriving() > MANY / 2).await;
    let (ending, asked) = (pond.pond.clone(), pond.connects());
    let ending: JoinHandle<_> = tokio::spawn(async move { ending.shutdown(DEADLINE).await });
    while !pond.pond.is_draining() {
        yield_now().await;
    }
    let last = clients.pop().expect("one").until("\r\n\r\n").await;
    assert!(last.starts_with("HTTP/1.1 503") && last.contains("retry-after"), "{last}");
    assert!(pond.connects() < asked + 8, "their handler is not asked any more");
    drop(clients);
    ending.await.expect("no panic");
}

/// Also sockets are accepted in turns, on every thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_lets_everybody_in() {
    let pond = pond(Options::default().arrivals_per_round(1));
    let (_server, address) = serve(&pond.pond).await;
    let clients = join_all((0..MANY / 4).map(|_| async {
        let mut peer = Peer::connect(address, "/socket").await;
        peer.join("/room", json!({})).await;
        peer
    }));
    assert_eq!(clients.await.len(), MANY / 4);
    assert_eq!(pond.joins.load(Ordering::SeqCst), MANY / 4);
}
