//! The conversion of requests. actix-web has another version of the crate `http`.

use std::future::pending;
use std::io;

use actix_web::HttpRequest;
use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Extensions, HeaderName, HeaderValue, Request, Uri};
use http_body_util::channel::Channel;
use pondsocket::PeerAddr;

/// The body of a request, which is fed until the pond has responded.
pub(crate) type RequestBody = Channel<Bytes, io::Error>;

/// Converts a request without its body.
pub(crate) fn head(request: &HttpRequest) -> Request<()> {
    let mut converted = Request::new(());
    // Both versions accept the same methods and targets, so the defaults are never used.
    *converted.method_mut() = request.method().as_str().parse().unwrap_or_default();
    *converted.uri_mut() = request.uri().to_string().parse::<Uri>().unwrap_or_default();
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            converted.headers_mut().append(name, value);
        }
    }
    insert_peer(converted.extensions_mut(), request);
    converted
}

fn insert_peer(extensions: &mut Extensions, request: &HttpRequest) {
    if let Some(peer) = request.peer_addr() {
        extensions.insert(PeerAddr(peer));
    }
}

/// Converts a request with its body. The body is fed while the future is polled. The future never completes: the caller
/// drops it when the pond has responded.
pub(crate) fn with_body(
    request: &HttpRequest,
    mut payload: Payload,
) -> (Request<RequestBody>, impl Future<Output = ()>) {
    // One part at a time: the pond's reading paces the client.
    let (mut sender, body) = Channel::new(1);
    let feed = async move {
        let end = loop {
            match payload.next().await {
                Some(Ok(part)) if sender.send_data(part.clone()).await.is_ok() => {}
                Some(Err(error)) => break Err(io::Error::other(error.to_string())),
                Some(Ok(_)) | None => break Ok(()),
            }
        };
        match end {
            // Dropping the sender ends the body; an abort fails it, so that a truncated body is not taken for a
            // complete one.
            Ok(()) => drop(sender),
            Err(error) => sender.abort(error),
        }
        pending().await
    };
    (head(request).map(|()| body), feed)
}
