//! The conversion of responses.

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

/// Converts a response with a body: an error, or an event stream.
pub(crate) fn plain<'r>(from_pond: http::Response<Body>) -> Response<'r> {
    let mut response = begin(&from_pond);
    let content = BodyDataStream::new(from_pond.into_body()).map_err(|never| -> io::Error { match never {} });
    response.set_streamed_body(StreamReader::new(content));
    response
}

/// Converts the response to an upgrade, which connects the client with the pond's stream.
pub(crate) fn upgraded<'r>(from_pond: http::Response<Body>, stream: DuplexStream) -> Response<'r> {
    let mut response = begin(&from_pond);
    response.add_upgrade("websocket", UpgradedStream(stream));
    response
}

/// The pond's end of an upgraded connection.
struct UpgradedStream(DuplexStream);

#[rocket::async_trait]
impl IoHandler for UpgradedStream {
    async fn io(mut self: Pin<Box<Self>>, mut client: IoStream) -> io::Result<()> {
        copy_bidirectional(&mut client, &mut self.0).await.map(drop)
    }
}

fn begin<'r>(from_pond: &http::Response<Body>) -> Response<'r> {
    let mut response = Response::new();
    response.set_status(Status::new(from_pond.status().as_u16()));
    // The headers of the connection are set by Rocket.
    for (name, value) in from_pond.headers().iter().filter(|(name, _)| *name != CONNECTION && *name != UPGRADE) {
        // The headers of a pond are always text.
        if let Ok(value) = value.to_str() {
            response.adjoin_header(Header::new(name.as_str().to_owned(), value.to_owned()));
        }
    }
    response
}
