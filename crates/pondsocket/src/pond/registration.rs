//! The checks of patterns at their registration: of endpoints, channels, events and outgoing messages.

use pondsocket_proto::pattern::{InvalidPattern, Pattern};

use crate::error::Error;

/// The reason for which a pattern cannot be registered.
#[derive(Debug)]
pub(crate) enum RegistrationError {
    Invalid(InvalidPattern),
    /// A name that nodes use among themselves.
    Reserved(String),
    Taken {
        kind: &'static str,
        pattern: String,
    },
    /// A parameter that the channel's pattern has as well. Handlers get the parameters of both patterns by name.
    SharedParameter {
        kind: &'static str,
        pattern: String,
        channel: String,
        parameter: String,
    },
}

#[diagnostic::do_not_recommend]
impl From<RegistrationError> for Error {
    fn from(error: RegistrationError) -> Error {
        match error {
            RegistrationError::Invalid(error) => Error::bad_request(error.to_string()),
            RegistrationError::Reserved(path) => {
                Error::bad_request(format!("the endpoint name `{path}` is reserved for nodes"))
            }
            RegistrationError::Taken { kind, pattern } => {
                Error::conflict(format!("the {kind} pattern `{pattern}` is registered already"))
            }
            RegistrationError::SharedParameter { kind, pattern, channel, parameter } => Error::conflict(format!(
                "the {kind} pattern `{pattern}` and the channel pattern `{channel}` both have a parameter `{parameter}`"
            )),
        }
    }
}

pub(crate) fn parse(pattern: &str) -> Result<Pattern, RegistrationError> {
    Pattern::parse(pattern).map_err(RegistrationError::Invalid)
}

/// Refuses a pattern that is taken, and warns of one that no name can reach.
pub(crate) fn check_new<'a>(
    kind: &'static str,
    new: &Pattern,
    known: impl Iterator<Item = &'a Pattern>,
) -> Result<(), RegistrationError> {
    for earlier in known {
        if earlier.as_str() == new.as_str() {
            return Err(RegistrationError::Taken { kind, pattern: new.as_str().to_owned() });
        }
        // Only a warning: the new pattern is unreachable, but all others work.
        if earlier.shadows(new) {
            tracing::warn!(target: "pondsocket::server", kind, pattern = new.as_str(), earlier = earlier.as_str(), "unreachable pattern");
        }
    }
    Ok(())
}

/// Refuses a pattern with a parameter that the channel's pattern has, too: handlers could not distinguish them.
pub(crate) fn check_parameters(kind: &'static str, new: &Pattern, channel: &Pattern) -> Result<(), RegistrationError> {
    match new.params().find(|name| channel.params().any(|known| known == *name)) {
        None => Ok(()),
        Some(parameter) => Err(RegistrationError::SharedParameter {
            kind,
            pattern: new.as_str().to_owned(),
            channel: channel.as_str().to_owned(),
            parameter: parameter.to_owned(),
        }),
    }
}
