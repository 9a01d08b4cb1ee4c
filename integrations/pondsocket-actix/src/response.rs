//! What the pond has answered, in the types of actix-web.

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

/// A refusal, or an event stream.
pub(crate) fn plain(answer: Response<Body>) -> HttpResponse {
    let mut response = begin(&answer);
    let body = answer.into_body();
    match body.size_hint().exact() {
        Some(0) => response.finish(),
        Some(size) => response.body(SizedStream::new(size, BodyDataStream::new(body))),
        None => response.streaming(BodyDataStream::new(body)),
    }
}

/// The answer to a request for a WebSocket: its body are the bytes that go to the client, and those that come from it are
/// the rest of what it has sent.
pub(crate) fn upgraded(answer: Response<Body>, payload: Payload, stream: DuplexStream) -> HttpResponse {
    let mut response = begin(&answer);
    let (to_client, from_client) = split(stream);
    spawn(receive(payload, from_client));
    response.upgrade("websocket").streaming(ReaderStream::new(to_client))
}

/// Hands to the pond what the client sends, as fast as the pond takes it, until either of them has gone.
async fn receive(mut payload: Payload, mut pond: WriteHalf<DuplexStream>) {
    while let Some(Ok(part)) = payload.next().await {
        if pond.write_all(&part).await.is_err() {
            return;
        }
    }
    // The pond has gone, if it does not hear of the end.
    let _ = pond.shutdown().await;
}

fn begin(answer: &Response<Body>) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(answer.status().as_u16()).expect("what the one allows the other does");
    let mut response = HttpResponse::build(status);
    // What becomes of the connection is up to actix-web.
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != CONNECTION && *name != UPGRADE) {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response
}
