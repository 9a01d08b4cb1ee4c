use std::fmt;
use std::sync::Arc;

/// Declares the kinds once: a variant with its label and its remedy, which is also its documentation.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $label:literal, $remedy:literal;)*) => {
        /// The kind of a failure.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
        #[non_exhaustive]
        pub enum BusErrorKind {
            $($(#[$doc])* #[doc = concat!("\n\nRemedy: ", $remedy, ".")] $variant,)*
        }

        impl BusErrorKind {
            /// A short label, as for a metric.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(BusErrorKind::$variant => $label,)*
                }
            }

            /// The remedy for an operator, in one line.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(BusErrorKind::$variant => $remedy,)*
                }
            }
        }
    };
}

kinds! {
    /// The engine rejects the credentials.
    Auth = "auth", "check the user name and the password of the bus";
    /// The engine accepts the credentials, but denies the operation to this user.
    NoPerm = "no_perm", "grant this user the commands, channels and keys of the namespace";
    /// The engine has just started and reads its data.
    Loading = "loading", "wait: it is tried again until the engine has loaded its data";
    /// The engine is a replica, which takes no writes.
    ReadOnly = "read_only", "point the bus at the primary, or let it ask a sentinel";
    /// The engine has no memory left for writes.
    OutOfMemory = "out_of_memory", "raise the engine's memory limit, or give the bus an engine of its own";
    /// There was no answer in time.
    Timeout = "timeout", "look at the network and at the engine's load";
    /// The connection could not be made: the host is unknown, no server listens there, or the handshake failed.
    Refused = "refused", "check that the engine runs, and its host, port and TLS settings";
    /// The message is larger than the bus carries.
    TooBig = "too_big", "send less at once, or raise the engine's limit for one value";
    /// The connection was lost, or there was none.
    Closed = "closed", "nothing: the bus connects again; if it happens often look at the engine's log";
    /// The queue of messages to be published is full.
    Full = "full", "publish less, or give the engine more room: it takes messages slower than they come";
    /// The configuration of the bus can never work.
    Config = "config", "correct the option that the message names";
    /// Anything else.
    Other = "other", "read the message";
}

/// The failure of a bus or of one operation: the kind, and the text of the engine. Clones share the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BusError {
    kind: BusErrorKind,
    detail: Arc<str>,
}

impl BusError {
    /// Creates an error of this kind. The detail is written to the operator's log, so it must not contain passwords.
    pub fn new(kind: BusErrorKind, detail: impl Into<Arc<str>>) -> BusError {
        BusError { kind, detail: detail.into() }
    }

    /// The kind of the failure.
    pub fn kind(&self) -> BusErrorKind {
        self.kind
    }

    /// The text of the engine or of the system.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for BusErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.kind, self.detail, self.kind.remedy())
    }
}

impl std::error::Error for BusError {}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_error_text_contains_the_remedy() {
        let error = BusError::new(BusErrorKind::Auth, "WRONGPASS invalid username-password pair");
        let text = "auth: WRONGPASS invalid username-password pair (check the user name and the password of the bus)";
        assert_eq!(error.to_string(), text);
    }
}
