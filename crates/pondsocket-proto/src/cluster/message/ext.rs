//! The object `ext`: the additions of our own nodes to a message, and the content of the types that are ours alone
//! (docs/cluster.md, Extension).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read::{self, Entries, Scalar};
use super::write::{self, ObjectWriter};
use super::{Body, Ext, Malformed, NodeEvent, Target, UserMessage, Verdict, users};
use crate::cluster::{ChannelKey, NodeId};
use crate::wire::write::string;

/// The version of the keys. A change of the meaning of a key needs another number; a new key does not.
const VERSION: u64 = 1;

/// The object as a node of our kind has sent it.
pub(super) struct Sent<'a> {
    node: NodeId,
    keys: Keys<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys<'a> {
    #[serde(borrow)]
    v: Scalar<'a>,
    #[serde(borrow)]
    n: Scalar<'a>,
    #[serde(borrow)]
    i: Scalar<'a>,

    #[serde(borrow)]
    p: Option<&'a RawValue>,
    #[serde(borrow)]
    j: Scalar<'a>,
    #[serde(borrow)]
    c: Scalar<'a>,
    #[serde(borrow)]
    w: Scalar<'a>,
    #[serde(borrow)]
    have: Option<&'a RawValue>,
    #[serde(borrow)]
    st: Option<&'a RawValue>,

    #[serde(borrow)]
    states: Option<&'a RawValue>,
    #[serde(borrow)]
    of: Option<&'a RawValue>,
    #[serde(borrow)]
    ver: Scalar<'a>,
    #[serde(borrow)]
    count: Scalar<'a>,
    #[serde(borrow)]
    hash: Scalar<'a>,
    #[serde(borrow)]
    re: Scalar<'a>,
    #[serde(borrow)]
    is: Scalar<'a>,
    #[serde(borrow)]
    ev: Scalar<'a>,
    #[serde(borrow)]
    who: Option<&'a RawValue>,
}

/// Opens the object. Returns `None` if it is not ours or of an unknown version: its sender then counts as a foreign
/// node, and the rest of its message is sufficient for that. But once the object is ours, a key that cannot be read
/// makes the whole message invalid ([`Sent::ext`]): without its version a change would be taken for that of a foreign
/// node, and kept beside the state of the owner (docs/cluster.md, Extension).
pub(super) fn open(raw: &RawValue) -> Option<Sent<'_>> {
    let keys: Keys<'_> = read::object_of(raw, "ext").ok()?;
    let version = keys.v.integer("ext.v").ok()?;
    let node = node(&keys.n, &keys.i, "ext.n").ok()?;
    (version == VERSION).then_some(Sent { node, keys })
}

fn node(name: &Scalar<'_>, incarnation: &Scalar<'_>, field: &'static str) -> Result<NodeId, Malformed> {
    Ok(NodeId { name: name.id(field)?, incarnation: incarnation.integer(field)? })
}

impl Sent<'_> {
    /// Returns whether `source` is the signature of the node ([`NodeId::source`]). A forged `ext` would otherwise
    /// change the users of another node.
    pub(super) fn is_signed_as(&self, source: &str) -> bool {
        self.node.source() == source
    }

    /// The additions to a message of any type.
    pub(super) fn ext(&self) -> Result<Ext, Malformed> {
        let keys = &self.keys;
        Ok(Ext {
            node: self.node.clone(),
            change: keys.p.map(change).transpose()?,
            joined: keys.j.optional_integer("ext.j")?,
            request: keys.w.optional_text("ext.w")?.map(str::to_owned),
            have: keys.have.map_or(Ok(Vec::new()), have)?,
            own: keys.st.map(|raw| users::read_state(raw, "ext.st")).transpose()?,
        })
    }

    /// Returns whether a message for all but its sender leaves out only one connection of the user.
    pub(super) fn leaves_out_connection(&self) -> bool {
        self.keys.c == Scalar::Integer(1)
    }

    /// The body of a message of type `X_STATE`.
    pub(super) fn state(&self) -> Result<Body, Malformed> {
        let raw = self.keys.states.ok_or(read::kind("ext.states"))?;
        let states: Vec<&RawValue> = read::shaped(raw, "ext.states")?;
        let states = states.into_iter().map(|state| users::read_state(state, "ext.states"));
        Ok(Body::State(states.collect::<Result<_, _>>()?))
    }

    /// The body of a message of type `X_REPAIR`.
    pub(super) fn repair(&self) -> Result<Body, Malformed> {
        let raw = self.keys.of.ok_or(read::kind("ext.of"))?;
        let channels: Vec<(Scalar<'_>, Scalar<'_>)> = read::shaped(raw, "ext.of")?;
        let channels = channels.iter().map(|(endpoint, channel)| read::channel(endpoint, channel, "ext.of", "ext.of"));
        Ok(Body::Repair(channels.collect::<Result<_, _>>()?))
    }

    /// The body of a message of type `X_DIGEST`.
    pub(super) fn digest(&self) -> Result<Body, Malformed> {
        let hash = u64::from_str_radix(self.keys.hash.text("ext.hash")?, 16);
        Ok(Body::Digest {
            version: self.keys.ver.integer("ext.ver")?,
            count: self.keys.count.integer("ext.count")?,
            hash: hash.map_err(|_| read::kind("ext.hash"))?,
        })
    }

    /// The body of a message of type `X_ACK`.
    pub(super) fn ack(&self) -> Result<Body, Malformed> {
        let verdict = match self.keys.is.text("ext.is")? {
            "done" => Verdict::Done,
            "notFound" => Verdict::NotFound,
            "refused" => Verdict::Refused,
            _ => return Err(read::kind("ext.is")),
        };
        Ok(Body::Ack { request: self.keys.re.text("ext.re")?.to_owned(), verdict })
    }

    /// The body of a message of type `X_NODE`. Events may be added without a new version.
    pub(super) fn node_event(&self) -> Result<Body, Malformed> {
        let event = match self.keys.ev.text("ext.ev")? {
            "hello" => NodeEvent::Hello,
            "bye" => NodeEvent::Bye,
            "down" => {
                let raw = self.keys.who.ok_or(read::kind("ext.who"))?;
                let (name, incarnation): (Scalar<'_>, Scalar<'_>) = read::shaped(raw, "ext.who")?;
                NodeEvent::Down(node(&name, &incarnation, "ext.who")?)
            }
            // A later version may have sent it, so it is no error of the sender.
            _ => return Err(Malformed::UnknownType),
        };
        Ok(Body::Node(event))
    }
}

fn change(raw: &RawValue) -> Result<(u64, u64), Malformed> {
    let (before, after): (Scalar<'_>, Scalar<'_>) = read::shaped(raw, "ext.p")?;
    Ok((before.integer("ext.p")?, after.integer("ext.p")?))
}

fn have(raw: &RawValue) -> Result<Vec<(NodeId, u64)>, Malformed> {
    let Entries(entries) = read::shaped(raw, "ext.have")?;
    let held = entries.into_iter().map(|(name, raw)| {
        let (incarnation, version): (Scalar<'_>, Scalar<'_>) = read::shaped(raw, "ext.have")?;
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
        Body::UserMessage(UserMessage { to: Target::ExceptConnection(()), .. }) => fields.number("c", 1),
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
