//! The conversion of responses.

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::rt::spawn;
use actix_web::web::Payload;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt;
use http::Response;
use http::header::{CONNECTION, UPGRADE};
use http_body::Body as _;
use http_body_util::BodyDataStream;
use pondsocket::Body;
use tokio::io::{AsyncWriteExt, DuplexStream, WriteHalf, split};
use tokio_util::io::ReaderStream;

/// Converts a response with a body: an error, or an event stream.
pub(crate) fn plain(from_pond: Response<Body>) -> HttpResponse {
    let mut response = begin(&from_pond);
    let body = from_pond.into_body();
    match body.size_hint().exact() {
        // With the exact size actix-web sends a `Content-Length`; a body without one, an event stream, is chunked.
        Some(0) => response.finish(),
        Some(size) => response.body(SizedStream::new(size, BodyDataStream::new(body))),
        None => response.streaming(BodyDataStream::new(body)),
    }
}

/// Converts the response to an upgrade. In actix-web the bytes to the client are the response's body, and those from
/// the client the request's payload.
pub(crate) fn upgraded(from_pond: Response<Body>, payload: Payload, stream: DuplexStream) -> HttpResponse {
    let mut response = begin(&from_pond);
    let (to_client, from_client) = split(stream);
    spawn(receive(payload, from_client));
    response.upgrade("websocket").streaming(ReaderStream::new(to_client))
}

/// Passes the client's bytes to the pond, as fast as it accepts them, until either side has ended.
async fn receive(mut payload: Payload, mut pond: WriteHalf<DuplexStream>) {
    while let Some(Ok(part)) = payload.next().await {
        if pond.write_all(&part).await.is_err() {
            return;
        }
    }
    // An error means that the pond has ended the stream already.
    let _ = pond.shutdown().await;
}

fn begin(from_pond: &Response<Body>) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(from_pond.status().as_u16()).expect("valid in both versions of `http`");
    let mut response = HttpResponse::build(status);
    // The headers of the connection are set by actix-web.
    for (name, value) in from_pond.headers().iter().filter(|(name, _)| *name != CONNECTION && *name != UPGRADE) {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response
}
