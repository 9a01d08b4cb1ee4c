use testkit::Peer;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::proxy::{RunningProxy, Settings};
use crate::site::{ENDPOINT, Site};

/// The proxy passes the requested host and port on, which the server compares with the origin of the page.
pub(crate) async fn only_pages_of_the_site_connect_with_cookies(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let own = format!("http://{}", site.address());
    for (origin, forwarded, status) in [
        (own.as_str(), "", 101),
        ("https://evil.example", "", 403),
        // Another port of the same host.
        ("http://127.0.0.1", "", 403),
        // A client's own X-Forwarded-Host is not passed on.
        ("https://evil.example", "evil.example", 403),
    ] {
        let mut request = format!("ws://{}{ENDPOINT}", site.address()).into_client_request().expect("valid");
        let lines = [("origin", origin), ("cookie", "session=ann"), ("x-forwarded-host", forwarded)];
        for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        match connect_async(request).await {
            Ok((socket, answer)) => {
                assert_eq!(answer.status(), status, "{origin}");
                drop(Peer::over(socket).await);
            }
            Err(Error::Http(answer)) => assert_eq!(answer.status(), status, "{origin}"),
            Err(error) => panic!("{origin}: {error}"),
        }
    }
}
