//! The request that opens an event stream, and the header by which other requests name it.

use std::sync::Arc;

use http::header::{ACCEPT, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version};

use pondsocket_proto::position::Position;

use super::transport::{EventBody, EventStreamTransport};
use crate::edge::accepted::AcceptedConnection;
use crate::edge::body::Body;
use crate::edge::refusal::HttpRefusal;
use crate::endpoint::EndpointInner;
use crate::engine::framing::Framing;
use crate::engine::outbox::Writer;
use crate::engine::stream::{Secret, Stream};
use crate::error::Error;
use crate::metrics::DeclineReason;

/// The header that names the stream of a request.
pub(super) const CONNECTION_ID: HeaderName = HeaderName::from_static("x-connection-id");

/// The header with the id of the last event that an `EventSource` has received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The media type, in the headers of requests and answers.
const EVENT_STREAM: &str = "text/event-stream";

/// Returns whether a request asks for an event stream, and not for a WebSocket.
pub(crate) fn wants_event_stream(endpoint: &EndpointInner, parts: &Parts) -> bool {
    let headers = &parts.headers;
    header_lists(headers, ACCEPT, EVENT_STREAM)
        && !header_lists(headers, UPGRADE, "websocket")
        && endpoint.offers_event_streams()
}

/// The position of the last event that the client has received (docs/protocol.md, Positions).
pub(crate) fn last_event(headers: &HeaderMap) -> Option<Position> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}

/// Opens an event stream: creates the response, and spawns the task of the connection.
pub(crate) fn open(
    endpoint: &Arc<EndpointInner>,
    accepted: AcceptedConnection,
    version: Version,
) -> Result<Response<Body>, HttpRefusal> {
    let secret = Secret::draw();
    let secret = secret.map_err(|error| HttpRefusal::new(Error::internal(error), DeclineReason::Handshake))?;
    // A client without a session could not resume by an id.
    let framing = Framing::Events { ids: accepted.session.is_some() };
    let prepared = accepted.with_handle(endpoint, framing, Writer::Body(Box::default()));
    let (stream, messages) = Stream::new(secret, Arc::clone(&prepared.handle));
    endpoint.streams.add(&stream);
    let posts = EventStreamTransport::new(Arc::clone(endpoint), Arc::clone(&stream), messages);
    let id = secret.reveal();
    tokio::spawn(prepared.into_task(posts, &id));

    let mut response = Response::new(Body::events(EventBody(stream)));
    let headers = response.headers_mut();
    let fixed = [
        (CONTENT_TYPE, EVENT_STREAM),
        // A proxy that compresses would delay events (RFC 9111 section 5.2.2.6).
        (CACHE_CONTROL, "no-cache, no-transform"),
        // Nginx would buffer events.
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "X-Connection-ID"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut id = HeaderValue::from_str(&id).expect("digits");
    // A secret: logs must not show it, and HTTP/2 must not keep it in its header table.
    id.set_sensitive(true);
    headers.insert(CONNECTION_ID, id);
    if version == Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    Ok(response)
}

/// Returns `true` if a header that is a list contains this, with any parameters. It is compared as bytes: an
/// element that is not ASCII does not hide its neighbours.
pub(super) fn header_lists(headers: &HeaderMap, name: HeaderName, what: &str) -> bool {
    let elements = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut values = elements.filter_map(|element| element.split(|byte| *byte == b';').next());
    values.any(|value| value.trim_ascii().eq_ignore_ascii_case(what.as_bytes()))
}
