//! The request to resume a channel, in the payload of a join (docs/protocol.md, Positions).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::write::{put, string};
use crate::position::Position;

/// The key of the request in the payload.
const RESUME: &str = "$resume";

/// A client's request to resume a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resume {
    /// The client can resume, and has received nothing of the channel yet.
    FromNothing,
    /// The client has received everything up to this position.
    From(Position),
    /// The client has a text that is not a position.
    FromUnknown,
}

/// The value of `$resume` is neither a string nor `null`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`$resume` must be a string: a position, or an empty one")]
pub struct InvalidResume;

/// Takes the request out of a payload. Returns it with the payload that is left, or `None` if there is none.
///
/// # Errors
/// If it is of a wrong type.
pub fn take_resume(payload: &str) -> Result<Option<(Resume, String)>, InvalidResume> {
    // Only payloads with the key are parsed. A key that is written with escapes is not found, and stays.
    if !payload.contains(RESUME) {
        return Ok(None);
    }
    let Ok(ResumeEntries(entries)) = serde_json::from_str(payload) else { return Ok(None) };
    // As for any repeated key, the last one counts.
    let Some((_, value)) = entries.iter().rfind(|(key, _)| key == RESUME) else { return Ok(None) };
    let resume = match serde_json::from_str::<Option<Cow<'_, str>>>(value.get()) {
        Ok(None) => Resume::FromNothing,
        Ok(Some(text)) if text.is_empty() => Resume::FromNothing,
        Ok(Some(text)) => text.parse().map_or(Resume::FromUnknown, Resume::From),
        Err(_) => return Err(InvalidResume),
    };
    let mut left = Vec::with_capacity(payload.len());
    for (at, (key, value)) in entries.iter().filter(|(key, _)| key != RESUME).enumerate() {
        put(&mut left, &[if at == 0 { "{" } else { "," }]);
        string(&mut left, key);
        put(&mut left, &[":", value.get()]);
    }
    if left.is_empty() {
        left.push(b'{');
    }
    left.push(b'}');
    Ok(Some((resume, String::from_utf8(left).expect("made of texts"))))
}

/// The entries of a JSON object in their order, with values as they were written.
struct ResumeEntries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for ResumeEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = ResumeEntries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ResumeEntries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(ResumeEntries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Epoch;

    #[test]
    fn a_request_is_taken_out_of_the_payload() {
        let position = Position { epoch: Epoch::new(35), offset: 7 };
        for (payload, resume, left) in [
            (r#"{"$resume":""}"#, Resume::FromNothing, "{}"),
            (r#"{"$resume":null,"a":1}"#, Resume::FromNothing, r#"{"a":1}"#),
            (
                r#"{"a":{"$resume":1},"$resume":"00000z.7","b":[ 1 ]}"#,
                Resume::From(position),
                r#"{"a":{"$resume":1},"b":[ 1 ]}"#,
            ),
            (
                r#"{"a\n":"\"","$resume":"01020304-0506-1708-8910-00c04fd430c8"}"#,
                Resume::FromUnknown,
                r#"{"a\n":"\""}"#,
            ),
            (r#"{"$resume":"x","$resume":"\u0030\u0030000z.7"}"#, Resume::From(position), "{}"),
        ] {
            assert_eq!(take_resume(payload), Ok(Some((resume, left.to_owned()))), "{payload}");
        }
    }

    #[test]
    fn other_payloads_are_left_as_they_are() {
        for payload in ["{}", r#"{"resume":""}"#, r#"["$resume"]"#, r#"{"a":"$resume"}"#, r#""$resume""#] {
            assert_eq!(take_resume(payload), Ok(None), "{payload}");
        }
        for value in ["1", "{}", "[]", "true"] {
            assert_eq!(take_resume(&format!("{{\"$resume\":{value}}}")), Err(InvalidResume), "{value}");
        }
    }
}
