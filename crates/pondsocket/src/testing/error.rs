//! The errors of waits and requests, which name the place in the test.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::inbox::RecentFrames;

/// The reason for which a client is not connected.
#[non_exhaustive]
pub enum ConnectError {
    /// The server responded with another status than that of an upgrade or an event stream.
    Refused(Refusal),
    /// There was no response, or no valid one.
    Failed(Failure),
}

/// The reason for which a join, a request or a leave has failed.
#[non_exhaustive]
pub enum CallError {
    /// The answer is an error: it was declined, or its handler failed.
    Rejected(Rejection),
    /// There was no answer in time, or it cannot be decoded as the requested type.
    Failed(Failure),
}

/// The HTTP response with which the server declined the client.
pub struct Refusal {
    awaited: Awaited,
    response: Box<Response<Bytes>>,
}

/// The content of an error message from the server.
pub struct Rejection {
    awaited: Awaited,
    code: u16,
    message: String,
    details: Value,
}

/// A wait that was in vain. `Display` and `Debug` give the place in the test, the awaited event, the reason of the failure,
/// and the frames that the client received last.
pub struct Failure(Box<Report>);

struct Report {
    awaited: Awaited,
    why: String,
    recent: RecentFrames,
}

/// The event that a test waits for, and the place in the test's source.
#[derive(Clone)]
pub(super) struct Awaited {
    at: &'static Location<'static>,
    what: String,
}

impl Awaited {
    /// An event awaited at the place of the caller.
    #[track_caller]
    pub(super) fn here(what: impl Into<String>) -> Awaited {
        Awaited { at: Location::caller(), what: what.into() }
    }
}

impl ConnectError {
    /// The HTTP status of the refusal; `None` for a failure.
    pub fn code(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status().as_u16())
    }

    /// The refusal; `None` for a failure.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            ConnectError::Refused(refusal) => Some(refusal),
            ConnectError::Failed(_) => None,
        }
    }
}

impl CallError {
    /// The code of the rejection; `None` for a failure.
    pub fn code(&self) -> Option<u16> {
        self.rejection().map(Rejection::code)
    }

    /// The rejection; `None` for a failure.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            CallError::Rejected(rejection) => Some(rejection),
            CallError::Failed(_) => None,
        }
    }
}

impl Refusal {
    pub(super) fn new(awaited: Awaited, response: Box<Response<Bytes>>) -> Refusal {
        Refusal { awaited, response }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers of the response.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The complete body.
    pub fn body(&self) -> &Bytes {
        self.response.body()
    }

    /// The body as text, without white space at its end. The refusals of a pond are one connection.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).trim_end().to_owned()
    }
}

impl Rejection {
    /// Reads an error's payload (docs/protocol.md, Errors).
    pub(super) fn new(awaited: Awaited, payload: &Value) -> Rejection {
        let code = payload["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
        let message = payload["message"].as_str().unwrap_or_default().to_owned();
        Rejection { awaited, code, message, details: payload["details"].clone() }
    }

    /// The code, which has the meaning of an HTTP status.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details; `Null` if there are none. Those of a declined join repeat the code as `statusCode`.
    pub fn details(&self) -> &Value {
        &self.details
    }
}

impl Failure {
    pub(super) fn new(awaited: Awaited, why: impl Into<String>, recent: RecentFrames) -> Failure {
        Failure(Box::new(Report { awaited, why: why.into(), recent }))
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        ConnectError::Failed(failure)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        CallError::Failed(failure)
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Refused(refusal) => refusal.fmt(f),
            ConnectError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Rejected(rejection) => rejection.fmt(f),
            CallError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: refused with {}: {}", self.awaited, self.status(), self.text())
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: rejected with {}: {}", self.awaited, self.code, self.message)?;
        if self.details.is_null() { Ok(()) } else { write!(f, " {}", self.details) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { awaited, why, recent } = &*self.0;
        write!(f, "{awaited}: {why}\n{recent}")
    }
}

/// Implements `Debug` by `Display`, because a test that ends with `?` or `unwrap` prints its error with `Debug`.
macro_rules! debug_as_display {
    ($($error:ty),*) => {$(
        impl fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

debug_as_display!(ConnectError, CallError, Refusal, Rejection, Failure);

impl Error for ConnectError {}

impl Error for CallError {}

impl Error for Failure {}
