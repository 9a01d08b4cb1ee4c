use std::error::Error;
use std::fmt;
use std::panic::Location;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::inbox::Recent;

/// The reason for which a client is not connected.
#[non_exhaustive]
pub enum ConnectError {
    /// The server answered, with something else than an upgrade.
    Refused(Refusal),
    /// It did not come to an answer.
    Failed(Failure),
}

/// The reason for which a join, a request or a leave was not answered as it should be.
#[non_exhaustive]
pub enum CallError {
    /// It was declined, or its handler failed.
    Rejected(Rejection),
    /// It did not come to an answer, or the answer is not of the type that was asked for.
    Failed(Failure),
}

/// The HTTP answer of a server that does not let a client in.
pub struct Refusal {
    asked: Asked,
    response: Box<Response<Bytes>>,
}

/// The content of an error message from the server.
pub struct Rejection {
    asked: Asked,
    code: u16,
    message: String,
    details: Value,
}

/// Something that a test waited for did not come. It displays, and debugs, as a text that says where in the test
/// that was, what was awaited, why it is given up, and what the client has received last.
pub struct Failure(Box<Report>);

struct Report {
    asked: Asked,
    why: String,
    recent: Recent,
}

/// The operation that a test has asked for, and the place in the test's source.
#[derive(Clone)]
pub(super) struct Asked {
    at: &'static Location<'static>,
    what: String,
}

impl Asked {
    /// Asked by the caller.
    #[track_caller]
    pub(super) fn here(what: impl Into<String>) -> Asked {
        Asked { at: Location::caller(), what: what.into() }
    }
}

impl ConnectError {
    /// The status of the refusal, if it is one.
    pub fn code(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status().as_u16())
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            ConnectError::Refused(refusal) => Some(refusal),
            ConnectError::Failed(_) => None,
        }
    }
}

impl CallError {
    /// The code of the rejection, if it is one.
    pub fn code(&self) -> Option<u16> {
        self.rejection().map(Rejection::code)
    }

    /// The rejection, if it is one.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            CallError::Rejected(rejection) => Some(rejection),
            CallError::Failed(_) => None,
        }
    }
}

impl Refusal {
    pub(super) fn new(asked: Asked, response: Box<Response<Bytes>>) -> Refusal {
        Refusal { asked, response }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The whole body.
    pub fn body(&self) -> &Bytes {
        self.response.body()
    }

    /// The body as text. A refusal of ours is one line, given here without its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).trim_end().to_owned()
    }
}

impl Rejection {
    /// Reads an error's payload (docs/protocol.md, Errors).
    pub(super) fn new(asked: Asked, payload: &Value) -> Rejection {
        let code = payload["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
        let message = payload["message"].as_str().unwrap_or_default().to_owned();
        Rejection { asked, code, message, details: payload["details"].clone() }
    }

    /// The code, as HTTP has them.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details; `Null` if there are none. Those of a declined join hold the code once more, as `statusCode`.
    pub fn details(&self) -> &Value {
        &self.details
    }
}

impl Failure {
    pub(super) fn new(asked: Asked, why: impl Into<String>, recent: Recent) -> Failure {
        Failure(Box::new(Report { asked, why: why.into(), recent }))
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

impl fmt::Display for Asked {
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
        write!(f, "{}: refused with {}: {}", self.asked, self.status(), self.text())
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: rejected with {}: {}", self.asked, self.code, self.message)?;
        if self.details.is_null() { Ok(()) } else { write!(f, " {}", self.details) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { asked, why, recent } = &*self.0;
        write!(f, "{asked}: {why}\n{recent}")
    }
}

/// A test that ends with `?` or `unwrap` shows how its error debugs: let it be the text.
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
