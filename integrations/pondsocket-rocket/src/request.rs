//! The conversion of requests.

use std::future::pending;
use std::io;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::channel::Channel;
use pondsocket::PeerAddr;
use rocket::Data;
use rocket::data::ByteUnit;
use tokio::io::AsyncReadExt;

/// The size of the buffer for reading a body, in bytes.
const PART: usize = 16 * 1024;

/// The body of a request, which is fed until the pond has responded.
pub(crate) type RequestBody = Channel<Bytes, io::Error>;

/// Converts a request without its body.
pub(crate) fn head(request: &rocket::Request<'_>) -> Request<()> {
    let mut converted = Request::new(());
    // Rocket accepts only methods and targets that `http` accepts, too, so the defaults are never used.
    *converted.method_mut() = request.method().as_str().parse().unwrap_or_default();
    *converted.uri_mut() = request.uri().to_string().parse::<Uri>().unwrap_or_default();
    for header in request.headers().iter() {
        let name = HeaderName::from_bytes(header.name().as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(header.value())) {
            converted.headers_mut().append(name, value);
        }
    }
    if let Some(peer) = request.remote() {
        converted.extensions_mut().insert(PeerAddr(peer));
    }
    converted
}

/// Converts a request with its body. The body is fed while the future is polled. The future never completes: the caller
/// drops it when the pond has responded. The pond itself limits how much it reads.
pub(crate) fn with_body<'r>(
    request: &rocket::Request<'_>,
    data: Data<'r>,
) -> (Request<RequestBody>, impl Future<Output = ()> + Send + use<'r>) {
    // One part at a time: the pond's reading paces the client.
    let (mut sender, body) = Channel::new(1);
    let feed = async move {
        let mut data = data.open(ByteUnit::max_value());
        let end = loop {
            let mut part = BytesMut::with_capacity(PART);
            match data.read_buf(&mut part).await {
                Ok(1..) if sender.send_data(part.split().freeze()).await.is_ok() => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
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
