use crate::id::InvalidId;
use crate::wire::Unsafe;

/// Why bytes are no message that this node understands.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// They are not UTF-8, not JSON, or not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A field that we know is there twice.
    #[error("a field is repeated")]
    Repeated,
    /// They are of another protocol, or another version of it.
    #[error("of another protocol or version")]
    Foreign,
    /// There is no such type, as far as we know. Our own types are unknown, too, where our own fields are missing.
    #[error("of an unknown type")]
    UnknownType,
    /// A field that the type needs cannot be read.
    #[error("`{0}` {1}")]
    Field(&'static str, Fault),
}

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is missing, or something else than it should be.
    #[error("is missing or of a wrong kind")]
    Kind,
    /// It is no name.
    #[error("is no name: {0}")]
    Name(#[from] InvalidId),
    /// It names another node than the one that signs the message.
    #[error("is not the node that the message is signed by")]
    Signature,
    /// It must not reach a client.
    #[error("cannot be passed on: {0}")]
    Unsafe(#[from] Unsafe),
}

impl Malformed {
    /// What is wrong, in a word that is fit for a label.
    pub fn kind(&self) -> &'static str {
        match self {
            Malformed::NotAnObject => "not_an_object",
            Malformed::Repeated => "repeated",
            Malformed::Foreign => "foreign",
            Malformed::UnknownType => "unknown_type",
            Malformed::Field(..) => "field",
        }
    }

    /// Whether nodes in good order may say such a thing: nodes that are newer than this one. Anything else is a mistake
    /// of somebody.
    pub fn is_ignorable(&self) -> bool {
        matches!(self, Malformed::Foreign | Malformed::UnknownType)
    }
}
