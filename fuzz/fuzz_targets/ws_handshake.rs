//! Any request: checking it must not panic, and the response to it must be valid HTTP.
//!
//! The input is text like the head of a request: the method, then a header in each line.

#![no_main]

use http::header::{HeaderName, HeaderValue};
use http::{Method, Request};
use libfuzzer_sys::fuzz_target;
use pondsocket_proto::ws::{accept, is_upgrade};

fuzz_target!(|data: &[u8]| {
    let Some(request) = parse(data) else {
        return;
    };
    match accept(&request, true) {
        Ok(handshake) => {
            assert!(is_upgrade(request.headers()));
            let response = handshake.response();
            assert_eq!(response.status(), 101);
            assert_eq!(response.headers()["sec-websocket-accept"].len(), 28);
            assert_eq!(handshake.deflate().is_some(), response.headers().contains_key("sec-websocket-extensions"));
            if let Some(deflate) = handshake.deflate() {
                assert!((9..=15).contains(&deflate.window_bits()));
            }
            let plain = accept(&request, false).expect("valid without compression, too");
            assert_eq!(plain.deflate(), None);
        }
        Err(refusal) => {
            assert!([400, 405, 426].contains(&refusal.status().as_u16()));
            assert!(!refusal.headers().is_empty());
            assert!(!refusal.to_string().is_empty());
        }
    }
});

fn parse(data: &[u8]) -> Option<Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(lines.next()?).ok()?;
    for line in lines.take(32) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}
