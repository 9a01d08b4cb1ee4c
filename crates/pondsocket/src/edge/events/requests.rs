//! The requests that are made for an event stream: each stands for a message of its client, or for its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_ENCODING, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::open::{CONNECTION_ID, header_lists};
use crate::edge::body::Body;
use crate::edge::origin::{RequestOrigin, check_origin};
use crate::edge::refusal::{answer_to, refuse, with_cors};
use crate::endpoint::{EndpointInner, EndpointSettings};
use crate::engine::stream::{Post, Secret, Stream};
use crate::error::Error;
use crate::failure::chain;
use crate::limits::memory::{Charge, Memory};
use crate::metrics::Limit;

/// The methods that an endpoint with event streams answers.
const METHODS: &str = "GET, POST, DELETE, OPTIONS";

/// The headers that clients of event streams send: a token, what an `EventSource` and its substitutes add, and what a
/// message has. A browser asks for each of them, but for those that any page may send.
const HEADERS: [&str; 5] = ["Authorization", "Cache-Control", "Content-Type", "Last-Event-ID", "X-Connection-ID"];

/// The time for which a browser may remember what it was told of these requests, in seconds: as long as any does.
const MAX_AGE: &str = "86400";

/// Returns `true` if a request is for an event stream, and for nothing else that may be at its path.
pub(crate) fn is_for_event_stream<B>(request: &Request<B>) -> bool {
    match *request.method() {
        Method::POST | Method::DELETE => request.headers().contains_key(CONNECTION_ID),
        // Before a stream is opened, or before a message for it. Each GET at the path of an endpoint is for it.
        Method::OPTIONS => {
            let asks_to_get = |method: &HeaderValue| method.as_bytes() == b"GET";
            request.headers().get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(asks_to_get)
                || header_lists(request.headers(), ACCESS_CONTROL_REQUEST_HEADERS, CONNECTION_ID.as_str())
        }
        _ => false,
    }
}

/// The answer to a request whose method is none of these.
pub(crate) fn refuse_method(allowed: &'static str) -> Response<Body> {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Answers a request at the path of these endpoints, which offer event streams.
pub(crate) async fn answer<B: HttpBody>(
    endpoints: Vec<Arc<EndpointInner>>,
    peer: Option<SocketAddr>,
    request: Request<B>,
) -> Response<Body> {
    let secret = request.headers().get(CONNECTION_ID).map(|id| Secret::parse(id.as_bytes()));
    let find = |endpoint: &Arc<EndpointInner>| endpoint.streams.find(secret??);
    let found = endpoints.iter().find_map(|endpoint| Some((endpoint, find(endpoint)?)));
    let (endpoint, stream) = match found {
        Some((endpoint, stream)) => (endpoint, Some(stream)),
        None => (endpoints.first().expect("one at least has taken the request"), None),
    };
    let settings = endpoint.settings();
    let answered = match *request.method() {
        Method::OPTIONS => Ok(preflight(&settings)),
        Method::POST | Method::DELETE => {
            match check_origin(endpoint, &settings, RequestOrigin::of_request(&request, peer)) {
                Ok(()) => {
                    let served = serve(&settings, &endpoint.common.memory, secret.is_some(), stream, request).await;
                    served.map(empty).map_err(Error::from)
                }
                Err(refused) => Err(refused.error),
            }
        }
        _ => Ok(refuse_method(METHODS)),
    };
    let answer = answered.unwrap_or_else(|error| {
        let path = &*endpoint.observer.endpoint;
        tracing::debug!(target: "pondsocket::message", endpoint = path, error = chain(&error), "request for an event stream refused");
        answer_to(&error)
    });
    with_cors(&settings, answer)
}

/// The requests that a page of another origin may make.
fn preflight(settings: &EndpointSettings) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let fixed = [(ALLOW, METHODS), (ACCESS_CONTROL_ALLOW_METHODS, METHODS), (ACCESS_CONTROL_MAX_AGE, MAX_AGE)];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let more = settings.cors_allow_headers.iter().map(String::as_str);
    let allowed = HEADERS.into_iter().chain(more).collect::<Vec<_>>().join(", ");
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

async fn serve<B: HttpBody>(
    settings: &EndpointSettings,
    memory: &Arc<Memory>,
    is_named: bool,
    stream: Option<Arc<Stream>>,
    request: Request<B>,
) -> Result<StatusCode, RequestError> {
    if !is_named {
        return Err(RequestError::NoConnectionId);
    }
    if request.method() == Method::DELETE {
        // If it is not there, that is what the client wants.
        stream.inspect(|stream| stream.close());
        return Ok(StatusCode::NO_CONTENT);
    }
    let stream = stream.ok_or(RequestError::NoStream)?;
    check_content(request.headers())?;
    let post = Post::new(Charge::new(memory));
    post_message(settings, &stream, post, request.into_body()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The reason for which a request for an event stream is refused.
#[derive(Clone, Copy, Debug)]
enum RequestError {
    NoConnectionId,
    /// The stream has gone, or there was none.
    NoStream,
    /// The content is said to be of another type.
    NotJson,
    /// The content is compressed.
    Encoded,
    /// Messages wait for their turn: as many as may, or this one for as long as it may. A client may come again after this
    /// time.
    TooMany(Duration),
    /// The message has not come in time.
    Late,
    TooLarge,
    /// The request ended within its message.
    BrokenOff,
}

#[diagnostic::do_not_recommend]
impl From<RequestError> for Error {
    fn from(error: RequestError) -> Error {
        match error {
            RequestError::NoConnectionId => Error::bad_request("no X-Connection-ID"),
            RequestError::NoStream => Error::not_found("no such event stream"),
            RequestError::NotJson => Error::new(415, "not application/json"),
            RequestError::Encoded => Error::new(415, "encoded content"),
            RequestError::TooMany(after) => Error::too_many_requests("too many messages").with_retry_after(after),
            RequestError::Late => Error::new(408, "the message did not arrive in time"),
            RequestError::TooLarge => Error::too_large("the message is too large"),
            RequestError::BrokenOff => Error::bad_request("incomplete message"),
        }
    }
}

fn check_content(headers: &HeaderMap) -> Result<(), RequestError> {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = kind.and_then(|kind| kind.split(|byte| *byte == b';').next()).map(<[u8]>::trim_ascii);
    if essence.is_some_and(|essence| !essence.eq_ignore_ascii_case(b"application/json")) {
        return Err(RequestError::NotJson);
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(RequestError::Encoded);
    }
    Ok(())
}

/// Hands one message to the connection. The messages of a stream come in one at a time, in the order in which their
/// requests came: of those behind the first one nothing is read, so all of them hold no more than one.
async fn post_message<B: HttpBody>(
    settings: &EndpointSettings,
    stream: &Stream,
    post: Post,
    body: B,
) -> Result<(), RequestError> {
    let deadline = Instant::now() + settings.write_wait;
    let too_many = RequestError::TooMany(settings.retry_after);
    let _waiting = stream.queue(settings.receive_channel_buffer).ok_or(too_many)?;
    let turn = timeout_at(deadline, stream.turn()).await.map_err(|_late| too_many)?;
    let turn = turn.ok_or(RequestError::NoStream)?;
    let read = timeout_at(deadline, read(body, post, settings.max_message_size)).await;
    let message = read.map_err(|_late| RequestError::Late)?.inspect_err(|error| {
        if let RequestError::TooLarge = error {
            stream.handle.reached(Limit::MessageSize);
        }
    })?;
    if stream.is_closed() {
        return Err(RequestError::NoStream);
    }
    turn.send(message);
    Ok(())
}

/// The whole body, if it is not larger than it may be.
async fn read<B: HttpBody>(body: B, mut post: Post, most: usize) -> Result<Post, RequestError> {
    if body.size_hint().lower() > most as u64 {
        return Err(RequestError::TooLarge);
    }
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken| RequestError::BrokenOff)?;
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        if data.remaining() > most - post.bytes.len() {
            return Err(RequestError::TooLarge);
        }
        post.bytes.put(data);
        post.account();
    }
    Ok(post)
}
