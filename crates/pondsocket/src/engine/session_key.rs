//! The keys of sessions.

use std::fmt;
use std::str::FromStr;

use pondsocket_proto::id::UserId;
use sha2::{Digest, Sha256};

/// The key of a session: a part of its hash, because the key itself is a secret, and of any length.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SessionKey([u8; 16]);

impl SessionKey {
    /// The key of a client with this user id, if it has one of its own: users cannot take sessions from each other.
    pub(crate) fn of(key: &str, user: Option<&UserId>) -> SessionKey {
        let user = user.map_or("", UserId::as_str);
        // No user id has a control character in it.
        let hash = Sha256::new().chain_update(user).chain_update([0]).chain_update(key).finalize();
        SessionKey(std::array::from_fn(|at| hash[at]))
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A text that is not that of a [`SessionKey`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct InvalidKey;

impl FromStr for SessionKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<SessionKey, InvalidKey> {
        // `from_str_radix` would accept a sign.
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| SessionKey(number.to_be_bytes())).ok_or(InvalidKey)
    }
}
