//! What Rocket has been asked, in the types of the pond.

use std::future::pending;
use std::io;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::channel::Channel;
use pondsocket::PeerAddr;
use rocket::Data;
use rocket::data::ByteUnit;
use tokio::io::AsyncReadExt;

/// How much is read at once of what a client sends.
const PART: usize = 16 * 1024;

/// What a client sends until the pond has answered.
pub(crate) type Content = Channel<Bytes, io::Error>;

/// All but what the client sends.
pub(crate) fn head(request: &rocket::Request<'_>) -> Request<()> {
    let mut asked = Request::new(());
    // Both allow the same: what the one has accepted is no failure of the other.
    *asked.method_mut() = request.method().as_str().parse().unwrap_or_default();
    *asked.uri_mut() = request.uri().to_string().parse::<Uri>().unwrap_or_default();
    for header in request.headers().iter() {
        let name = HeaderName::from_bytes(header.name().as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(header.value())) {
            asked.headers_mut().append(name, value);
        }
    }
    if let Some(peer) = request.remote() {
        asked.extensions_mut().insert(PeerAddr(peer));
    }
    asked
}

/// The same with what the client sends. It comes as long as the future is polled, which never ends: the pond's answer
/// does. The pond reads no more than it allows itself.
pub(crate) fn with_content<'r>(
    request: &rocket::Request<'_>,
    data: Data<'r>,
) -> (Request<Content>, impl Future<Output = ()> + Send + use<'r>) {
    let (mut sender, content) = Channel::new(1);
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
            Ok(()) => drop(sender),
            Err(error) => sender.abort(error),
        }
        pending().await
    };
    (head(request).map(|()| content), feed)
}
