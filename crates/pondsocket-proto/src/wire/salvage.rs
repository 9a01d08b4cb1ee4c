//! The fields of a text that is not a valid message. The client still waits for an answer, so the text is read as far
//! as possible.

use serde::Deserializer;
use serde::de::{Error, IgnoredAny, Visitor};

use super::ClientText;

/// The fields of every message, in the order in which faults are reported.
pub(super) const FIELDS: [&str; 4] = ["action", "event", "channelName", "requestId"];

/// The fields that were found. Of a repeated field the last one counts, as in JavaScript.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    fields: [Option<ClientText<'static>>; FIELDS.len()],
    /// `true` if the whole text is a JSON object.
    pub(super) is_object: bool,
}

impl Salvaged {
    /// A field by its name, if it is a string.
    pub(super) fn get(&self, name: &str) -> Option<&ClientText<'static>> {
        let at = FIELDS.iter().position(|field| *field == name)?;
        self.fields[at].as_ref()
    }

    /// The text of a field; empty if the field is not a string.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).map_or("", ClientText::to_lossy)
    }
}

/// Reads the outermost object without recursion, so that no depth of nesting overflows the stack. Values that are not
/// needed are skipped, also if they are not valid JSON.
pub(super) fn salvage(text: &str) -> Salvaged {
    let mut found = Salvaged::default();
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return found;
    }
    // Decides between two faults: a text that is not JSON, and an object with a wrong field.
    found.is_object = serde_json::from_str::<IgnoredAny>(text).is_ok();
    at += 1;
    loop {
        at = skip_space(bytes, at);
        let Some(key_end) = end_of_string(bytes, at) else { return found };
        let key = read_string(&text[at..key_end]);
        at = skip_space(bytes, key_end);
        if bytes.get(at) != Some(&b':') {
            return found;
        }
        at = skip_space(bytes, at + 1);
        let end = end_of_value(bytes, at);
        // The position is looked up by the decoded key, since a client may escape letters of a field's name.
        let field = key.and_then(|key| FIELDS.iter().position(|field| Some(*field) == key.exact()));
        if let Some(field) = field {
            found.fields[field] = read_string(text[at..end].trim_end());
        }
        if bytes.get(end) != Some(&b',') {
            return found;
        }
        at = end + 1;
    }
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// The end of the string that begins at `at`, behind its quote.
fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at + 1),
            // An escaped quote does not end the string. `at` may now be past the end; `get` then ends the loop.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The position of the comma or brace that ends the value at `at`, or the end of the text. Both are ASCII, so slicing
/// the text there cannot split a character.
fn end_of_value(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match end_of_string(bytes, at) {
                // One before the end, because `at` is advanced below for every byte.
                Some(end) => at = end - 1,
                // A string without an end swallows the rest: no comma in it separates fields.
                None => return bytes.len(),
            },
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return at,
            // The kinds of brackets are not matched: the value may be invalid, and only its end is sought.
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Reads the text of a JSON string. serde_json gives the half of a surrogate pair as the three bytes of its code point.
fn read_string(text: &str) -> Option<ClientText<'static>> {
    if !text.starts_with('"') {
        return None;
    }
    serde_json::Deserializer::from_str(text).deserialize_bytes(StringBytes).ok().map(ClientText::from_bytes)
}

/// The bytes of a JSON string, whose escapes need not make UTF-8.
struct StringBytes;

impl Visitor<'_> for StringBytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> [String; 4] {
        let found = salvage(text);
        FIELDS.map(|name| found.text(name).to_owned())
    }

    #[test]
    fn fields_are_found_beside_invalid_values() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for payload in ["NaN", "-Infinity", "1e999", r#"{"a":"\ud800 }, \" "}"#, "{'a':1}", &deep, "", "[,,]"] {
            let text = format!(
                r#" {{ "action" : "JOIN_CHANNEL","payload":{payload}, "channelName":"/c","requestId":"r" , "event":5}}"#
            );
            assert_eq!(fields(&text), ["JOIN_CHANNEL", "", "/c", "r"], "{payload}");
        }
    }

    #[test]
    fn a_text_that_breaks_off_is_read_as_far_as_it_goes() {
        let text = r#"{"action":"JOIN_CHANNEL","channelName":"/c","requestId":"r","payload":{"a":"#;
        assert_eq!(fields(text), ["JOIN_CHANNEL", "", "/c", "r"]);
        assert!(!salvage(text).is_object);
        for text in ["", "[]", "42", "{", "{\"", "{\"action\"", "{\"action\":", "{\"action\":\"", "{\"action\":\"\\"] {
            assert_eq!(fields(text), [""; 4], "{text}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_the_last_of_two_counts() {
        let found = salvage(r#"{"event":"x","event":"\ud83d\ude00\ud800é\udc00","requestId":"\u0072"}"#);
        assert_eq!(found.text("event"), "\u{1f600}\u{fffd}é\u{fffd}");
        assert!(found.get("event").is_some_and(|event| !event.is_exact()));
        assert_eq!(found.get("requestId"), Some(&ClientText::from("r")));
        assert!(found.is_object);
    }

    proptest! {
        /// Clients send these texts.
        #[test]
        fn no_text_panics(text in r#"[ \\"{}\[\],:ué0-9a-f]{0,60}"#) {
            salvage(&text);
            salvage(&format!(r#"{{"action":{text}"#));
            salvage(&format!(r#"{{"action":"{text}"#));
        }
    }
}
