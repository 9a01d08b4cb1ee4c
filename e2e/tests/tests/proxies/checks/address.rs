use e2e_tests::ContractServer;
use http_body_util::BodyExt;
use hyper::Request;
use serde_json::json;
use testkit::{Peer, request, request_from};

use crate::proxy::{RunningProxy, Settings};
use crate::site::{Site, client};

type Headers = [(&'static str, &'static str)];

/// Headers of a client that claims the address 6.6.6.6.
const FORGED: [&Headers; 4] = [
    &[("x-forwarded-for", "6.6.6.6")],
    &[("forwarded", "for=6.6.6.6")],
    &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "6.6.6.6")],
    &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=6.6.6.6, for=127.0.0.1")],
];

pub(crate) async fn the_client_address_is_read_from_the_header_of_the_proxy(
    start: impl AsyncFn(Settings) -> RunningProxy,
) {
    let site = Site::open(start).await;
    assert_eq!(seen_through(&site, &[]).await, client(7).to_string());
    for forged in FORGED {
        assert_eq!(seen_through(&site, forged).await, client(7).to_string(), "{forged:?}");
        let named = forged.iter().any(|(name, _)| *name == "x-forwarded-for");
        // Only in the configured header, by default this one.
        let believed = if named { "6.6.6.6" } else { "127.0.0.1" };
        assert_eq!(
            seen_by(&site.servers[0], forged).await,
            believed,
            "the header of a trusted peer is used: {forged:?}"
        );
    }
}

pub(crate) async fn the_client_address_is_read_from_the_proxy_protocol(start: impl AsyncFn(Settings) -> RunningProxy) {
    let server = ContractServer::start_with(&[("PROXY_PROTOCOL_FROM", "127.0.0.1")]).await;
    let proxy = start(Settings { servers: [server.address; 2], idle: "75s" }).await;
    for forged in FORGED {
        let answer = request_from(client(7), proxy.address, forged_request(forged)).await;
        assert_eq!(text(answer.into_body()).await, client(7).to_string(), "{forged:?}");
    }
    let mut peer = Peer::connect_from(client(8), proxy.address, "/api/socket?token=t").await;
    peer.join("/plain/1", json!({ "username": "ann" })).await;
}

/// The address that the server reports for a client behind the proxy.
async fn seen_through(site: &Site, headers: &Headers) -> String {
    let answer = request_from(client(7), site.address(), forged_request(headers)).await;
    text(answer.into_body()).await
}

/// The address that the server reports for a client with the address of the proxy.
async fn seen_by(server: &ContractServer, headers: &Headers) -> String {
    text(request(server.address, forged_request(headers)).await.into_body()).await
}

fn forged_request(headers: &Headers) -> Request<String> {
    let request = Request::get("/api/address").header("accept", "text/event-stream");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(String::new()).expect("a request")
}

async fn text(body: hyper::body::Incoming) -> String {
    let bytes = body.collect().await.expect("a whole answer").to_bytes();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
