//! An open event stream, and the requests by which its client sends messages.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming as ResponseBody;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::connection::SharedInbox;
use super::connector::BoxError;
use super::inbox::{Closed, End};
use crate::edge::body::Body;

/// The header by which a request names its stream.
const CONNECTION_ID: &str = "x-connection-id";

/// The event stream of a client, the HTTP connection for its requests, and their target and headers.
pub(super) struct Events {
    pub(super) stream: ResponseBody,
    pub(super) requests: SendRequest<Body>,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Events {
    /// Reads the stream and sends messages concurrently, until the stream ends or the client has been dropped.
    pub(super) async fn drive(self, outgoing: mpsc::Receiver<Message>, incoming: &SharedInbox) {
        let Events { stream, requests, uri, headers } = self;
        let sender = RequestSender { requests, uri, headers };
        let refused = tokio::select! {
            end = read(stream, incoming) => return incoming.change(|inbox| inbox.end(end)),
            refused = sender.send_all(outgoing) => refused,
        };
        if let Err(error) = refused {
            incoming.change(|inbox| inbox.end(End::Fault(format!("a message could not be sent: {error}"))));
        }
    }
}

/// Reads until the stream ends.
async fn read(mut stream: ResponseBody, incoming: &SharedInbox) -> End {
    let mut buffer = Vec::new();
    while let Some(frame) = stream.frame().await {
        let Ok(frame) = frame else { break };
        buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(at) = buffer.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..at + 2).collect();
            let event = String::from_utf8_lossy(&event[..at]);
            // Events of kept messages have ids.
            let data = event.strip_prefix("id: ").and_then(|event| Some(event.split_once('\n')?.1));
            match data.unwrap_or(&event).strip_prefix("data: ") {
                Some(text) => incoming.change(|inbox| inbox.receive(text)),
                None if event.starts_with(':') => {}
                None => return End::Fault(format!("a client would ignore the event `{event}`")),
            }
        }
    }
    End::Closed(Closed { code: None, reason: String::new() })
}

struct RequestSender {
    requests: SendRequest<Body>,
    uri: Uri,
    headers: HeaderMap,
}

impl RequestSender {
    /// Sends each message as a request, until all senders have been dropped.
    async fn send_all(mut self, mut outgoing: mpsc::Receiver<Message>) -> Result<(), BoxError> {
        while let Some(message) = outgoing.recv().await {
            let status = match message {
                Message::Text(text) => self.request(Method::POST, Body::whole(text.to_string())).await?,
                _ => self.request(Method::DELETE, Body::default()).await?,
            };
            // 404: the stream has ended. Its reader reports the end, with the reason.
            if !status.is_success() && status != StatusCode::NOT_FOUND {
                return Err(format!("the response is {status}").into());
            }
        }
        Ok(())
    }

    async fn request(&mut self, method: Method, body: Body) -> Result<StatusCode, BoxError> {
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut()) = (method, self.uri.clone());
        *request.headers_mut() = self.headers.clone();
        self.requests.ready().await?;
        let response = self.requests.send_request(request).await?;
        let status = response.status();
        // The connection takes the next request only behind the whole body.
        response.into_body().collect().await?;
        Ok(status)
    }
}

/// The headers of the requests for a stream, from those of the client and of the response with the stream.
pub(super) fn headers_for(own: &HeaderMap, response: &HeaderMap) -> Result<HeaderMap, BoxError> {
    let mut headers = own.clone();
    let id = response.get(CONNECTION_ID).ok_or("the event stream has no X-Connection-ID")?;
    headers.insert(CONNECTION_ID, id.clone());
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}
