//! Messages that are appended to a history which nodes share. The store writes the position of each into its text.

use super::short;

/// The request id of a message until it has a position: a position that no message has.
pub const PLACEHOLDER: &str = "000000.0";

/// Divides an encoded message, in either form, into the text ahead of the [`PLACEHOLDER`] and the text behind it. `None` if
/// the message has another request id.
pub fn divide(text: &[u8]) -> Option<(&[u8], &[u8])> {
    // In the short form no text ahead of the request id has quotes in it. In the full one the payload is ahead, and all
    // texts behind it have their quotes escaped.
    let (name, is_first) =
        if text.starts_with(short::BEGINNING.as_bytes()) { ("r", true) } else { ("requestId", false) };
    let field = format!("\"{name}\":\"{PLACEHOLDER}\"");
    let mut found = text.windows(field.len()).enumerate().filter(|(_, window)| *window == field.as_bytes());
    let (at, _) = if is_first { found.next()? } else { found.next_back()? };
    let end = at + field.len() - 1;
    Some((&text[..end - PLACEHOLDER.len()], &text[end..]))
}

/// The part of an encoded message, in either form, that no other message has: its source and its id.
pub fn signature(text: &str) -> &str {
    // Names ahead of these marks have their quotes escaped, or have none.
    let mark = if text.starts_with(short::BEGINNING) { ",\"a\":" } else { ",\"endpointName\":" };
    text.split_once(mark).map_or(text, |(signature, _)| signature)
}

#[cfg(test)]
mod tests {
    use super::super::{Body, Envelope, Ext, Target, UserMessage};
    use super::*;
    use crate::cluster::{ChannelKey, NodeId};
    use crate::id::ChannelName;
    use crate::wire::Object;

    /// A message with this request id, in both forms. Its payload and the name of its node resemble a request id.
    fn encoded(request_id: &str, misleading: &str) -> [Vec<u8>; 2] {
        let key = ChannelKey { endpoint: "a".into(), channel: ChannelName::new("/c", 9).expect("valid") };
        let message = UserMessage {
            from: "ada".into(),
            event: "e".into(),
            payload: Object::from_valid(&format!("{{{misleading}}}")),
            request_id: request_id.into(),
            to: Target::ExceptUser("ada".into()),
            position: request_id.parse().ok(),
        };
        let (mut short_form, mut full_form) = (Vec::new(), Vec::new());
        assert!(short::write(&mut short_form, "web~10", "m", &key, &message));
        let (body, ext) = (Body::UserMessage(message), Ext::new(NodeId { name: misleading.into(), incarnation: 36 }));
        let (id, source, timestamp) = ("m".into(), "web~10".into(), 1);
        Envelope { id, source, channel: Some(key), timestamp, body, ext: Some(ext) }.encode(&mut full_form);
        [short_form, full_form]
    }

    #[test]
    fn a_message_is_divided_at_its_request_id_whatever_its_other_texts_are() {
        for field in ["r", "requestId"] {
            let misleading = format!("\"{field}\":\"{PLACEHOLDER}\"");
            for (text, expected) in encoded(PLACEHOLDER, &misleading).iter().zip(encoded("00000a.7", &misleading)) {
                let (head, tail) = divide(text).expect("divided");
                assert_eq!(str::from_utf8(&[head, b"00000a.7", tail].concat()), str::from_utf8(&expected));
            }
        }
        assert_eq!(divide(b"{\"s\":\"a\",\"r\":\"b\"}"), None);
    }

    #[test]
    fn the_signature_of_a_message_has_its_source_and_its_id_and_nothing_of_what_it_says() {
        let [short_form, full_form] = encoded("one", "\"n\":1").map(|text| String::from_utf8(text).expect("text"));
        let others = encoded("other", "\"n\":2").map(|text| String::from_utf8(text).expect("text"));
        for (text, other) in [short_form, full_form].iter().zip(&others) {
            let found = signature(text);
            assert!(found.contains("\"web~10\"") && found.contains("\"m\""), "{found}");
            assert_eq!(found, signature(other));
        }
    }
}
