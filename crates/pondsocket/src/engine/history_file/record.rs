//! The lines of a history file, and what they stand for.

use std::borrow::Cow;
use std::time::Duration;

use pondsocket_proto::channel::{Assigns, GapReason, Progress, SavedGhost, SavedMessage, SavedRing};
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::position::Position;
use pondsocket_proto::wire::{Json, Object};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::handled::{HandledMessage, HandledRecord};
use crate::engine::session_key::SessionKey;
use crate::engine::sessions::SavedSession;

/// The histories, members and sessions of one endpoint.
#[derive(Debug)]
pub(crate) struct SavedEndpoint {
    /// The pattern of its path.
    pub(crate) path: Box<str>,
    pub(crate) channels: Vec<SavedChannel>,
    pub(crate) sessions: Vec<SavedSession>,
}

/// The history of one channel, and its members in their presence grace.
#[derive(Debug)]
pub(crate) struct SavedChannel {
    pub(crate) name: ChannelName,
    /// The pattern of its lobby.
    pub(crate) lobby: Box<str>,
    /// `None` if it keeps no history, or none that anybody needs.
    pub(crate) ring: Option<SavedRing>,
    pub(crate) ghosts: Vec<SavedGhost>,
}

/// One line. Times are in milliseconds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Record<'a> {
    Histories {
        version: u32,
        /// The wall-clock time, in milliseconds since 1970.
        written: u64,
    },
    Endpoint {
        #[serde(borrow)]
        path: Cow<'a, str>,
    },
    Channel {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        lobby: Cow<'a, str>,
        /// The position before the first message; `None` if the channel keeps no history.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Position>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        gap: Option<Cow<'a, str>>,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        stamp: Option<Cow<'a, str>>,
        /// The users that were removed, and the offsets as of then.
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        removed: Vec<(Cow<'a, str>, u64)>,
        #[serde(default)]
        unused: u64,
        #[serde(default)]
        lingers: u64,
    },
    Message {
        age: u64,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        except: Option<Cow<'a, str>>,
        #[serde(borrow)]
        text: &'a RawValue,
    },
    /// A member in its presence grace.
    Ghost {
        #[serde(borrow)]
        user: Cow<'a, str>,
        /// The time until the end of its grace.
        left: u64,
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        assigns: Vec<(Cow<'a, str>, &'a RawValue)>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        presence: Option<&'a RawValue>,
    },
    Session {
        #[serde(borrow)]
        key: Cow<'a, str>,
        #[serde(borrow)]
        user: Cow<'a, str>,
        expires: u64,
        /// The names, what is proven in each, and the offset that was sent.
        #[serde(borrow)]
        channels: Vec<(Cow<'a, str>, Position, u64)>,
    },
    #[serde(borrow)]
    Handled(HandledRecord<'a>),
    End {
        #[serde(borrow)]
        sha256: Cow<'a, str>,
    },
}

impl<'a> Record<'a> {
    pub(super) fn channel(SavedChannel { name, lobby, ring, .. }: &'a SavedChannel) -> Record<'a> {
        let removed = ring.iter().flat_map(|ring| &ring.removed);
        Record::Channel {
            name: name.as_str().into(),
            lobby: (&**lobby).into(),
            before: ring.as_ref().map(|ring| ring.before),
            gap: ring.as_ref().map(|ring| ring.removed_for.as_str().into()),
            stamp: ring.as_ref().and_then(|ring| ring.stamp.as_deref().map(Cow::Borrowed)),
            removed: removed.map(|(user, at)| (user.as_str().into(), *at)).collect(),
            unused: ring.as_ref().map_or(0, |ring| ring.unused_for),
            lingers: ring.as_ref().map_or(0, |ring| ring.lingers_for),
        }
    }

    pub(super) fn message(SavedMessage { text, age, except }: &'a SavedMessage) -> serde_json::Result<Record<'a>> {
        let except = except.as_ref().map(|user| Cow::Borrowed(user.as_str()));
        Ok(Record::Message { age: *age, except, text: serde_json::from_str(text)? })
    }

    pub(super) fn ghost(ghost: &'a SavedGhost) -> serde_json::Result<Record<'a>> {
        let SavedGhost { user, left, assigns, presence } = ghost;
        let assign = |(key, value): (Cow<'a, str>, &'a str)| Ok((key, serde_json::from_str(value)?));
        Ok(Record::Ghost {
            user: user.as_str().into(),
            left: *left,
            assigns: assigns.iter().map(assign).collect::<serde_json::Result<_>>()?,
            presence: presence.as_ref().map(|presence| serde_json::from_str(presence.as_str())).transpose()?,
        })
    }

    pub(super) fn session(session: &'a SavedSession) -> Record<'a> {
        let SavedSession { key, user, expires_in, channels, .. } = session;
        let channel = |(name, progress): &'a (ChannelName, Progress)| {
            let Progress { epoch, proven, sent } = *progress;
            (name.as_str().into(), Position { epoch, offset: proven }, sent)
        };
        Record::Session {
            key: key.to_string().into(),
            user: user.as_str().into(),
            expires: millis(*expires_in),
            channels: channels.iter().map(channel).collect(),
        }
    }

    /// The channel of its record, without messages and members. `None` if it is invalid, or the record is another one.
    pub(super) fn into_channel(self) -> Option<SavedChannel> {
        let Record::Channel { name, lobby, before, gap, stamp, removed, unused, lingers } = self else { return None };
        let ring = |before| {
            let gap = gap?;
            let removed = removed.into_iter().map(|(user, at)| Some((UserId::new(&user).ok()?, at)));
            Some(SavedRing {
                before,
                messages: Vec::new(),
                removed_for: [GapReason::Trimmed, GapReason::Expired].into_iter().find(|it| it.as_str() == gap)?,
                stamp: stamp.map(Into::into),
                removed: removed.collect::<Option<_>>()?,
                unused_for: unused,
                lingers_for: lingers,
            })
        };
        let ring = match before {
            Some(before) => Some(ring(before)?),
            None => None,
        };
        Some(SavedChannel {
            name: ChannelName::new(&name, usize::MAX).ok()?,
            lobby: lobby.into(),
            ring,
            ghosts: Vec::new(),
        })
    }

    pub(super) fn into_message(self) -> Option<SavedMessage> {
        let Record::Message { age, except, text } = self else { return None };
        let except = except.map(|user| UserId::new(&user)).transpose().ok()?;
        Some(SavedMessage { text: text.get().into(), age, except })
    }

    pub(super) fn into_ghost(self) -> Option<SavedGhost> {
        let Record::Ghost { user, left, assigns, presence } = self else { return None };
        let assign = |(key, value): (Cow<'_, str>, &RawValue)| Some((key.into_owned(), Json::encode(value).ok()?));
        Some(SavedGhost {
            user: UserId::new(&user).ok()?,
            left,
            assigns: Assigns::from_entries(assigns.into_iter().map(assign).collect::<Option<_>>()?)?,
            presence: presence.map(Object::encode).transpose().ok()?,
        })
    }

    /// The session of its record, without the messages that were handled.
    pub(super) fn into_session(self) -> Option<SavedSession> {
        let Record::Session { key, user, expires, channels } = self else { return None };
        let channel = |(name, Position { epoch, offset }, sent): (Cow<'_, str>, _, _)| {
            Some((ChannelName::new(&name, usize::MAX).ok()?, Progress { epoch, proven: offset, sent }))
        };
        Some(SavedSession {
            key: key.parse::<SessionKey>().ok()?,
            user: UserId::new(&user).ok()?,
            expires_in: Duration::from_millis(expires),
            channels: channels.into_iter().map(channel).collect::<Option<_>>()?,
            handled: Vec::new(),
        })
    }

    pub(super) fn into_handled(self) -> Option<HandledMessage> {
        let Record::Handled(record) = self else { return None };
        HandledMessage::from_record(&record, usize::MAX)
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
