//! What actix-web has been asked, in the types of the pond. They are those of another version of `http`.

use std::future::pending;
use std::io;

use actix_web::HttpRequest;
use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Extensions, HeaderName, HeaderValue, Request, Uri};
use http_body_util::channel::Channel;
use pondsocket::PeerAddr;

/// What a client sends until the pond has answered.
pub(crate) type Content = Channel<Bytes, io::Error>;

/// All but what the client sends.
pub(crate) fn head(request: &HttpRequest) -> Request<()> {
    let mut asked = Request::new(());
    // Both versions allow the same: what the one has accepted is no failure of the other.
    *asked.method_mut() = request.method().as_str().parse().unwrap_or_default();
    *asked.uri_mut() = request.uri().to_string().parse::<Uri>().unwrap_or_default();
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            asked.headers_mut().append(name, value);
        }
    }
    tell_peer(asked.extensions_mut(), request);
    asked
}

fn tell_peer(extensions: &mut Extensions, request: &HttpRequest) {
    if let Some(peer) = request.peer_addr() {
        extensions.insert(PeerAddr(peer));
    }
}

/// The same with what the client sends. It comes as long as the future is polled, which never ends: the pond's answer
/// does.
pub(crate) fn with_content(
    request: &HttpRequest,
    mut payload: Payload,
) -> (Request<Content>, impl Future<Output = ()>) {
    let (mut sender, content) = Channel::new(1);
    let feed = async move {
        let end = loop {
            match payload.next().await {
                Some(Ok(part)) if sender.send_data(part.clone()).await.is_ok() => {}
                Some(Err(error)) => break Err(io::Error::other(error.to_string())),
                Some(Ok(_)) | None => break Ok(()),
            }
        };
        match end {
            Ok(()) => drop(sender),
            Err(error) => sender.abort(error),
        }
        pending().await
    };
    (head(request).map(|()| content), feed)
}
