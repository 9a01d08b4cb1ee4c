//! A check of server messages as the strictest client makes it (docs/protocol.md, Server messages), for tests and
//! tools.

use serde_json::Value;

/// Checks one frame's text as the strictest client does.
///
/// # Errors
/// The fault for which that client would reject the text.
pub fn check(text: &str) -> Result<(), String> {
    // The JavaScript clients split frames at line breaks (docs/protocol.md, Envelope).
    if text.contains(['\n', '\r']) {
        return Err("a line break".into());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let message = value.as_object().ok_or("not an object")?;
    // A client may reject unknown fields as well as missing ones.
    if message.len() != 5 {
        let fields: Vec<_> = message.keys().collect();
        return Err(format!("not exactly five fields: {fields:?}"));
    }
    let text = |name: &str| message.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is no string"));
    let action = text("action")?;
    if !["PRESENCE", "SYSTEM", "BROADCAST", "ERROR", "CONNECT"].contains(&action) {
        return Err(format!("the action `{action}`"));
    }
    let event = text("event")?;
    text("channelName")?;
    text("requestId")?;
    let payload = message.get("payload").and_then(Value::as_object).ok_or("`payload` is no object")?;
    if action == "PRESENCE" {
        if !["JOIN", "UPDATE", "LEAVE"].contains(&event) {
            return Err(format!("the presence event `{event}`"));
        }
        let list = payload.get("presence").and_then(Value::as_array).ok_or("`presence` is no array")?;
        if !list.iter().all(Value::is_object) {
            return Err("an element of `presence` is no object".into());
        }
        payload.get("changed").and_then(Value::as_object).ok_or("`changed` is no object")?;
    }
    Ok(())
}
