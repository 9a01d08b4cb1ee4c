//! The messages between page and server, typed. Changes and vectors are bytes, which travel as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pondsocket::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a person, in characters, and the longest end of a selection, in bytes.
const MAX_NAME: usize = 24;
const MAX_END: usize = 200;

/// A person, as the others see it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) username: String,
}

impl Person {
    /// # Errors
    /// 401 if the name is invalid.
    pub(crate) fn new(id: String, name: &str) -> Result<Person> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::unauthorized(format!("a name has 1 to {MAX_NAME} ordinary characters")));
        }
        Ok(Person { id, username: name.to_owned() })
    }
}

/// The payload of `sync`: the state of the page.
#[derive(Debug, Deserialize)]
pub(crate) struct Ask {
    pub(crate) vector: Bytes,
}

/// The answer to `sync`: the changes that the page lacks, and the state of the server.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) change: Bytes,
    pub(crate) vector: Bytes,
    pub(crate) size: usize,
    pub(crate) max: usize,
    pub(crate) cursors: Vec<Cursor>,
}

/// The payload of `change`, which the others get as it is.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Change {
    pub(crate) change: Bytes,
}

/// The payload of `cursor`.
#[derive(Debug, Deserialize)]
pub(crate) struct Select {
    pub(crate) selection: Selection,
}

/// A selection. Its ends are relative positions of `yjs`, which stay valid when text before them changes. The
/// server does not interpret them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Selection {
    anchor: String,
    head: String,
}

impl Selection {
    /// # Errors
    /// 400 if one of its ends is too long.
    pub(crate) fn check(&self) -> Result<()> {
        let is_short = self.anchor.len() <= MAX_END && self.head.len() <= MAX_END;
        is_short.then_some(()).ok_or_else(|| Error::bad_request("no position in a text"))
    }
}

/// The selection of a person, as the others get it.
#[derive(Debug, Serialize)]
pub(crate) struct Cursor {
    pub(crate) person: Person,
    pub(crate) selection: Selection,
}

/// Bytes, as base64 in JSON.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_travel_as_base64() {
        let change: Change = serde_json::from_str(r#"{"change":"AAH/"}"#).expect("base64");
        assert_eq!(change.change.0, [0, 1, 255]);
        assert_eq!(serde_json::to_string(&change).expect("JSON"), r#"{"change":"AAH/"}"#);
        assert!(serde_json::from_str::<Change>(r#"{"change":"%"}"#).is_err());
    }

    #[test]
    fn names_and_positions_are_bounded() {
        assert_eq!(Person::new("1".into(), " Ada ").expect("a name").username, "Ada");
        assert!(Person::new("1".into(), &"é".repeat(MAX_NAME + 1)).is_err());
        let selection = |length| Selection { anchor: "x".repeat(length), head: String::new() };
        assert!(selection(MAX_END).check().is_ok());
        assert!(selection(MAX_END + 1).check().is_err());
    }
}
