use crate::id::InvalidId;
use crate::wire::Unsafe;

/// The reason for which bytes are not a valid message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes are not UTF-8, not JSON, or not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A known field occurs twice.
    #[error("a field is repeated")]
    Repeated,
    /// The message is of another protocol, or of another version of this one.
    #[error("of another protocol or version")]
    Foreign,
    /// The type is unknown. The types of our own nodes are also unknown in a message without `ext`.
    #[error("of an unknown type")]
    UnknownType,
    /// A field that the type needs is invalid.
    #[error("`{0}` {1}")]
    Field(&'static str, Fault),
}

/// The fault of a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The field is missing, or of another kind than it should be.
    #[error("is missing or of a wrong kind")]
    Kind,
    /// The field is not a valid name.
    #[error("is no name: {0}")]
    Name(#[from] InvalidId),
    /// The field names another node than the one that signs the message.
    #[error("is not the node that the message is signed by")]
    Signature,
    /// The value must not reach a client.
    #[error("cannot be passed on: {0}")]
    Unsafe(#[from] Unsafe),
}

impl Malformed {
    /// The kind of the fault, as a label for a metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Malformed::NotAnObject => "not_an_object",
            Malformed::Repeated => "repeated",
            Malformed::Foreign => "foreign",
            Malformed::UnknownType => "unknown_type",
            Malformed::Field(..) => "field",
        }
    }

    /// Returns whether a correct node may send such a message: a node of a later version. Any other fault is an error
    /// of the sender.
    pub fn is_ignorable(&self) -> bool {
        matches!(self, Malformed::Foreign | Malformed::UnknownType)
    }
}
