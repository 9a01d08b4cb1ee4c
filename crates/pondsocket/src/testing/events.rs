//! An open event stream, and the requests by which its client speaks.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming as Received;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::connector::BoxError;
use super::inbox::{Closed, End};
use super::line::Incoming;
use crate::edge::body::Body;

/// By which requests say which stream they are for.
const CONNECTION_ID: &str = "x-connection-id";

/// See the module.
pub(super) struct Events {
    pub(super) stream: Received,
    pub(super) requests: SendRequest<Body>,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Events {
    /// Reads and speaks side by side. Without anybody who could ask for anything the stream is dropped.
    pub(super) async fn drive(self, outgoing: mpsc::Receiver<Message>, incoming: &Incoming) {
        let Events { stream, requests, uri, headers } = self;
        let speaker = Speaker { requests, uri, headers };
        let refused = tokio::select! {
            end = read(stream, incoming) => return incoming.change(|inbox| inbox.end(end)),
            refused = speaker.speak(outgoing) => refused,
        };
        if let Err(error) = refused {
            incoming.change(|inbox| inbox.end(End::Fault(format!("a message could not be sent: {error}"))));
        }
    }
}

/// Reads until the stream ends.
async fn read(mut stream: Received, incoming: &Incoming) -> End {
    let mut buffer = Vec::new();
    while let Some(frame) = stream.frame().await {
        let Ok(frame) = frame else { break };
        buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(at) = buffer.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..at + 2).collect();
            let event = String::from_utf8_lossy(&event[..at]);
            match event.strip_prefix("data: ") {
                Some(text) => incoming.change(|inbox| inbox.receive(text)),
                None if event.starts_with(':') => {}
                None => return End::Fault(format!("a client would not see `{event}`")),
            }
        }
    }
    End::Closed(Closed { code: None, reason: String::new() })
}

struct Speaker {
    requests: SendRequest<Body>,
    uri: Uri,
    headers: HeaderMap,
}

impl Speaker {
    /// Makes a request of each message until nobody can send any more.
    async fn speak(mut self, mut outgoing: mpsc::Receiver<Message>) -> Result<(), BoxError> {
        while let Some(message) = outgoing.recv().await {
            let answer = match message {
                Message::Text(text) => self.ask(Method::POST, Body::whole(text.to_string())).await?,
                _ => self.ask(Method::DELETE, Body::default()).await?,
            };
            // A stream that is not there any more has an end, which says more.
            if !answer.is_success() && answer != StatusCode::NOT_FOUND {
                return Err(format!("the answer is {answer}").into());
            }
        }
        Ok(())
    }

    async fn ask(&mut self, method: Method, body: Body) -> Result<StatusCode, BoxError> {
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut()) = (method, self.uri.clone());
        *request.headers_mut() = self.headers.clone();
        self.requests.ready().await?;
        let answer = self.requests.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status)
    }
}

/// The headers of requests for the stream that this answer is.
pub(super) fn headers_for(own: &HeaderMap, answer: &HeaderMap) -> Result<HeaderMap, BoxError> {
    let mut headers = own.clone();
    let id = answer.get(CONNECTION_ID).ok_or("an event stream without an X-Connection-ID")?;
    headers.insert(CONNECTION_ID, id.clone());
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}
