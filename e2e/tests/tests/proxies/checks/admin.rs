use hyper::{Request, StatusCode};
use testkit::{request, request_from};

use crate::proxy::{RunningProxy, Settings};
use crate::site::{Site, client};

/// The paths for operators, in spellings that a server or a proxy might normalise to them.
const ADMIN_PATHS: [&str; 8] =
    ["/metrics", "/metrics/", "/metrics?x=/api/", "//metrics", "/%6Detrics", "/ready", "/health", "/"];

/// A header that only responses of the server have.
const SERVER_HEADER: &str = "x-content-type-options";

pub(crate) async fn only_endpoints_can_be_reached(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let ask = |path| Request::get(path).body(String::new()).expect("a request");
    assert_eq!(request(site.servers[0].address, ask("/ready")).await.status(), StatusCode::OK, "from inside");
    for path in ADMIN_PATHS {
        let answer = request_from(client(1), site.address(), ask(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.headers().contains_key(SERVER_HEADER), "the server was asked for {path}");
    }
    for path in ["/api/../ready", "/api/..%2Fready", "/api//../ready"] {
        let answer = request_from(client(1), site.address(), ask(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let answer = request_from(client(1), site.address(), ask("/api/elsewhere")).await;
    assert!(answer.headers().contains_key(SERVER_HEADER), "the server's own 404: {answer:?}");
}
