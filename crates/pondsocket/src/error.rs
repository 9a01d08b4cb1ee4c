use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use pondsocket_proto::wire::{EncodeError, Object};
use serde::Serialize;

/// The result of anything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a handler declines with, and what an operation fails with: an HTTP-like code and a text, both of which the
/// client sees, and optionally details.
///
/// There is no blanket conversion into it: write `impl From<YourError> for pondsocket::Error` to choose the code,
/// or `.map_err(Error::internal)` to tell the client nothing.
///
/// ```
/// # use pondsocket::{Error, Result};
/// fn may_enter(role: &str) -> Result<()> {
///     if role != "admin" {
///         return Err(Error::forbidden("admins only").with_details(&serde_json::json!({ "role": role })));
///     }
///     Ok(())
/// }
/// let error = may_enter("guest").unwrap_err();
/// assert_eq!((error.code(), error.message()), (403, "admins only"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    code: u16,
    message: Cow<'static, str>,
    details: Option<Object>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    pass: bool,
}

impl Error {
    /// An error with any code.
    ///
    /// # Panics
    /// If `code` is not within 400..=599: no other code means an error to a client.
    pub fn new(code: u16, message: impl Into<Cow<'static, str>>) -> Self {
        assert!((400..=599).contains(&code), "an error's code is within 400..=599, not {code}");
        Error(Box::new(Inner { code, message: message.into(), details: None, source: None, pass: false }))
    }

    /// 400: what the client sent makes no sense.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(400, message)
    }

    /// 401: the client must say who it is.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(401, message)
    }

    /// 403: the client may not do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(403, message)
    }

    /// 404: there is no such thing.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(404, message)
    }

    /// 409: it contradicts what is there.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(409, message)
    }

    /// 429: slow down.
    pub fn too_many_requests(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(429, message)
    }

    /// 500, for anything unexpected: `source` is logged and never sent.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut error = Error::new(500, "internal error");
        error.0.source = Some(source.into());
        error
    }

    /// 503: not now, later. Marked as temporary.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(503, message)
    }

    /// 504: it took too long. Marked as temporary.
    pub fn timeout(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(504, message)
    }

    /// Adds details for the client. What does not serialise to a JSON object is left out, with a log line.
    #[must_use]
    pub fn with_details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        match Object::encode(details) {
            Ok(details) => self.0.details = Some(details),
            Err(error) => tracing::error!(%error, "details of an error could not be encoded"),
        }
        self
    }

    /// The code, 400 to 599.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// The text that the client sees.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The details that the client sees, as the text of a JSON object.
    pub fn details(&self) -> Option<&str> {
        self.0.details.as_ref().map(Object::as_str)
    }

    /// Not an error: the handler leaves the decision to the next matching pattern.
    pub(crate) fn pass() -> Self {
        let mut error = Error::not_found("no handler decided");
        error.0.pass = true;
        error
    }

    pub(crate) fn is_pass(&self) -> bool {
        self.0.pass
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("details", &self.details())
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// A value of the application that cannot be sent: 500, with the reason in the log only.
pub(crate) fn encoding(error: EncodeError) -> Error {
    Error::internal(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_keeps_its_source_to_itself() {
        let error = Error::internal("the password is hunter2");
        assert_eq!(error.to_string(), "internal error (500)");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the password is hunter2"));
    }

    #[test]
    fn details_that_are_no_object_are_left_out() {
        assert_eq!(Error::not_found("x").with_details(&5).details(), None);
    }

    #[test]
    #[should_panic(expected = "within 400..=599")]
    fn a_success_code_is_no_error() {
        let _ = Error::new(200, "fine");
    }
}
