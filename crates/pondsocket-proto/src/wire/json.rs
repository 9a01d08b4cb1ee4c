use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// A value that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The value does not serialise.
    #[error("the value does not serialise: {0}")]
    Json(#[from] serde_json::Error),
    /// A payload must be a JSON object: every client relies on it.
    #[error("a payload must serialise to a JSON object")]
    NotAnObject,
}

/// The text of one JSON value, valid and without line breaks. A clone shares it.
#[derive(Clone, Eq, PartialEq)]
pub struct Json(Arc<str>);

/// The text of one JSON object, valid and without line breaks. A clone shares it.
#[derive(Clone, Eq, PartialEq)]
pub struct Object(Arc<str>);

impl Json {
    /// Serialises a value.
    ///
    /// # Errors
    /// If the value does not serialise.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Json, EncodeError> {
        let mut text = Vec::new();
        append(value, &mut text)?;
        Ok(Json(into_text(text)))
    }

    /// Takes over JSON text.
    ///
    /// # Errors
    /// If the text is not valid JSON.
    pub fn from_raw(text: &str) -> Result<Json, EncodeError> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Json::encode(raw)
    }

    /// Takes over text that is known to be a JSON value without line breaks.
    pub(crate) fn from_valid(text: &str) -> Json {
        Json(text.into())
    }

    /// Takes over the text of a valid value without white space around it, in one copy.
    pub(crate) fn from_value(text: &str) -> Json {
        Json(one_line(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as a type.
    ///
    /// # Errors
    /// If the value does not fit the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl Object {
    /// Serialises a value. `null` and `()` become `{}`.
    ///
    /// # Errors
    /// If the value does not serialise, or serialises to something else than an object.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Object, EncodeError> {
        let mut text = Vec::new();
        encode_object(value, &mut text)?;
        Ok(Object(into_text(text)))
    }

    /// Takes over text that is known to be a JSON object without line breaks.
    pub(crate) fn from_valid(text: &str) -> Object {
        Object(text.into())
    }

    /// Takes over the text of a valid value without white space around it, in one copy, if it is an object.
    pub(crate) fn from_value(text: &str) -> Option<Object> {
        text.starts_with('{').then(|| Object(one_line(text)))
    }

    /// Returns `true` if the object has no entries.
    pub(crate) fn is_empty(&self) -> bool {
        // No line breaks are left in the text, and an entry begins with a quote: only braces and blanks make an empty
        // object.
        self.0.trim_start_matches(['{', ' ', '\t']) == "}"
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Appends the text of one JSON object, without line breaks. `null` and `()` become `{}`.
///
/// # Errors
/// If the value does not serialise, or serialises to something else than an object. `out` is unchanged then.
pub fn encode_object<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let object = append(value, out).and_then(|()| match out[start..] {
        [b'{', ..] => Ok(()),
        // `null` is the only JSON value that begins with an `n`. It is how `()` and `None` serialise.
        [b'n', ..] => {
            out.truncate(start);
            out.extend_from_slice(b"{}");
            Ok(())
        }
        _ => Err(EncodeError::NotAnObject),
    });
    if object.is_err() {
        // A serialiser that fails halfway has already written a part.
        out.truncate(start);
    }
    object
}

fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    serde_json::to_writer(&mut *out, value)?;
    // serde_json itself writes no line breaks, but it copies raw values as they are. In JSON a line break is always
    // white space, because in a string it is escaped. Clients split frames at line breaks (docs/protocol.md, Envelope).
    for byte in &mut out[start..] {
        // Every byte is stored, so that the compiler can handle many at a time.
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
    Ok(())
}

/// The text of a JSON value, without the line breaks that may be its white space.
fn one_line(text: &str) -> Arc<str> {
    // Two searches for one character are faster than one for either.
    if text.contains('\n') || text.contains('\r') { text.replace(['\n', '\r'], " ").into() } else { text.into() }
}

fn into_text(bytes: Vec<u8>) -> Arc<str> {
    String::from_utf8(bytes).expect("serde_json writes UTF-8").into()
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_objects_are_payloads() {
        assert_eq!(Object::encode(&json!({ "a": 1 })).expect("an object").as_str(), r#"{"a":1}"#);
        assert_eq!(Object::encode(&()).expect("unit").as_str(), "{}");
        assert_eq!(Object::encode(&None::<u8>).expect("none").as_str(), "{}");
        for other in [json!(5), json!("x"), json!([1]), json!(true)] {
            assert!(matches!(Object::encode(&other), Err(EncodeError::NotAnObject)), "{other}");
        }
    }

    #[test]
    fn a_failure_leaves_the_buffer_as_it_was() {
        let mut out = b"before".to_vec();
        assert!(encode_object(&[1, 2], &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn line_breaks_of_raw_values_become_spaces() {
        let raw: Box<RawValue> = serde_json::from_str("{\n\"a\":\r\n\"\\n\"}").expect("JSON");
        assert_eq!(Object::encode(&raw).expect("an object").as_str(), "{ \"a\":  \"\\n\"}");
        assert_eq!(Object::from_value(raw.get()).expect("an object").as_str(), "{ \"a\":  \"\\n\"}");
        assert_eq!(Json::from_value(raw.get()).as_str(), "{ \"a\":  \"\\n\"}");
    }

    #[test]
    fn an_object_with_white_space_alone_is_empty() {
        let object = Object::from_value;
        for text in ["{}", "{ \t\r\n }"] {
            assert!(object(text).expect("an object").is_empty(), "{text}");
        }
        assert!(!object(r#"{"":{}}"#).expect("an object").is_empty());
        assert!(object("[]").is_none());
    }
}
