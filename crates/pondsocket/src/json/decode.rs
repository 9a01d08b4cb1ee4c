//! Decoding of text into the application's types, with errors that name the field at fault.

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::wire::Json;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::strict::Strict;
use crate::error::{Error, Result};

/// Decodes text that a client has sent. A wrong type is an error of the client, 400, with the path of the field as
/// details.
pub(crate) fn from_client<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    // To keep track of the path costs as much again as the decoding: it is done only if there is an error to locate.
    stored(text).or_else(|_| located(text)).map_err(|(path, reason)| refuse(what, &path, &reason))
}

/// Decodes text. An error has the path of the field and the reason.
fn located<T: DeserializeOwned>(text: &str) -> Result<T, (String, String)> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(Strict::new(&mut json))
        .map_err(|error| (error.path().to_string(), error.inner().to_string()))
}

/// Decodes a value that the application has stored. A wrong type is an error of the application, 500, even if the
/// value was sent by a client.
pub(crate) fn from_server<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    stored(text).map_err(|error| Error::internal(format!("{what}: {error}")))
}

fn stored<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    T::deserialize(Strict::new(&mut serde_json::Deserializer::from_str(text)))
}

/// Decodes all assigns. The error names the keys, because the value of one key is easily mistaken for all assigns.
pub(crate) fn assigns<T: DeserializeOwned>(assigns: &Assigns) -> Result<T> {
    stored(&assigns.to_json()).map_err(|error| {
        let keys: Vec<_> = assigns.iter().map(|(key, _)| format!("`{key}`")).collect();
        let keys =
            if keys.is_empty() { "there are none".to_owned() } else { format!("the keys are {}", keys.join(", ")) };
        Error::internal(format!("assigns: {error}: {keys}"))
    })
}

/// Decodes one stored value by its key, or returns 404.
pub(crate) fn assign<T: DeserializeOwned>(key: &str, value: Option<Json>) -> Result<T> {
    let value = value.ok_or_else(|| Error::not_found(format!("no assign `{key}`")))?;
    from_server(key, value.as_str())
}

/// Decodes parameters as a struct or map. A missing one is an error of the application, 500, because its patterns
/// determine which parameters there are.
pub(crate) fn params<'a, T: DeserializeOwned>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    known: impl FnOnce() -> String,
) -> Result<T> {
    from_pairs(pairs).map_err(|(path, reason)| match missing_field(&reason) {
        Some(_) => Error::internal(format!("parameters: {reason}: {}", known())),
        None => refuse("parameters", &path, &reason),
    })
}

/// Decodes a query as a struct or map.
pub(crate) fn query<'a, T: DeserializeOwned>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<T> {
    from_pairs(pairs).map_err(|(path, reason)| refuse("query", &path, &reason))
}

/// Decodes pairs of strings. Numbers and booleans are parsed from their text; a repeated key can be decoded as a list.
/// An error has the path of the field and the reason.
fn from_pairs<'a, T: DeserializeOwned>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<T, (String, String)> {
    // Encoded again, because the deserializer takes only the output of this parser.
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let pairs = serde_html_form::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| (error.path().to_string(), error.inner().to_string()))
}

/// The name of the missing field, from serde's text: serde has no type for this reason.
fn missing_field(reason: &str) -> Option<&str> {
    reason.strip_prefix("missing field `")?.split('`').next()
}

fn refuse(what: &str, path: &str, reason: &str) -> Error {
    // The position means nothing to the client, whose payload was part of a larger text.
    let reason = reason.split(" at line ").next().unwrap_or(reason);
    let field = match (path, missing_field(reason)) {
        // serde reports a missing field at the path of its struct, and names the field in its text alone; `.` is the
        // outermost value.
        (".", Some(missing)) => missing.to_owned(),
        (path, Some(missing)) => format!("{path}.{missing}"),
        (".", None) => return Error::bad_request(format!("invalid {what}: {reason}")),
        (path, None) => path.to_owned(),
    };
    Error::bad_request(format!("invalid {what}: {field}: {reason}")).with_details(&json!({ "field": field }))
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct ChatMessage {
        text: String,
        to: Option<Address>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Address {
        room: u32,
    }

    fn field(text: &str) -> (u16, Option<String>) {
        let error = from_client::<ChatMessage>("payload", text).expect_err("ill-typed");
        (error.code(), error.details().map(str::to_owned))
    }

    #[test]
    fn the_field_at_fault_is_named() {
        assert_eq!(field("{}"), (400, Some(r#"{"field":"text"}"#.into())));
        assert_eq!(field(r#"{"text":5}"#), (400, Some(r#"{"field":"text"}"#.into())));
        assert_eq!(field(r#"{"text":"","to":{"room":"x"}}"#), (400, Some(r#"{"field":"to.room"}"#.into())));
        assert_eq!(field(r#"{"text":"","to":{}}"#), (400, Some(r#"{"field":"to.room"}"#.into())));
        for other in ["[]", r#"["hi"]"#, r#"["hi",{"room":1}]"#] {
            assert_eq!(field(other), (400, None), "{other}");
        }
        assert_eq!(field(r#"{"text":"","to":[5]}"#), (400, Some(r#"{"field":"to"}"#.into())));
    }
}
