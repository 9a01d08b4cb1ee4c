//! The object `ext`: the additions of our own nodes to a message, and the content of the types that are ours alone
//! (docs/cluster.md, Extension).

use serde_json::value::RawValue;

use super::read::{self, Entries, Scalar};
use super::write::{self, ObjectWriter};
use super::{Body, Ext, Malformed, NodeEvent, Target, UserMessage, Verdict, users};
use crate::cluster::{ChannelKey, NodeId};
use crate::wire::fields::{Values, fields};
use crate::wire::write::string;

/// The version of the keys. A change of the meaning of a key needs another number; a new key does not.
const VERSION: u64 = 1;

/// The object as a node of our kind has sent it.
pub(super) struct Sent<'a> {
    node: NodeId,
    keys: Keys<'a>,
}

type Keys<'a> = Values<'a, { Key::COUNT }>;

fields! {
    /// The keys of the object.
    Key {
        scalar: Version "v", Name "n", Incarnation "i", Joined "j", Connection "c", Kept "k", Request "w", State "ver", Count "count",
            Hash "hash", Session "key", Acknowledged "re", Verdict "is", Event "ev";
        raw: Change "p", Have "have", Own "st", States "states", Channels "of", Who "who";
    }
}

/// Opens the object. Returns `None` if it is not ours or of an unknown version: its sender then counts as a foreign
/// node, and the rest of its message is sufficient for that. But once the object is ours, a key that cannot be read
/// makes the whole message invalid ([`Sent::ext`]): without its version a change would be taken for that of a foreign
/// node, and kept beside the state of the owner (docs/cluster.md, Extension).
pub(super) fn open(text: &str) -> Option<Sent<'_>> {
    let mut keys: Keys<'_> = Values::default();
    keys.read::<Key>(text).ok()?;
    let version = keys.scalar(Key::Version).integer("ext.v").ok()?;
    let node = node(&keys.scalar(Key::Name), &keys.scalar(Key::Incarnation), "ext.n").ok()?;
    (version == VERSION).then_some(Sent { node, keys })
}

/// Returns whether the object is that of a publisher, which is no node: the request id of its message is a position.
pub(super) fn is_of_publisher(text: &str) -> bool {
    let mut keys: Keys<'_> = Values::default();
    keys.read::<Key>(text).is_ok()
        && keys.scalar(Key::Version) == Scalar::Integer(VERSION)
        && keys.scalar(Key::Kept) == Scalar::Integer(1)
        && [Key::Name, Key::Incarnation].into_iter().all(|key| keys.scalar(key) == Scalar::Absent)
}

/// Appends the object of a publisher.
pub(super) fn write_publisher(out: &mut Vec<u8>) {
    ObjectWriter::object(out, |fields| {
        fields.number("v", VERSION);
        fields.number("k", 1);
    });
}

fn node(name: &Scalar<'_>, incarnation: &Scalar<'_>, field: &'static str) -> Result<NodeId, Malformed> {
    Ok(NodeId { name: name.id(field)?, incarnation: incarnation.integer(field)? })
}

impl Sent<'_> {
    /// Returns whether `source` is the signature of the node ([`NodeId::source`]). A forged `ext` would otherwise
    /// change the users of another node.
    pub(super) fn is_signed_as(&self, source: &str) -> bool {
        self.node.signs_as(source)
    }

    /// The additions to a message of any type.
    pub(super) fn ext(&self) -> Result<Ext, Malformed> {
        let keys = &self.keys;
        Ok(Ext {
            node: self.node.clone(),
            change: self.text(Key::Change).map(change).transpose()?,
            joined: keys.scalar(Key::Joined).optional_integer("ext.j")?,
            request: keys.scalar(Key::Request).optional_text("ext.w")?.map(str::to_owned),
            have: self.text(Key::Have).map_or(Ok(Vec::new()), have)?,
            own: self.text(Key::Own).map(|text| users::read_state(text, "ext.st")).transpose()?,
        })
    }

    /// The text of a value.
    fn text(&self, key: Key) -> Option<&str> {
        self.keys.get(key).map(|value| value.text)
    }

    /// Returns whether a message for all but its sender leaves out only one connection of the user.
    pub(super) fn leaves_out_connection(&self) -> bool {
        self.keys.scalar(Key::Connection) == Scalar::Integer(1)
    }

    /// Returns whether the request id is the position of a message that is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.keys.scalar(Key::Kept) == Scalar::Integer(1)
    }

    /// The body of a message of type `X_STATE`.
    pub(super) fn state(&self) -> Result<Body, Malformed> {
        let text = self.text(Key::States).ok_or(read::kind("ext.states"))?;
        let states: Vec<&RawValue> = read::shaped(text, "ext.states")?;
        let states = states.into_iter().map(|state| users::read_state(state.get(), "ext.states"));
        Ok(Body::State(states.collect::<Result<_, _>>()?))
    }

    /// The body of a message of type `X_REPAIR`.
    pub(super) fn repair(&self) -> Result<Body, Malformed> {
        let text = self.text(Key::Channels).ok_or(read::kind("ext.of"))?;
        let channels: Vec<(Scalar<'_>, Scalar<'_>)> = read::shaped(text, "ext.of")?;
        let channels = channels.iter().map(|(endpoint, channel)| read::channel(endpoint, channel, "ext.of", "ext.of"));
        Ok(Body::Repair(channels.collect::<Result<_, _>>()?))
    }

    /// The body of a message of type `X_DIGEST`.
    pub(super) fn digest(&self) -> Result<Body, Malformed> {
        let hash = u64::from_str_radix(self.keys.scalar(Key::Hash).text("ext.hash")?, 16);
        Ok(Body::Digest {
            version: self.keys.scalar(Key::State).integer("ext.ver")?,
            count: self.keys.scalar(Key::Count).integer("ext.count")?,
            hash: hash.map_err(|_| read::kind("ext.hash"))?,
        })
    }

    /// The body of a message of type `X_ACK`.
    pub(super) fn ack(&self) -> Result<Body, Malformed> {
        let verdict = match self.keys.scalar(Key::Verdict).text("ext.is")? {
            "done" => Verdict::Done,
            "notFound" => Verdict::NotFound,
            "refused" => Verdict::Refused,
            _ => return Err(read::kind("ext.is")),
        };
        Ok(Body::Ack { request: self.keys.scalar(Key::Acknowledged).text("ext.re")?.to_owned(), verdict })
    }

    /// The body of a message of type `X_NODE`. Events may be added without a new version.
    pub(super) fn node_event(&self) -> Result<Body, Malformed> {
        let event = match self.keys.scalar(Key::Event).text("ext.ev")? {
            "hello" => NodeEvent::Hello,
            "bye" => NodeEvent::Bye,
            "history" => NodeEvent::HistoryRestarted,
            "session" => NodeEvent::SessionClaimed(self.keys.scalar(Key::Session).id("ext.key")?),
            "down" => {
                let text = self.text(Key::Who).ok_or(read::kind("ext.who"))?;
                let (name, incarnation): (Scalar<'_>, Scalar<'_>) = read::shaped(text, "ext.who")?;
                NodeEvent::Down(node(&name, &incarnation, "ext.who")?)
            }
            // A later version may have sent it, so it is no error of the sender.
            _ => return Err(Malformed::UnknownType),
        };
        Ok(Body::Node(event))
    }
}

fn change(text: &str) -> Result<(u64, u64), Malformed> {
    let (before, after): (Scalar<'_>, Scalar<'_>) = read::shaped(text, "ext.p")?;
    Ok((before.integer("ext.p")?, after.integer("ext.p")?))
}

fn have(text: &str) -> Result<Vec<(NodeId, u64)>, Malformed> {
    let Entries(entries) = read::shaped(text, "ext.have")?;
    let held = entries.into_iter().map(|(name, raw)| {
        let (incarnation, version): (Scalar<'_>, Scalar<'_>) = read::shaped(raw.get(), "ext.have")?;
        Ok((node(&Scalar::Text(name), &incarnation, "ext.have")?, version.integer("ext.have")?))
    });
    held.collect()
}

/// Appends the object, with the additions `ext` and the content of `body`.
pub(super) fn write(out: &mut Vec<u8>, ext: &Ext, body: &Body) {
    ObjectWriter::object(out, |fields| {
        fields.number("v", VERSION);
        write_ext(fields, ext);
        write_body(fields, body);
    });
}

fn write_ext(fields: &mut ObjectWriter<'_>, ext: &Ext) {
    fields.text("n", &ext.node.name);
    fields.number("i", ext.node.incarnation);
    if let Some((before, after)) = ext.change {
        fields.field("p", |out| write::list(out, [before, after], write::integer));
    }
    if let Some(joined) = ext.joined {
        fields.number("j", joined);
    }
    if let Some(request) = &ext.request {
        fields.text("w", request);
    }
    if !ext.have.is_empty() {
        fields.field("have", |out| {
            ObjectWriter::object(out, |fields| {
                for (node, version) in &ext.have {
                    fields.entry(&node.name, |out| write::list(out, [node.incarnation, *version], write::integer));
                }
            });
        });
    }
    if let Some(own) = &ext.own {
        fields.field("st", |out| users::write_state(out, own));
    }
}

/// The fields of the types that are ours alone.
fn write_body(fields: &mut ObjectWriter<'_>, body: &Body) {
    match body {
        Body::UserMessage(UserMessage { to, position, .. }) => {
            if *to == Target::ExceptConnection(()) {
                fields.number("c", 1);
            }
            if position.is_some() {
                fields.number("k", 1);
            }
        }
        Body::State(states) => fields.field("states", |out| write::list(out, states, users::write_state)),
        Body::Repair(channels) => fields.field("of", |out| write::list(out, channels, write_channel)),
        Body::Digest { version, count, hash } => {
            fields.number("ver", *version);
            fields.number("count", *count);
            // As text, because some languages hold no integers of 64 bits.
            fields.text("hash", &format!("{hash:016x}"));
        }
        Body::Ack { request, verdict } => {
            fields.text("re", request);
            fields.text(
                "is",
                match verdict {
                    Verdict::Done => "done",
                    Verdict::NotFound => "notFound",
                    Verdict::Refused => "refused",
                },
            );
        }
        Body::Node(NodeEvent::Hello) => fields.text("ev", "hello"),
        Body::Node(NodeEvent::Bye) => fields.text("ev", "bye"),
        Body::Node(NodeEvent::HistoryRestarted) => fields.text("ev", "history"),
        Body::Node(NodeEvent::SessionClaimed(record)) => {
            fields.text("ev", "session");
            fields.text("key", record);
        }
        Body::Node(NodeEvent::Down(node)) => {
            fields.text("ev", "down");
            fields.field("who", |out| write_node(out, node));
        }
        _ => {}
    }
}

fn write_channel(out: &mut Vec<u8>, channel: &ChannelKey) {
    write::list(out, [&*channel.endpoint, channel.channel.as_str()], string);
}

fn write_node(out: &mut Vec<u8>, node: &NodeId) {
    out.push(b'[');
    string(out, &node.name);
    out.push(b',');
    write::integer(out, node.incarnation);
    out.push(b']');
}
