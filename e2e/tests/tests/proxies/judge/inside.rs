use hyper::{Request, StatusCode};
use testkit::{request, request_from};

use crate::proxy::{Proxy, Settings};
use crate::site::{Site, client};

/// What is for operators, under names that a server or a proxy might take for it.
const INSIDE: [&str; 8] =
    ["/metrics", "/metrics/", "/metrics?x=/api/", "//metrics", "/%6Detrics", "/ready", "/health", "/"];

/// Whether an answer is the server's.
const SERVERS: &str = "x-content-type-options";

pub(crate) async fn nothing_but_endpoints_is_reached(start: impl AsyncFn(Settings) -> Proxy) {
    let site = Site::open(start).await;
    let ask = |path| Request::get(path).body(String::new()).expect("a request");
    assert_eq!(request(site.servers[0].address, ask("/ready")).await.status(), StatusCode::OK, "from inside");
    for path in INSIDE {
        let answer = request_from(client(1), site.address(), ask(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.headers().contains_key(SERVERS), "the server was asked for {path}");
    }
    for path in ["/api/../ready", "/api/..%2Fready", "/api//../ready"] {
        let answer = request_from(client(1), site.address(), ask(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let answer = request_from(client(1), site.address(), ask("/api/elsewhere")).await;
    assert!(answer.headers().contains_key(SERVERS), "the server's own 404: {answer:?}");
}
