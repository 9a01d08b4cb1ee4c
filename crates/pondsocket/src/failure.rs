//! Log fields of failed handlers: each field once, without backtraces unless the environment asks for them.

use std::env;
use std::error::Error as StdError;

use tracing::{Level, Span, span_enabled};

use crate::error::Error;

/// The fields that the enabled spans around an event have. A subscriber shows them beside those of the event, so the event
/// adds only the missing ones: all of them where a filter has disabled the spans.
pub(crate) struct Around(Option<&'static tracing::Metadata<'static>>);

/// The span of a connection's task, which the spans of handlers are in.
const OF_CONNECTION: [&str; 3] = ["endpoint", "connection", "user"];

impl Around {
    pub(crate) fn now() -> Around {
        let around = Span::current().metadata();
        Around(around.filter(|metadata| metadata.target().starts_with("pondsocket::")))
    }

    /// A value that the event has to carry itself; `None` if a span carries it.
    pub(crate) fn missing<T>(&self, field: &str, value: T) -> Option<T> {
        (!self.has(field)).then_some(value)
    }

    fn has(&self, field: &str) -> bool {
        let Some(inner) = self.0 else { return false };
        // A span with an endpoint of its own stands alone.
        let fields = inner.fields();
        let is_within = fields.field("endpoint").is_none();
        fields.field(field).is_some()
            || (is_within
                && OF_CONNECTION.contains(&field)
                && span_enabled!(target: "pondsocket::connection", Level::INFO, "connection"))
    }
}

/// The error and its causes in one line. A cause whose text the error repeats is left out.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        cause = error.source();
    }
    text
}

/// The backtrace that the cause carries, where the environment asks for it.
pub(crate) fn backtrace(error: &Error) -> Option<String> {
    // The library's variable comes first, as for `std::backtrace::Backtrace::capture`.
    let setting = env::var_os("RUST_LIB_BACKTRACE").or_else(|| env::var_os("RUST_BACKTRACE"));
    let is_wanted = setting.is_some_and(|setting| setting != "0");
    is_wanted.then(|| carried_backtrace(error)).flatten()
}

/// Errors that carry one (those of anyhow and eyre, for example) show it in their `Debug` form alone.
fn carried_backtrace(error: &Error) -> Option<String> {
    let text = format!("{:?}", error.source()?);
    text.to_ascii_lowercase().contains("backtrace").then_some(text)
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::fmt;

    use super::*;

    /// An error that carries a backtrace, as those of anyhow do.
    struct Traced(Option<std::io::Error>);

    impl fmt::Debug for Traced {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the database is down\n\nStack backtrace:\n   0: main")
        }
    }

    impl fmt::Display for Traced {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the database is down")
        }
    }

    impl StdError for Traced {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.0.as_ref().map(|error| error as _)
        }
    }

    #[test]
    fn an_error_is_shown_with_each_of_its_causes_once() {
        let cause = || Some(std::io::Error::other("connection refused"));
        let error = Error::internal(Traced(cause()));
        assert_eq!(chain(&error), "internal error (500): the database is down: connection refused");
        let repeated = Error::internal(format!("{}: connection refused", Traced(None)));
        assert_eq!(chain(&repeated), "internal error (500): the database is down: connection refused");
        let repeating = Error::bad_request("down").with_source(std::io::Error::other(Error::bad_request("down")));
        assert_eq!(chain(&repeating), "down (400)");
        assert_eq!(chain(&Error::forbidden("members only")), "members only (403)");
    }

    #[test]
    fn the_backtrace_is_that_of_a_cause() {
        let error = Error::internal(Traced(None));
        assert_eq!(carried_backtrace(&error).as_deref(), Some("the database is down\n\nStack backtrace:\n   0: main"));
        assert_eq!(carried_backtrace(&Error::internal("the database is down")), None);
        assert_eq!(carried_backtrace(&Error::forbidden("members only")), None);
    }
}
