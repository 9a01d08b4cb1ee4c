//! Messages for users, as nodes of this implementation write them: nearly all of the traffic between nodes. They are
//! read without copies, and without a comparison of each field with all names.

use super::read::TOO_LARGE;
use super::scan;
use super::{MAX_ID, MAX_NAME, PROTOCOL, SERVER, Target, VERSION};
use crate::cluster::endpoint_name;
use crate::cluster::names::signs_as;
use crate::cluster::topic::{CLUSTER, HEARTBEAT, NODE};
use crate::id::{ChannelName, UserId};
use crate::model::UserMessageRef;

/// A message for the users of a channel from a node of our kind, as slices of its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReceivedMessage<'a> {
    /// The id, unique among the messages of its source.
    pub id: &'a str,
    /// The signature of the sender.
    pub source: &'a str,
    /// The name of the sender.
    pub node: &'a str,
    /// The incarnation of the sender.
    pub incarnation: u64,
    /// The endpoint of the channel.
    pub endpoint: &'a str,
    /// The name of the channel.
    pub channel: &'a str,
    from: &'a str,
    event: &'a str,
    payload: &'a str,
    request_id: &'a str,
    to: Target,
}

impl<'a> ReceivedMessage<'a> {
    /// Reads a message in the very form that [`Envelope::encode`](super::Envelope::encode) gives it, if no text in it
    /// has escapes. What is read here, [`Envelope::decode`](super::Envelope::decode) reads as the same message. `None`
    /// says nothing about any other: that function reads it, or names its fault.
    pub fn read(bytes: &'a [u8]) -> Option<ReceivedMessage<'a>> {
        let mut text = Cursor { text: std::str::from_utf8(bytes).ok()?, at: 0 };
        text.skip("{\"protocol\":\"")?;
        text.skip(PROTOCOL)?;
        text.skip("\",\"version\":")?;
        let version = text.number()?;
        text.skip(",\"sourceNodeId\":")?;
        let source = text.string()?;
        text.skip(",\"type\":\"USER_MESSAGE\",\"messageId\":")?;
        let id = text.string()?;
        text.skip(",\"endpointName\":")?;
        let endpoint = text.string()?;
        text.skip(",\"channelName\":")?;
        let channel = text.string()?;
        text.skip(",\"timestamp\":")?;
        text.number()?;
        text.skip(",\"fromUserId\":")?;
        let from = text.string()?;
        text.skip(",\"event\":")?;
        let event = text.string()?;
        text.skip(",\"payload\":")?;
        let payload = text.object()?;
        text.skip(",\"requestId\":")?;
        let request_id = text.string()?;
        text.skip(",\"recipientDescriptor\":")?;
        let recipients = text.string()?;
        text.skip(",\"ext\":{\"v\":1,\"n\":")?;
        let node = text.string()?;
        text.skip(",\"i\":")?;
        let incarnation = text.number()?;
        let leaves_out_connection = text.skip(",\"c\":1").is_some();
        text.skip("}}")?;
        let to = match recipients {
            "ALL_USERS" => Target::All,
            "ALL_EXCEPT_SENDER" if leaves_out_connection => Target::ExceptConnection(()),
            "ALL_EXCEPT_SENDER" => Target::ExceptUser(from.to_owned()),
            _ => return None,
        };
        let is_id = |text: &str| (1..=MAX_ID).contains(&text.len());
        let is_valid = text.at == bytes.len()
            && version == VERSION
            && [id, source, node].into_iter().all(is_id)
            && signs_as(node, incarnation, source)
            && endpoint.len() <= MAX_NAME
            && endpoint_name(endpoint) == endpoint
            && ChannelName::is_valid(channel, MAX_NAME)
            && ![HEARTBEAT, CLUSTER, NODE].contains(&channel)
            && (from == SERVER || UserId::is_valid(from))
            && !request_id.is_empty();
        is_valid.then_some(ReceivedMessage {
            id,
            source,
            node,
            incarnation,
            endpoint,
            channel,
            from,
            event,
            payload,
            request_id,
            to,
        })
    }

    /// The message for the users.
    pub fn message(&self) -> UserMessageRef<'_> {
        let ReceivedMessage { from, event, payload, request_id, to, .. } = self;
        UserMessageRef { from, event, payload, request_id, to }
    }
}

/// A position in a text. Each method reads what is next, or returns `None`.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn skip(&mut self, literal: &str) -> Option<()> {
        if !self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return None;
        }
        self.at += literal.len();
        Some(())
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.skip("\"")?;
        let start = self.at;
        self.at = scan::plain(self.text.as_bytes(), start);
        let text = &self.text[start..self.at];
        self.skip("\"")?;
        Some(text)
    }

    /// An integer that every language holds exactly.
    fn number(&mut self) -> Option<u64> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = &self.text[self.at..self.at + len];
        self.at += len;
        let has_leading_zero = len > 1 && digits.starts_with('0');
        digits.parse().ok().filter(|number| *number < TOO_LARGE && !has_leading_zero)
    }

    /// An object without line breaks that may reach clients.
    fn object(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at = scan::safe_object(self.text.as_bytes(), start)?;
        Some(&self.text[start..self.at])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Body, Envelope, Ext, UserMessage};
    use super::*;
    use crate::cluster::{ChannelKey, NodeId};
    use crate::wire::Object;

    fn encoded(change: impl FnOnce(&mut Envelope, &mut UserMessage)) -> String {
        let node = NodeId { name: "web".into(), incarnation: 36 };
        let channel = ChannelName::new("/c", 10).expect("a name");
        let mut message = UserMessage {
            from: "ada".into(),
            event: "e".into(),
            payload: Object::from_valid("{\"a\":[1, \"\\u00e9\"]}"),
            request_id: "r".into(),
            to: Target::All,
        };
        let mut envelope = Envelope {
            id: "m".into(),
            source: "web~10".into(),
            channel: Some(ChannelKey { endpoint: "api".into(), channel }),
            timestamp: 17,
            body: Body::Node(super::super::NodeEvent::Bye),
            ext: Some(Ext::new(node)),
        };
        change(&mut envelope, &mut message);
        envelope.body = Body::UserMessage(message);
        let mut out = Vec::new();
        envelope.encode(&mut out);
        String::from_utf8(out).expect("text")
    }

    /// Reads a message in both ways, which agree.
    fn read(text: &str) -> bool {
        let Some(quick) = ReceivedMessage::read(text.as_bytes()) else { return false };
        let envelope = Envelope::decode(text.as_bytes()).expect("a valid message");
        let node = &envelope.ext.as_ref().expect("of our kind").node;
        let channel = envelope.channel.as_ref().expect("about a channel");
        let Body::UserMessage(message) = &envelope.body else { panic!("a message for users") };
        assert_eq!((quick.id, quick.source), (&*envelope.id, &*envelope.source));
        assert_eq!((quick.node, quick.incarnation), (&*node.name, node.incarnation));
        assert_eq!((quick.endpoint, quick.channel), (&*channel.endpoint, channel.channel.as_str()));
        assert_eq!(quick.message(), message.as_ref());
        true
    }

    #[test]
    fn messages_of_all_but_one_form_of_target_are_read() {
        for to in [Target::All, Target::ExceptUser("ada".into()), Target::ExceptConnection(())] {
            assert!(read(&encoded(|_, message| message.to = to)));
        }
        assert!(read(&encoded(|_, message| message.from = "CHANNEL".into())));
        assert!(!read(&encoded(|_, message| message.to = Target::Users(vec!["bob".into()]))));
    }

    #[test]
    fn a_message_with_escapes_or_additions_is_left_to_the_general_decoder() {
        assert!(!read(&encoded(|_, message| message.event = "\n".into())));
        assert!(!read(&encoded(|envelope, _| envelope.ext.as_mut().expect("ext").joined = Some(5))));
        assert!(!read(&encoded(|envelope, _| envelope.ext = None)));
    }

    #[test]
    fn whatever_is_changed_in_a_message_both_decoders_agree() {
        let text = encoded(|_, _| {});
        let parts = ["", "0", "x", "\"", "{", "}", ",", " ", "\\", "/", "\u{1}", "CHANNEL", "__node__", "\\ud800", "é"];
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            for part in parts {
                read(&format!("{}{part}{}", &text[..at], &text[at..]));
                read(&format!("{}{part}{}", &text[..at], text.get(at + 1..).unwrap_or_default()));
                read(&format!("{}{part}", &text[..at]));
            }
        }
    }
}
