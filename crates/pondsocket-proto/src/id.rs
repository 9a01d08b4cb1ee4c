//! Names of users, connections, channels and messages, each a type of its own and cheap to clone.

use std::borrow::Borrow;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::position::Position;

/// The longest user id, in bytes.
pub const MAX_USER_ID: usize = 128;

/// Names that stand for the server itself in the protocols: neither channels nor users may have them.
const RESERVED: [&str; 3] = ["GATEWAY", "ENDPOINT", "CHANNEL"];

/// The reason for which a text is no id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidId {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// The text is longer than this many bytes.
    #[error("the name is longer than {0} bytes")]
    TooLong(usize),
    /// The protocols use the name for the server itself.
    #[error("the name is reserved")]
    Reserved,
    /// The text contains a control character.
    #[error("the name contains a control character")]
    ControlCharacter,
}

fn check(text: &str, most: usize) -> Result<(), InvalidId> {
    match text {
        "" => Err(InvalidId::Empty),
        text if text.len() > most => Err(InvalidId::TooLong(most)),
        // Between nodes and in messages these names stand in the place of a user or channel, so one of that name could
        // be mistaken for the server.
        text if RESERVED.contains(&text) => Err(InvalidId::Reserved),
        _ => Ok(()),
    }
}

fn check_user(text: &str) -> Result<(), InvalidId> {
    check(text, MAX_USER_ID)?;
    // Ids are mostly ASCII, in which bytes are compared many at a time.
    let has_control = match text.is_ascii() {
        true => text.bytes().any(|byte| byte < b' ' || byte == 0x7f),
        false => text.chars().any(char::is_control),
    };
    if has_control {
        return Err(InvalidId::ControlCharacter);
    }
    Ok(())
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for Arc<str> {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// The id of a user: 1 to 128 bytes, no control characters, not a reserved name.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct UserId(Arc<str>);

text_id!(UserId);

impl UserId {
    /// Checks a text.
    ///
    /// # Errors
    /// The fault of the text.
    pub fn new(text: &str) -> Result<UserId, InvalidId> {
        check_user(text)?;
        Ok(UserId(text.into()))
    }

    /// Returns whether a text is the id of a user.
    pub(crate) fn is_valid(text: &str) -> bool {
        check_user(text).is_ok()
    }
}

impl From<&UserId> for Arc<str> {
    fn from(id: &UserId) -> Self {
        Arc::clone(&id.0)
    }
}

impl From<ConnectionId> for UserId {
    fn from(id: ConnectionId) -> Self {
        // A UUID as text meets all rules of a user id, so it is not checked.
        UserId(RequestId::from_u128(id.as_u128()).as_str().into())
    }
}

/// The exact text with which clients join a channel, never normalised: `/chat/1` and `chat/1` are two channels.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ChannelName(Arc<str>);

text_id!(ChannelName);

impl ChannelName {
    /// Checks a name of at most `most` bytes.
    ///
    /// # Errors
    /// The fault of the name.
    pub fn new(text: &str, most: usize) -> Result<ChannelName, InvalidId> {
        check(text, most)?;
        Ok(ChannelName(text.into()))
    }

    /// Returns whether a text is the name of a channel.
    pub(crate) fn is_valid(text: &str, most: usize) -> bool {
        check(text, most).is_ok()
    }
}

/// One connection. Shown as a UUID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ConnectionId(Uuid);

impl ConnectionId {
    /// The id with this number.
    pub const fn from_u128(number: u128) -> Self {
        ConnectionId(Uuid::from_u128(number))
    }

    /// The number.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RequestId::from_u128(self.as_u128()).as_str())
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, InvalidConnectionId> {
        // Any common form of a UUID is accepted; ids are always shown in the hyphenated one.
        Uuid::try_parse(text).map(ConnectionId).map_err(|_| InvalidConnectionId)
    }
}

/// The text is not a UUID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a connection id")]
pub struct InvalidConnectionId;

/// The request id of a message of the server, on the stack, because one is made for every broadcast: a UUID as text, or
/// the position of a message that is kept.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    text: [u8; MAX_REQUEST_ID],
    length: u8,
}

/// The length of a UUID. The longest position has 32 characters.
const MAX_REQUEST_ID: usize = 36;

impl RequestId {
    /// The id with this number.
    pub fn from_u128(number: u128) -> Self {
        let mut text = [0; MAX_REQUEST_ID];
        Uuid::from_u128(number).hyphenated().encode_lower(&mut text);
        RequestId { text, length: MAX_REQUEST_ID as u8 }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length.into()]).expect("a UUID or position is ASCII")
    }
}

impl From<Position> for RequestId {
    fn from(position: Position) -> Self {
        let mut text = [0; MAX_REQUEST_ID];
        let mut rest = &mut text[..];
        write!(rest, "{position}").expect("a position is shorter than a UUID");
        let free = rest.len();
        RequestId { text, length: (MAX_REQUEST_ID - free) as u8 }
    }
}

/// Returns `true` for the event names of the protocol itself. Clients act on them, so an application must not use them
/// (docs/protocol.md, Names and patterns).
pub fn is_reserved_event(event: &str) -> bool {
    matches!(
        event,
        "ACKNOWLEDGE" | "EXIT_ACKNOWLEDGE" | "UNAUTHORIZED" | "NOT_FOUND" | "INTERNAL_ERROR" | "CONNECTION" | "EVICTED"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_checked() {
        assert_eq!(UserId::new("ada").map(|id| id.to_string()), Ok("ada".into()));
        assert_eq!(UserId::new(""), Err(InvalidId::Empty));
        assert_eq!(UserId::new("GATEWAY"), Err(InvalidId::Reserved));
        for text in ["a\nb", "\u{1f}", "\u{7f}", "\u{80}", "é\0", "a\u{9f}b"] {
            assert_eq!(UserId::new(text), Err(InvalidId::ControlCharacter), "{text:?}");
        }
        assert!(UserId::new(" ~\u{a0}é").is_ok());
        assert_eq!(UserId::new(&"x".repeat(129)), Err(InvalidId::TooLong(128)));
        assert!(UserId::new(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn channel_names_are_kept_exactly() {
        assert_eq!(ChannelName::new("/chat/1/?x#", 512).map(|name| name.to_string()), Ok("/chat/1/?x#".into()));
        assert_eq!(ChannelName::new("ENDPOINT", 512), Err(InvalidId::Reserved));
        assert_eq!(ChannelName::new("/abc", 3), Err(InvalidId::TooLong(3)));
    }

    #[test]
    fn a_connection_id_is_shown_and_parsed_as_a_uuid() {
        let id = ConnectionId::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        assert_eq!(id.to_string(), "01020304-0506-0708-090a-0b0c0d0e0f10");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(UserId::from(id).as_str(), id.to_string());
        assert_eq!("x".parse::<ConnectionId>(), Err(InvalidConnectionId));
    }
}
