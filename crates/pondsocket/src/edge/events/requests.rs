//! The HTTP requests that belong to an event stream: each is a message of its client, or ends the stream.

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

/// The headers that clients of event streams send: a token, those that an `EventSource` and its substitutes add, and those
/// of a message. A browser requires them to be listed, except those that any page may send (Fetch, CORS-safelisted).
const HEADERS: [&str; 5] = ["Authorization", "Cache-Control", "Content-Type", "Last-Event-ID", "X-Connection-ID"];

/// The time for which a browser may cache the answer to a preflight request, in seconds. No browser caches it for longer.
const MAX_AGE: &str = "86400";

/// Returns whether a request is for an event stream and not for the host, which may serve other requests at the same path.
pub(crate) fn is_for_event_stream<B>(request: &Request<B>) -> bool {
    match *request.method() {
        Method::POST | Method::DELETE => request.headers().contains_key(CONNECTION_ID),
        // A preflight request before a stream is opened, or before a message. Each GET at the path is for the endpoint.
        Method::OPTIONS => {
            let asks_to_get = |method: &HeaderValue| method.as_bytes() == b"GET";
            request.headers().get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(asks_to_get)
                || header_lists(request.headers(), ACCESS_CONTROL_REQUEST_HEADERS, CONNECTION_ID.as_str())
        }
        _ => false,
    }
}

/// The answer to a request with another method.
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
    // Several endpoints may share a path. The stream itself shows which one a request belongs to.
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

/// The answer to a preflight request: the methods and headers that a page of another origin may use.
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
        // A stream that has gone is no error: the client wants it to be closed.
        stream.inspect(|stream| stream.delete());
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
    /// The content type is another one.
    NotJson,
    /// The content is compressed.
    Encoded,
    /// Too many messages wait for their turn, or this one has waited for too long. With the time after which the client may
    /// repeat it.
    TooMany(Duration),
    /// The message did not arrive in time.
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

/// Passes one message to the connection. The messages of a stream are read one at a time, in the order of their requests,
/// so that together they hold the memory of one.
async fn post_message<B: HttpBody>(
    settings: &EndpointSettings,
    stream: &Stream,
    post: Post,
    body: B,
) -> Result<(), RequestError> {
    // One deadline for both waits: a client cannot hold a request open for longer by sending slowly.
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
    // The stream may have been closed while the message was read.
    if stream.is_closed() {
        return Err(RequestError::NoStream);
    }
    turn.send(message);
    Ok(())
}

/// Reads the whole body, up to a limit.
async fn read<B: HttpBody>(body: B, mut post: Post, most: usize) -> Result<Post, RequestError> {
    // Refused by its announced length, before anything is read.
    if body.size_hint().lower() > most as u64 {
        return Err(RequestError::TooLarge);
    }
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken| RequestError::BrokenOff)?;
        // Trailers have no meaning here.
        let Ok(data) = frame.into_data() else { continue };
        if data.remaining() > most - post.bytes.len() {
            return Err(RequestError::TooLarge);
        }
        post.bytes.put(data);
        post.account();
    }
    Ok(post)
}
