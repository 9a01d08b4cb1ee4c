//! What the pond has answered, in the types of Rocket.

use std::io;
use std::pin::Pin;

use futures_util::TryStreamExt;
use http::header::{CONNECTION, UPGRADE};
use http_body_util::BodyDataStream;
use pondsocket::Body;
use rocket::Response;
use rocket::data::{IoHandler, IoStream};
use rocket::http::{Header, Status};
use tokio::io::{DuplexStream, copy_bidirectional};
use tokio_util::io::StreamReader;

/// A refusal, or an event stream.
pub(crate) fn plain<'r>(answer: http::Response<Body>) -> Response<'r> {
    let mut response = begin(&answer);
    let content = BodyDataStream::new(answer.into_body()).map_err(|never| -> io::Error { match never {} });
    response.set_streamed_body(StreamReader::new(content));
    response
}

/// The answer to a request for a WebSocket, whose bytes go to and from the pond's stream.
pub(crate) fn upgraded<'r>(answer: http::Response<Body>, stream: DuplexStream) -> Response<'r> {
    let mut response = begin(&answer);
    response.add_upgrade("websocket", Carrier(stream));
    response
}

/// Carries the bytes of a WebSocket.
struct Carrier(DuplexStream);

#[rocket::async_trait]
impl IoHandler for Carrier {
    async fn io(mut self: Pin<Box<Self>>, mut client: IoStream) -> io::Result<()> {
        copy_bidirectional(&mut client, &mut self.0).await.map(drop)
    }
}

fn begin<'r>(answer: &http::Response<Body>) -> Response<'r> {
    let mut response = Response::new();
    response.set_status(Status::new(answer.status().as_u16()));
    // What becomes of the connection is up to Rocket.
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != CONNECTION && *name != UPGRADE) {
        // Ours are always text.
        if let Ok(value) = value.to_str() {
            response.adjoin_header(Header::new(name.as_str().to_owned(), value.to_owned()));
        }
    }
    response
}
