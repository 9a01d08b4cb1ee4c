//! Pages of other origins.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use pondsocket::Options;
use testkit::{EventPeer, eventually, request};

use super::{StreamServer, served, served_with};

const PAGE: &str = "https://example.org";

async fn of_page() -> StreamServer {
    served_with(Options::default().cors_allow_origin(PAGE.into()).cors_allow_credentials(true)).await
}

fn header<'a>(answer: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

async fn ask(served: &StreamServer, method: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let mut asked = Request::builder().method(method).uri("/?name=ann");
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    request(served.address, asked.body("{}".to_owned()).expect("a request")).await
}

#[tokio::test]
async fn a_preflight_request_is_answered_with_the_permissions_of_the_page() {
    let served = of_page().await;
    let asked = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-connection-id"),
    ];
    let answer = ask(&served, "OPTIONS", &asked).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"));
    assert_eq!(header(&answer, "access-control-allow-methods"), Some("GET, POST, DELETE, OPTIONS"));
    let allowed = "Authorization, Cache-Control, Content-Type, Last-Event-ID, X-Connection-ID";
    assert_eq!(header(&answer, "access-control-allow-headers"), Some(allowed));
    assert_eq!(header(&answer, "access-control-max-age"), Some("86400"));
    assert_eq!(header(&answer, "allow"), Some("GET, POST, DELETE, OPTIONS"));
    assert!(answer.into_body().collect().await.expect("whole").to_bytes().is_empty());
}

#[tokio::test]
async fn a_page_may_open_a_stream_with_a_token_and_with_headers_that_the_application_names() {
    let options = Options::default().cors_allow_origin("*".into()).cors_allow_headers(["X-Request-ID"]);
    let served = served_with(options).await;
    let asked = [
        ("origin", PAGE),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization,cache-control,last-event-id,x-request-id"),
    ];
    let answer = ask(&served, "OPTIONS", &asked).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (204, Some("*")));
    let allowed = "Authorization, Cache-Control, Content-Type, Last-Event-ID, X-Connection-ID, X-Request-ID";
    assert_eq!(header(&answer, "access-control-allow-headers"), Some(allowed));
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_use_the_credentials_of_its_visitor() {
    let served = served().await;
    let ann = EventPeer::connect(served.address, "/?name=ann").await;
    let mine = ("x-connection-id", ann.id.as_str());
    // `request` sends this as the host.
    let (cookie, evil, own) = (("cookie", "session=ann"), "https://evil.example", "http://x");
    let stream = ("accept", "text/event-stream");
    assert_eq!(ask(&served, "GET", &[stream, cookie, ("origin", evil)]).await.status(), 403);
    let quiet = [stream, cookie, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
    assert_eq!(ask(&served, "GET", &quiet).await.status(), 403, "a page that cannot read sends no origin");
    for method in ["POST", "DELETE"] {
        let answer = ask(&served, method, &[mine, cookie, ("origin", evil)]).await;
        assert_eq!(answer.status(), 403, "{method}");
    }
    assert_eq!(served.endpoint.connections().len(), 1, "nothing has happened to it");
    for lines in [
        vec![mine, cookie, ("origin", own)],
        vec![mine, ("authorization", "Bearer abc"), ("origin", evil)],
        vec![mine, ("origin", evil)],
        vec![mine, cookie],
    ] {
        assert_eq!(ask(&served, "POST", &lines).await.status(), 202, "{lines:?}");
    }
}

#[tokio::test]
async fn a_page_may_read_every_answer_errors_included() {
    let served = of_page().await;
    let ann = EventPeer::connect(served.address, "/?name=ann").await;
    assert_eq!(ann.head.headers["access-control-allow-origin"], PAGE);
    assert_eq!(ann.head.headers["access-control-allow-credentials"], "true");
    assert_eq!(ann.head.headers["access-control-expose-headers"], "X-Connection-ID");
    let mine = ("x-connection-id", ann.id.as_str());
    for (method, headers, status) in [
        ("POST", vec![mine], 202),
        ("POST", vec![("x-connection-id", "0")], 404),
        ("POST", vec![], 400),
        ("PUT", vec![mine], 405),
        ("DELETE", vec![mine], 204),
    ] {
        let answer = ask(&served, method, &headers).await;
        assert_eq!(answer.status(), status, "{method} {headers:?}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE), "{method} {headers:?}");
        assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"), "{method} {headers:?}");
    }
}

#[tokio::test]
async fn without_the_option_no_page_may_read_anything() {
    let served = served().await;
    let ann = EventPeer::connect(served.address, "/?name=ann").await;
    assert!(!ann.head.headers.contains_key("access-control-allow-origin"));
    let answer = ask(&served, "OPTIONS", &[("origin", PAGE)]).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (204, None));
}

#[tokio::test]
async fn the_origin_of_each_request_is_checked() {
    let options = Options::default().check_origin(true).allowed_origins([PAGE]);
    let served = served_with(options).await;
    let ann = EventPeer::connect(served.address, "/?name=ann").await;
    let mine = ("x-connection-id", ann.id.as_str());
    for method in ["POST", "DELETE"] {
        let answer = ask(&served, method, &[mine, ("origin", "https://evil.example")]).await;
        assert_eq!(answer.status(), 403, "{method}");
    }
    assert_eq!(served.endpoint.connections().len(), 1, "nothing has happened to it");
    assert_eq!(ask(&served, "POST", &[mine, ("origin", PAGE)]).await.status(), 202);
    assert_eq!(ann.ask(Method::DELETE, "").await.status(), 204, "not a page at all");
    eventually("it has ended", || served.endpoint.connections().is_empty()).await;
}
