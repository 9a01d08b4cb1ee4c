//! Admission: origins, addresses, subprotocols, limits of connections, and what browsers may read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pondsocket::{
    CheckOrigin, Connected, ConnectionContext, EndpointOptions, Error, Options, PondSocket, Result, WebSocket,
};
use testkit::{DEADLINE, Peer, Recorder, TestResult, eventually, serve, serve_in_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{SECOND, anybody, pond, refusal};

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// Requests a WebSocket with exactly these headers. Returns the status and the head of the response.
async fn upgrade(pond: &PondSocket, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = serve_in_memory(pond, 4096);
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head)
}

#[tokio::test(start_paused = true)]
async fn only_pages_of_allowed_origins_reach_the_handler() -> TestResult {
    let asked = Arc::new(AtomicUsize::new(0));
    let options = Options::default().allowed_origins(["https://example.org"]);
    let options = options.allowed_origin_regexps([r"https://[a-z]+\.example\.org"]);
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options.check_origin(true))?.metrics(counted.clone());
    let star = EndpointOptions::default().allowed_origins(["*"]);
    let open = EndpointOptions::default().check_origin(CheckOrigin::Off);
    let none = EndpointOptions {
        allowed_origins: Some(Vec::new()),
        allowed_origin_regexps: Some(Vec::new()),
        ..Default::default()
    };
    for (path, own) in [("/listed", EndpointOptions::default()), ("/star", star), ("/open", open), ("/none", none)] {
        let asked = Arc::clone(&asked);
        let connect = move |ctx: ConnectionContext| {
            asked.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, Error>(ctx.accept()) }
        };
        let _endpoint = pond.create_endpoint(path, connect).options(own);
    }
    let (good, app, evil) = ("https://example.org", "https://app.example.org", "https://example.org.evil.net");
    for (path, origin, let_in) in [
        ("/listed", good, true),
        ("/listed", app, true),
        ("/listed", evil, false),
        ("/listed", "http://example.org", false),
        ("/listed", "null", false),
        ("/star", evil, true),
        ("/open", evil, true),
        ("/none", good, false),
    ] {
        let before = asked.load(Ordering::SeqCst);
        match pond.test_client().header("origin", origin).connect(path).await {
            Ok(_) => assert!(let_in, "{path} lets {origin} in"),
            Err(refused) => {
                assert!(!let_in, "{path} refuses {origin}");
                let refused = refused.refusal().ok_or("over HTTP")?;
                assert_eq!((refused.status().as_u16(), &*refused.text()), (403, "origin not allowed"));
            }
        }
        assert_eq!(
            asked.load(Ordering::SeqCst) - before,
            usize::from(let_in),
            "{path}, {origin}: is the handler asked?"
        );
    }
    assert_eq!(counted.of("connection_declined").len(), 4);
    assert_eq!(counted.of("connection_declined")[0], "/listed 403 origin");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_without_an_origin_is_accepted_unless_that_is_forbidden() -> TestResult {
    let options = Options::default().check_origin(true).allowed_origins(["https://example.org"]);
    let strict = EndpointOptions { allow_missing_origin: Some(false), ..Default::default() };
    let (pond, ..) = pond(options, strict);
    pond.test_client().connect("/all").await?;
    assert_eq!(refusal(&pond.test_client(), "/own").await, (403, None));
    pond.test_client().header("origin", "https://example.org").connect("/own").await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn by_default_a_page_of_another_origin_is_accepted_only_without_credentials() -> TestResult {
    let off = EndpointOptions { check_origin: Some(CheckOrigin::Off), ..Default::default() };
    let (pond, _, counted) = pond(Options::default(), off);
    let _raw = pond.create_websocket("/raw", async |mut socket: WebSocket| while socket.recv().await.is_some() {});
    let status = async |path: &str, lines: &[(&str, &str)]| upgrade(&pond, path, lines).await.0;
    let (evil, own, cookie) = (("origin", "https://evil.net"), ("origin", "https://example.org"), ("cookie", "id=ada"));
    for path in ["/all", "/raw"] {
        for credentials in [cookie, ("authorization", "Basic YTpi")] {
            assert_eq!(status(path, &[evil, credentials]).await, 403, "{path}, {credentials:?}");
            assert_eq!(status(path, &[own, credentials]).await, 101, "{path}, {credentials:?}");
            assert_eq!(status(path, &[credentials]).await, 101, "{path}, {credentials:?}");
        }
        assert_eq!(status(path, &[evil]).await, 101, "{path}");
        assert_eq!(status(path, &[evil, ("authorization", "Bearer a")]).await, 101, "{path}");
    }
    assert_eq!(status("/own", &[evil, cookie]).await, 101);
    let declined = ["/all 403 origin", "/all 403 origin", "/raw 403 origin", "/raw 403 origin"];
    assert_eq!(counted.of("connection_declined"), declined);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_address_of_the_client_is_read_from_the_configured_header() -> TestResult {
    for (header, expected) in [("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "2.2.2.2"), ("X-Real-IP", "3.3.3.3")] {
        let options = Options::default().trusted_proxies(["127.0.0.1"]);
        let pond = PondSocket::with_options(options.client_address_header(header.into()))?;
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        pond.create_endpoint("/", move |ctx: ConnectionContext| {
            *tell.lock().expect("whole") = ctx.client_ip();
            async { Ok::<_, Error>(ctx.accept()) }
        });
        let client = pond.test_client().peer("127.0.0.1:1".parse()?).header("x-forwarded-for", "1.1.1.1");
        client.header("forwarded", "for=2.2.2.2").header("x-real-ip", "3.3.3.3").connect("/").await?;
        assert_eq!(*told.lock().expect("whole"), Some(expected.parse()?), "{header}");
    }
    Ok(())
}

#[test]
fn an_option_that_is_a_list_accepts_any_iterator_of_strings() {
    const FIXED: &[&str] = &["https://a.example", "https://b.example"];
    let owned: Vec<String> = FIXED.iter().map(|origin| (*origin).to_owned()).collect();
    for options in [
        Options::default().allowed_origins(["https://a.example", "https://b.example"]),
        Options::default().allowed_origins(FIXED),
        Options::default().allowed_origins(owned.clone()),
        Options::default().allowed_origins(&owned),
        Options::default().allowed_origins("https://a.example https://b.example".split(' ')),
        Options::default().allowed_origins(["a", "b"].map(|name| format!("https://{name}.example"))),
    ] {
        assert_eq!(options.allowed_origins, owned);
    }
    let (patterns, proxies) = ([r"https://[a-z]+\.example"], ["10.0.0.0/8", "::1"]);
    let options = Options::default()
        .allowed_origin_regexps(patterns)
        .trusted_proxies(proxies)
        .subprotocols(["pond", "chat"])
        .cors_allow_headers(["X-Request-ID"]);
    assert_eq!((&*options.allowed_origin_regexps, &*options.trusted_proxies), (&*texts(&patterns), &*texts(&proxies)));
    assert_eq!(
        (&*options.subprotocols, &*options.cors_allow_headers),
        (&*texts(&["pond", "chat"]), &*texts(&["X-Request-ID"]))
    );

    let own = EndpointOptions::default()
        .allowed_origins(FIXED)
        .allowed_origin_regexps(patterns)
        .subprotocols(Vec::<String>::new())
        .cors_allow_headers(["X-Request-ID"].into_iter().rev());
    assert_eq!((own.allowed_origins, own.allowed_origin_regexps), (Some(owned), Some(texts(&patterns))));
    assert_eq!((own.subprotocols, own.cors_allow_headers), (Some(Vec::new()), Some(texts(&["X-Request-ID"]))));
    assert_eq!(own.check_origin, None, "the rest is that of all endpoints");
}

#[tokio::test(start_paused = true)]
async fn a_configured_subprotocol_is_selected_if_offered_and_no_other() -> TestResult {
    let options = Options::default().subprotocols(["pond", "chat"]);
    let own = EndpointOptions { subprotocols: Some(Vec::new()), ..Default::default() };
    let (pond, ..) = pond(options, own);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    pond.create_websocket("/raw", move |socket: WebSocket| {
        let offered: Vec<_> = socket.subprotocols().map(str::to_owned).collect();
        tell.lock().expect("whole").push((offered, socket.subprotocol().map(str::to_owned)));
        async {}
    });
    pond.create_endpoint("/last", async |ctx: ConnectionContext| {
        let last = ctx.subprotocols().last().unwrap_or("none").to_owned();
        Ok::<_, Error>(ctx.accept().subprotocol(&last))
    });
    let agreed = async |path: &str, offered: Option<&str>| -> Result<Option<String>, u16> {
        let lines: Vec<_> = offered.map(|offered| ("sec-websocket-protocol", offered)).into_iter().collect();
        let (status, head) = upgrade(&pond, path, &lines).await;
        assert!(!head.contains("token"), "{head}");
        let named = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        if status == 101 { Ok(named.map(str::to_owned)) } else { Err(status) }
    };
    for (path, offered, expected) in [
        ("/all", Some("pond, token.abc"), Ok(Some("pond"))),
        ("/all", Some("token.abc, chat, pond"), Ok(Some("pond"))),
        ("/all", Some("token.abc,chat"), Ok(Some("chat"))),
        ("/all", Some("token.abc"), Ok(None)),
        ("/all", None, Ok(None)),
        ("/own", Some("pond"), Ok(None)),
        ("/last", Some("pond, chat"), Ok(Some("chat"))),
        ("/last", None, Err(500)),
        ("/raw", Some("token.abc, pond"), Ok(Some("pond"))),
        ("/raw", Some("token.abc"), Ok(None)),
    ] {
        let answered = agreed(path, offered).await;
        assert_eq!(answered, expected.map(|name| name.map(str::to_owned)), "{path}, {offered:?}");
    }
    eventually("both have run", || told.lock().expect("whole").len() == 2).await;
    let told = told.lock().expect("whole");
    assert_eq!(told[0], (texts(&["token.abc", "pond"]), Some("pond".to_owned())));
    assert_eq!(told[1], (texts(&["token.abc"]), None));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn connections_of_an_endpoint_are_limited_and_the_refusal_has_a_retry_time() -> TestResult {
    let own = EndpointOptions { max_connections: Some(2), retry_after: Some(SECOND * 9), ..EndpointOptions::default() };
    let (pond, endpoints, counted) = pond(Options::default().max_connections(1), own);
    let client = pond.test_client();
    let first = client.connect("/all").await?;
    assert_eq!(refusal(&client, "/all").await, (503, Some("5".into())));
    let _own = (client.connect("/own").await?, client.connect("/own").await?);
    assert_eq!(refusal(&client, "/own").await, (503, Some("9".into())));
    assert_eq!(counted.of("connection_declined"), ["/all 503 connection_limit", "/own 503 connection_limit"]);
    assert_eq!(counted.of("handler_finished").len(), 3, "the handler is not asked");
    first.close();
    eventually("it has gone", || endpoints[0].connections().is_empty()).await;
    client.connect("/all").await?;
    pond.shutdown(SECOND).await;
    assert_eq!(refusal(&client, "/own").await, (503, Some("9".into())), "nor while it drains");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_released_however_its_connection_ends() -> TestResult {
    let (pond, _, counted) = pond(Options::default().max_connections(1), EndpointOptions::default());
    let own = || EndpointOptions { write_wait: Some(3 * SECOND), ..Default::default() };
    let (asked, door) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (ask, wait) = (Arc::clone(&asked), Arc::clone(&door));
    let door_endpoint = pond.create_endpoint("/door", move |_: ConnectionContext| {
        let (ask, wait) = (Arc::clone(&ask), Arc::clone(&wait));
        async move {
            ask.notify_one();
            wait.notified().await;
            Err::<Connected, _>(Error::forbidden("no"))
        }
    });
    let _door = door_endpoint.options(own());
    let _raw = pond.create_websocket("/raw", async |socket: WebSocket| socket.close(1000, "").await).options(own());
    let client = pond.test_client();
    let admitted = |path: &str| {
        let endpoints = pond.snapshot().endpoints;
        endpoints.iter().find(|endpoint| endpoint.path == path).map(|endpoint| endpoint.admitted)
    };

    // Declined.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { refusal(&client, "/door").await }
    });
    asked.notified().await;
    assert_eq!(refusal(&client, "/door").await, (503, Some("5".into())), "a decision takes a place");
    door.notify_one();
    assert_eq!(waiting.await?.0, 403);
    assert_eq!(admitted("/door"), Some(0));

    // Gone before the decision.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { drop(client.connect("/door").await) }
    });
    asked.notified().await;
    waiting.abort();
    eventually("the place is free", || admitted("/door") == Some(0)).await;

    // Accepted, but the client does not read the response, so the upgrade never completes.
    for (path, after) in [("/all", 10 * SECOND), ("/raw", 3 * SECOND)] {
        let mut stream = serve_in_memory(&pond, 16);
        let start = Instant::now();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        eventually("it is let in", || admitted(path) == Some(1)).await;
        while admitted(path) == Some(1) {
            assert!(start.elapsed() < 60 * SECOND, "{path}: the place is never free");
            sleep(SECOND / 100).await;
        }
        assert!(start.elapsed() >= after && start.elapsed() < after + SECOND / 10, "{path}: {:?}", start.elapsed());
    }
    let declined = counted.of("connection_declined");
    assert_eq!(declined[2..], ["/all 101 upgrade", "/raw 101 upgrade"], "{declined:?}");
    Ok(())
}

/// The answer to an upgrade request with these headers, down to its end.
async fn head(stream: &mut TcpStream, path: &str, headers: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.expect("in time").expect("an answer"));
    }
    String::from_utf8(head).expect("text").to_lowercase()
}

#[tokio::test]
async fn compression_is_used_where_enabled_and_offered() {
    let own = EndpointOptions { enable_compression: Some(true), ..Default::default() };
    let (pond, ..) = pond(Options::default(), own);
    let (_server, address) = serve(&pond).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    for (path, headers, agreed) in [("/all", offer, false), ("/own", "", false), ("/own", offer, true)] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = head(&mut stream, path, headers).await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert_eq!(head.contains("permessage-deflate"), agreed, "{path}, {headers}");
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_the_responses_of_an_endpoint() {
    let options = Options::default().cors_allow_origin("https://example.org".into()).cors_allow_credentials(true);
    let own = EndpointOptions {
        cors_allow_origin: Some("*".into()),
        cors_allow_credentials: Some(false),
        max_connections: Some(1),
        ..Default::default()
    };
    let (pond, ..) = pond(options, own);
    let silent = EndpointOptions { cors_allow_origin: Some(String::new()), ..Default::default() };
    let _silent = pond.create_endpoint("/silent", anybody).options(silent);
    let (_server, address) = serve(&pond).await;
    let _full = Peer::connect(address, "/own").await;
    for (path, status, origin, credentials) in [
        ("/all", 101, Some("https://example.org"), true),
        ("/own", 503, Some("*"), false),
        ("/silent", 101, None, true),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = head(&mut stream, path, "Origin: https://example.org\r\n").await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        let line = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        assert_eq!(line("access-control-allow-origin:").as_deref(), origin, "{path}");
        let allowed = line("access-control-allow-credentials:");
        assert_eq!(allowed.as_deref(), Some("true").filter(|_| credentials && origin.is_some()), "{path}");
    }
}
