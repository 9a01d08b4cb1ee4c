//! Messages for users, as nodes of this implementation write them: nearly all of the traffic between nodes. They are
//! read without copies, and without a comparison of each field with all names.

use super::read::TOO_LARGE;
use super::{MAX_ID, MAX_NAME, PROTOCOL, SERVER, Target, short};
use crate::cluster::names::signs_as;
use crate::cluster::topic::{CLUSTER, HEARTBEAT, NODE};
use crate::cluster::{Topic, Topics, endpoint_name};
use crate::id::{ChannelName, UserId};
use crate::model::UserMessageRef;
use crate::position::Position;
use crate::wire::scan;

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
    position: Option<Position>,
}

impl<'a> ReceivedMessage<'a> {
    /// Reads a message that was received on a topic, if it is in the short form, or in exactly the full form that nodes of
    /// this implementation write. [`Envelope::decode`](super::Envelope::decode) reads the full form as the same message. For
    /// any other text this returns `None`, and that function decodes the text or reports its fault.
    pub fn read(topics: &Topics, topic: &'a Topic, bytes: &'a [u8]) -> Option<ReceivedMessage<'a>> {
        let mut text = Cursor { text: std::str::from_utf8(bytes).ok()?, at: 0 };
        let message = match text.skip(short::BEGINNING) {
            Some(()) => ReceivedMessage::short(&mut text, topics.names(topic)?)?,
            None => ReceivedMessage::full(&mut text)?,
        };
        (text.at == bytes.len() && message.is_valid()).then_some(message)
    }

    /// Reads the full form. The order of the fields is the one in which they are written, so no name is searched.
    fn full(text: &mut Cursor<'a>) -> Option<ReceivedMessage<'a>> {
        text.skip("{\"protocol\":\"")?;
        text.skip(PROTOCOL)?;
        text.skip("\",\"version\":1,\"sourceNodeId\":")?;
        let source = text.string()?;
        text.skip(",\"type\":\"USER_MESSAGE\",\"messageId\":")?;
        let id = text.string()?;
        text.skip(",\"endpointName\":")?;
        let endpoint = text.string()?;
        text.skip(",\"channelName\":")?;
        let channel = text.string()?;
        text.skip(",\"timestamp\":")?;
        // The timestamp is of no use here: clocks of other nodes are never compared with the own one.
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
        let mut to = match text.skip("[") {
            Some(()) => Target::Users(text.users()?),
            None => match text.string()? {
                "ALL_USERS" => Target::All,
                "ALL_EXCEPT_SENDER" => Target::ExceptUser(from.to_owned()),
                _ => return None,
            },
        };
        text.skip(",\"ext\":{\"v\":1,\"n\":")?;
        let node = text.string()?;
        text.skip(",\"i\":")?;
        let incarnation = text.number()?;
        if text.skip(",\"c\":1").is_some() && matches!(to, Target::ExceptUser(_)) {
            to = Target::ExceptConnection(());
        }
        let position = text.position(request_id)?;
        text.skip("}}")?;
        Some(ReceivedMessage {
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
            position,
        })
    }

    /// Reads the short form. `names` are those of the endpoint and the channel, from the topic.
    fn short(text: &mut Cursor<'a>, names: &'a str) -> Option<ReceivedMessage<'a>> {
        let source = text.string()?;
        text.skip(",\"m\":")?;
        let id = text.string()?;
        text.skip(",\"a\":")?;
        let endpoint_len = usize::try_from(text.number()?).ok()?;
        text.skip(",\"f\":")?;
        let from = text.string()?;
        text.skip(",\"e\":")?;
        let event = text.string()?;
        text.skip(",\"r\":")?;
        let request_id = text.string()?;
        text.skip(",\"t\":")?;
        let to = match text.skip("[") {
            Some(()) => Target::Users(text.users()?),
            None => match text.number()? {
                short::ALL => Target::All,
                short::EXCEPT_USER => Target::ExceptUser(from.to_owned()),
                short::EXCEPT_CONNECTION => Target::ExceptConnection(()),
                _ => return None,
            },
        };
        let position = text.position(request_id)?;
        text.skip(",\"p\":")?;
        let payload = text.object()?;
        text.skip("}")?;
        // The last tilde, because names of nodes may contain some.
        let (node, number) = source.rsplit_once('~')?;
        Some(ReceivedMessage {
            id,
            source,
            node,
            incarnation: u64::from_str_radix(number, 36).ok().filter(|number| *number < TOO_LARGE)?,
            endpoint: names.get(..endpoint_len)?,
            channel: names.get(endpoint_len..)?.strip_prefix(':')?,
            from,
            event,
            payload,
            request_id,
            to,
            position,
        })
    }

    /// Applies the rules for names. A message that breaks one is left to the general decoder, which reports the fault.
    fn is_valid(&self) -> bool {
        let is_id = |text: &str| (1..=MAX_ID).contains(&text.len());
        // Topics of the cluster itself have these names in the place of a channel.
        let is_reserved = [HEARTBEAT, CLUSTER, NODE].contains(&self.channel);
        [self.id, self.source, self.node].into_iter().all(is_id)
            && signs_as(self.node, self.incarnation, self.source)
            && self.endpoint.len() <= MAX_NAME
            && endpoint_name(self.endpoint) == self.endpoint
            && ChannelName::is_valid(self.channel, MAX_NAME)
            && !is_reserved
            && (self.from == SERVER || UserId::is_valid(self.from))
            && !self.request_id.is_empty()
            // The general decoder omits invalid ids of users.
            && match &self.to {
                Target::Users(users) => self.position.is_none() && users.iter().all(|user| UserId::is_valid(user)),
                _ => true,
            }
    }

    /// The message for the users.
    pub fn message(&self) -> UserMessageRef<'_> {
        let ReceivedMessage { from, event, payload, request_id, to, position, .. } = self;
        UserMessageRef { from, event, payload, request_id, to, position: *position }
    }
}

/// A position in a text. Each method reads the next part, or returns `None`.
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

    /// The mark of a message that is kept, whose request id is its position. `None` if it is there and the id is none.
    fn position(&mut self, request_id: &str) -> Option<Option<Position>> {
        match self.skip(",\"k\":1") {
            Some(()) => request_id.parse().ok().map(Some),
            None => Some(None),
        }
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

    /// The rest of a list of strings without escapes.
    fn users(&mut self) -> Option<Vec<String>> {
        let mut users = Vec::new();
        if self.skip("]").is_some() {
            return Some(users);
        }
        loop {
            users.push(self.string()?.to_owned());
            if self.skip("]").is_some() {
                return Some(users);
            }
            self.skip(",")?;
        }
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

    fn topics() -> Topics {
        Topics::new("p", "n")
    }

    fn key(endpoint: &str, channel: &str) -> ChannelKey {
        ChannelKey { endpoint: endpoint.into(), channel: ChannelName::new(channel, 100).expect("a name") }
    }

    fn message(change: impl FnOnce(&mut UserMessage)) -> UserMessage {
        let payload = Object::from_valid("{\"a\":[1, \"\\u00e9\"]}");
        let mut message = UserMessage {
            from: "ada".into(),
            event: "e".into(),
            payload,
            request_id: "r".into(),
            to: Target::All,
            position: None,
        };
        change(&mut message);
        message
    }

    fn envelope(message: UserMessage) -> Envelope {
        Envelope {
            id: "m".into(),
            source: "web~10".into(),
            channel: Some(key("api", "/c")),
            timestamp: 17,
            body: Body::UserMessage(message),
            ext: Some(Ext::new(NodeId { name: "web".into(), incarnation: 36 })),
        }
    }

    fn whole(envelope: &Envelope) -> String {
        let mut out = Vec::new();
        envelope.encode(&mut out);
        String::from_utf8(out).expect("text")
    }

    fn short(message: &UserMessage, channel: &ChannelKey) -> Option<String> {
        let mut out = Vec::new();
        let is_written = short::write(&mut out, "web~10", "m", channel, message);
        assert!(is_written || out.is_empty());
        is_written.then(|| String::from_utf8(out).expect("text"))
    }

    /// Reads a whole message in both ways, which agree.
    fn reads(text: &str) -> bool {
        let topic = topics().channel(&key("api", "/c"));
        let Some(quick) = ReceivedMessage::read(&topics(), &topic, text.as_bytes()) else { return false };
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

    fn targets() -> [Target; 5] {
        let users = |ids: &[&str]| Target::Users(ids.iter().map(|id| (*id).to_owned()).collect());
        [Target::All, Target::ExceptUser("ada".into()), Target::ExceptConnection(()), users(&[]), users(&["bob", "é"])]
    }

    #[test]
    fn messages_to_all_and_to_some_are_read() {
        for to in targets() {
            assert!(reads(&whole(&envelope(message(|message| message.to = to)))));
        }
        assert!(reads(&whole(&envelope(message(|message| message.from = "CHANNEL".into())))));
    }

    #[test]
    fn a_message_with_escapes_or_additions_is_left_to_the_general_decoder() {
        assert!(!reads(&whole(&envelope(message(|message| message.event = "\n".into())))));
        let mut joined = envelope(message(|_| {}));
        joined.ext.as_mut().expect("one").joined = Some(5);
        assert!(!reads(&whole(&joined)));
        assert!(!reads(&whole(&Envelope { ext: None, ..joined })));
    }

    #[test]
    fn a_message_to_users_that_is_kept_or_names_invalid_ones_is_left_to_the_general_decoder() {
        let to_users = |ids: &[&str]| Target::Users(ids.iter().map(|id| (*id).to_owned()).collect());
        assert!(!reads(&whole(&envelope(message(|message| message.to = to_users(&["bob", ""]))))));
        let kept = message(|message| {
            message.to = to_users(&["bob"]);
            message.position = "000001.2".parse().ok();
        });
        assert!(kept.position.is_some() && !reads(&whole(&envelope(kept))));
    }

    #[test]
    fn both_decoders_agree_about_every_change_in_a_message() {
        let parts = ["", "0", "x", "\"", "{", "}", ",", " ", "\\", "/", "\u{1}", "CHANNEL", "__node__", "\\ud800", "é"];
        for to in [Target::ExceptConnection(()), Target::Users(vec!["bob".into()])] {
            let text = whole(&envelope(message(|message| message.to = to)));
            for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                for part in parts {
                    reads(&format!("{}{part}{}", &text[..at], &text[at..]));
                    reads(&format!("{}{part}{}", &text[..at], text.get(at + 1..).unwrap_or_default()));
                    reads(&format!("{}{part}", &text[..at]));
                }
            }
        }
    }

    #[test]
    fn a_short_message_is_read_as_it_was_written() {
        for channel in [key("api", "/c"), key("", "a:b"), key("a:b", "é:c"), key("t/:x", "/c?q=1")] {
            for to in targets() {
                let sent = message(|message| message.to = to);
                let text = short(&sent, &channel).expect("no escapes");
                let topic = topics().channel(&channel);
                let read = ReceivedMessage::read(&topics(), &topic, text.as_bytes()).expect(&text);
                assert_eq!((read.endpoint, read.channel), (&*channel.endpoint, channel.channel.as_str()));
                assert_eq!((read.id, read.source, read.node, read.incarnation), ("m", "web~10", "web", 36));
                assert_eq!(read.message(), sent.as_ref());
            }
        }
    }

    #[test]
    fn text_that_needs_escapes_has_no_short_form() {
        let channel = key("api", "/c");
        for text in ["\"", "\\", "\u{1}", "a\n"] {
            assert_eq!(short(&message(|message| message.event = text.into()), &channel), None);
            assert_eq!(short(&message(|message| message.request_id = text.into()), &channel), None);
            assert_eq!(short(&message(|message| message.from = text.into()), &channel), None);
            let users = Target::Users(vec!["bob".into(), text.into()]);
            assert_eq!(short(&message(|message| message.to = users), &channel), None);
        }
    }

    #[test]
    fn a_damaged_short_message_is_refused_or_valid_and_no_node_of_another_kind_reads_it() {
        let channel = key("api", "/c");
        let text = short(&message(|_| {}), &channel).expect("no escapes");
        assert_eq!(Envelope::decode(text.as_bytes()), Err(super::super::Malformed::Foreign));
        assert!(super::super::strict::check(&text).is_err());
        let topic = topics().channel(&channel);
        for at in 0..text.len() {
            for part in ["", "0", "9", "x", "\"", "{", "}", "~", "\u{1}", "\\ud800"] {
                let damaged = format!("{}{part}{}", &text[..at], &text[at + 1..]);
                if let Some(read) = ReceivedMessage::read(&topics(), &topic, damaged.as_bytes()) {
                    assert!(read.is_valid() && read.endpoint == "api" && read.channel == "/c", "{damaged}");
                    let again: serde_json::Value = serde_json::from_str(read.message().payload).expect("JSON");
                    assert!(again.is_object());
                }
            }
        }
        for other in ["p:v1:n:__node__:web~10", "p:v1:n:__cluster__", "p:v1:n:ap:i/c", "p:v1:n:", "q:v1:n:api:/c"] {
            assert_eq!(ReceivedMessage::read(&topics(), &other.into(), text.as_bytes()), None, "{other}");
        }
    }
}
