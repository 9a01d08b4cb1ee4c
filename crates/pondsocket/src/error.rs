use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use pondsocket_proto::wire::{EncodeError, Object};
use serde::Serialize;

/// The result of anything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of a handler that declines or fails, and of a failed operation: an HTTP-like code and a text, both of which the
/// client sees, and optionally details.
///
/// There is no blanket conversion into it: write `impl From<YourError> for pondsocket::Error` to choose the code,
/// or `.map_err(Error::internal)` to show the client nothing of it.
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
// The errors of single operations convert into this one. They are private, so these conversions have `do_not_recommend`: else
// the compiler would list them to an application that misses a conversion of its own.
pub struct Error(Box<ErrorParts>);

struct ErrorParts {
    code: u16,
    message: Cow<'static, str>,
    details: Option<Object>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    retry_after: Option<Duration>,
    kind: ErrorKind,
    origin: ErrorOrigin,
}

/// The place that an error comes from, for the log.
#[derive(Default)]
struct ErrorOrigin {
    /// The call that the application made.
    call: Option<&'static str>,
    /// The pattern whose handler gave the error.
    pattern: Option<Box<str>>,
}

/// The kind of an error, for the code that runs handlers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ErrorKind {
    /// The operation or the handler has failed.
    Failure,
    /// The handler has left the decision to the next pattern. Its context waits for that one elsewhere (`handler::pass`):
    /// an error that a layer keeps, or returns for another message, carries nothing along.
    Passed,
    /// No pattern matches, or each handler has left the decision to the next.
    Unrouted,
}

impl Error {
    /// An error with any code.
    ///
    /// # Panics
    /// If `code` is not within 400..=599: no other code means an error to a client.
    #[track_caller]
    pub fn new(code: u16, message: impl Into<Cow<'static, str>>) -> Self {
        assert!((400..=599).contains(&code), "an error's code is within 400..=599, not {code}");
        let message = message.into();
        let (kind, origin) = (ErrorKind::Failure, ErrorOrigin::default());
        Error(Box::new(ErrorParts { code, message, details: None, source: None, retry_after: None, kind, origin }))
    }

    /// 400: the client sent an invalid request.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(400, message)
    }

    /// 401: the client must identify itself.
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

    /// 409: the request conflicts with the present state.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(409, message)
    }

    /// 413: a value or a message is too large.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(413, message)
    }

    /// 429: too many requests. See [`with_retry_after`](Self::with_retry_after).
    pub fn too_many_requests(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(429, message)
    }

    /// 500, for anything unexpected: `source` is logged and never sent.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Error::new(500, "internal error").with_source(source)
    }

    /// 503: unavailable at present. Marked as temporary.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(503, message)
    }

    /// 504: a time limit has passed. Marked as temporary.
    pub fn timeout(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(504, message)
    }

    /// Adds details for the client. Details that do not serialise to a JSON object are left out, with a log line.
    #[must_use]
    pub fn with_details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        match Object::encode(details) {
            Ok(details) => self.0.details = Some(details),
            Err(error) => {
                tracing::error!(target: "pondsocket::handler", %error, "details of an error could not be encoded")
            }
        }
        self
    }

    /// Adds the cause, for the log. Clients never see it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Tells the client when to try again: as the header `Retry-After` of an HTTP answer, in whole seconds (RFC 9110
    /// section 10.2.3), and as `details.retryAfterMs` of a message.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
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

    /// The time after which the request can be repeated, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns whether the same request may succeed later: 503 and 504.
    pub fn is_temporary(&self) -> bool {
        matches!(self.0.code, 503 | 504)
    }

    /// Returns whether this is no failure, but the decision of a handler to pass on to the next pattern, as
    /// [`EventContext::pass`](crate::EventContext::pass) does. A layer that converts errors should return it unchanged.
    pub fn is_pass(&self) -> bool {
        self.0.kind == ErrorKind::Passed
    }

    /// The method of this crate that failed, for the log; also if the application has wrapped its error in another one.
    pub(crate) fn call(&self) -> Option<&'static str> {
        // The only way into a cause whose type the application has chosen. No decision follows from it.
        let of_cause = || StdError::source(self)?.downcast_ref::<Error>()?.call();
        self.0.origin.call.or_else(of_cause)
    }

    /// The pattern whose handler gave it, for the log.
    pub(crate) fn pattern(&self) -> Option<&str> {
        self.0.origin.pattern.as_deref()
    }

    /// Notes the pattern whose handler returned it: the first one, if a layer returns it again.
    pub(crate) fn of_pattern(mut self, pattern: Option<Box<str>>) -> Self {
        self.0.origin.pattern = self.0.origin.pattern.or(pattern);
        self
    }

    /// Returns `true` if this is an answer to the client, and no failure of the server.
    pub(crate) fn is_decision(&self) -> bool {
        self.0.code < 500
    }

    /// Returns `true` for 500: an error of the server, whose reason is for the log.
    pub(crate) fn is_unexpected(&self) -> bool {
        self.0.code == 500
    }

    /// The details that a client sees: those of the application, and the time after which to try again.
    pub(crate) fn details_for_client(&self) -> Option<Cow<'_, str>> {
        let Some(after) = self.0.retry_after else { return self.details().map(Cow::Borrowed) };
        // Rounded up: a client that comes again after exactly this time must not be refused for the fraction.
        let hint = format!("\"retryAfterMs\":{}", after.as_nanos().div_ceil(1_000_000));
        Some(Cow::Owned(match self.details().and_then(|details| details.strip_prefix('{')) {
            None | Some("}") => format!("{{{hint}}}"),
            Some(rest) => format!("{{{hint},{rest}"),
        }))
    }

    /// The error of a handler that passes on to the next pattern.
    pub(crate) fn passed() -> Self {
        Error::not_found("no handler decided").of_kind(ErrorKind::Passed)
    }

    /// The error of a request for which there is no handler.
    pub(crate) fn unrouted(message: &'static str) -> Self {
        Error::not_found(message).of_kind(ErrorKind::Unrouted)
    }

    /// Returns whether there was no handler. Clients then get another frame than for a failure with 404.
    pub(crate) fn is_unrouted(&self) -> bool {
        self.0.kind == ErrorKind::Unrouted
    }

    /// Notes the name of the method that failed.
    pub(crate) fn in_call(mut self, call: &'static str) -> Self {
        self.0.origin.call = Some(call);
        self
    }

    fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }
}

/// Panics at an invalid registration, with the line of the application and not one of this crate.
pub(crate) trait OrPanic<T> {
    fn or_panic(self) -> T;
}

impl<T, E: Into<Error>> OrPanic<T> for Result<T, E> {
    #[track_caller]
    fn or_panic(self) -> T {
        match self {
            Ok(value) => value,
            // Not in a closure, for which `track_caller` has no effect.
            Err(error) => panic!("{}", error.into()),
        }
    }
}

/// The end of a method that the application has called: the failure of any operation becomes an [`Error`], in which the
/// name of the method is noted for the log. The outermost one counts, because methods call others.
pub(crate) trait InCall<T> {
    fn in_call(self, call: &'static str) -> Result<T>;
}

impl<T, E: Into<Error>> InCall<T> for Result<T, E> {
    fn in_call(self, call: &'static str) -> Result<T> {
        self.map_err(|error| error.into().in_call(call))
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

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_does_not_show_its_source_to_clients() {
        let error = Error::internal("the password is hunter2");
        assert_eq!(error.to_string(), "internal error (500)");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the password is hunter2"));
    }

    #[test]
    fn a_retry_hint_stands_beside_the_details() {
        let busy = || Error::too_many_requests("slow down").with_retry_after(Duration::from_millis(1500));
        assert_eq!(busy().details_for_client().as_deref(), Some(r#"{"retryAfterMs":1500}"#));
        let details = serde_json::json!({ "limit": 5 });
        assert_eq!(
            busy().with_details(&details).details_for_client().as_deref(),
            Some(r#"{"retryAfterMs":1500,"limit":5}"#)
        );
        let soon = Error::too_many_requests("slow down").with_retry_after(Duration::from_micros(333_333));
        assert_eq!(soon.details_for_client().as_deref(), Some(r#"{"retryAfterMs":334}"#), "no moment too early");
        assert_eq!(Error::conflict("x").with_details(&details).details_for_client().as_deref(), Some(r#"{"limit":5}"#));
    }

    #[test]
    fn only_errors_that_may_resolve_without_a_change_are_temporary() {
        assert!(Error::unavailable("x").is_temporary() && Error::timeout("x").is_temporary());
        assert!(!Error::too_many_requests("x").is_temporary() && !Error::internal("x").is_temporary());
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
