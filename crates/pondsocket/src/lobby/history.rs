use std::time::Duration;

use pondsocket_proto::channel::{HistoryRules, ResumeRules, Unproven};
use pondsocket_proto::pattern::Pattern;

use crate::error::{Error, Result};
use crate::pond::registration::parse;

/// The history of the channels of a lobby: their last broadcasts are kept, so that clients that were away get exactly the
/// messages that they missed. See [`Lobby::history`](crate::Lobby::history).
///
/// Kept are broadcasts to all members, and to all but one user or connection. Not kept are messages to some users,
/// replies, errors and presence, and the events that are [left out](Self::without).
///
/// ```
/// # use std::time::Duration;
/// # use pondsocket::{ConnectionContext, Error, History, JoinContext, Joined, PondSocket, Result};
/// # let pond = PondSocket::new();
/// # let socket = pond.create_endpoint("/socket", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
/// let chat = socket.create_channel("/chat/:room", join);
/// chat.history(History::new().messages(500).ttl(Duration::from_secs(600)).without(["typing"]));
///
/// async fn join(ctx: JoinContext) -> Result<Joined> {
///     // New members get the last 50 messages. A client that was away gets all that it missed.
///     Ok(ctx.accept().replay_last(50))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct History {
    rules: HistoryRules,
    /// Patterns of events that are not kept.
    without: Vec<String>,
    pub(super) resuming: ResumeRules,
}

/// The longest time for which messages are kept.
const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl History {
    /// A history with the defaults.
    pub fn new() -> History {
        let rules = HistoryRules {
            messages: 256,
            bytes: 256 * 1024,
            ttl: 120_000,
            replay_messages: 1000,
            replay_bytes: 1024 * 1024,
            stamp: None,
            replies_overtake: false,
        };
        History { rules, without: Vec::new(), resuming: ResumeRules::default() }
    }

    /// The most messages that are kept in each channel. Default 256.
    #[must_use]
    pub fn messages(mut self, messages: usize) -> History {
        self.rules.messages = messages;
        self
    }

    /// The most bytes of messages, with their envelopes, that are kept in each channel. A larger message has a position, but
    /// is not kept. Default 256 KiB.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> History {
        self.rules.bytes = bytes;
        self
    }

    /// The time for which a message is kept. So long after its last message a channel without members ends, and its history
    /// with it. Default 2 minutes.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> History {
        self.rules.ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The most messages, and the most bytes of them, that one join replays. A client that missed more has a gap
    /// ([`GapReason::TooMany`](crate::GapReason)). What follows a snapshot ([`Joined::replay_from`](crate::Joined::replay_from)) is not
    /// limited by this. Default 1000 messages and 1 MiB.
    #[must_use]
    pub fn replay_at_most(mut self, messages: usize, bytes: usize) -> History {
        (self.rules.replay_messages, self.rules.replay_bytes) = (messages, bytes);
        self
    }

    /// A key under which the payload of each kept message carries its position, behind the other entries: for clients whose
    /// applications do not see request ids. An application must not use the key itself, also not in messages that are not
    /// kept and pass on what a client has sent. Default none.
    #[must_use]
    pub fn stamp(mut self, key: &str) -> History {
        self.rules.stamp = Some(key.into());
        self
    }

    /// Lets replies overtake messages that wait for their positions. On nodes that share histories, a message that a handler broadcasts
    /// is sent when the store has given it a position, and by default the reply waits behind it: for a round trip, or up to two
    /// seconds while the store does not answer. With this a reply is sent at once, and may arrive ahead of messages that were broadcast
    /// before it. Replies keep their order among each other. Without a store it changes nothing.
    #[must_use]
    pub fn replies_overtake(mut self) -> History {
        self.rules.replies_overtake = true;
        self
    }

    /// Events that are not kept, by their patterns: typing, cursors, and all else that is outdated soon. Default none.
    #[must_use]
    pub fn without(mut self, events: impl IntoIterator<Item = impl AsRef<str>>) -> History {
        self.without.extend(events.into_iter().map(|event| event.as_ref().to_owned()));
        self
    }

    /// The treatment of messages that were sent to a client of a [session](crate::Connected::session) and may have arrived: those
    /// behind the last answered ping, or on an event stream. Default [`Unproven::Repeat`]. It does not concern clients that bring
    /// their position.
    #[must_use]
    pub fn unproven(mut self, unproven: Unproven) -> History {
        self.resuming.unproven = unproven;
        self
    }

    /// Lets clients resume only what their [session](crate::Connected::session) has missed: a position that a client brings
    /// counts only between what its session is known to have received and what it was sent. Otherwise a member can ask for any
    /// message that is kept, also from before its first join. A client without a session has a gap
    /// ([`GapReason::Unproven`](crate::GapReason)).
    #[must_use]
    pub fn own_past_only(mut self) -> History {
        self.resuming.own_past_only = true;
        self
    }

    /// The checked rules, and the patterns of the events that are not kept.
    pub(super) fn check(self) -> Result<(HistoryRules, Vec<Pattern>)> {
        let HistoryRules { messages, bytes, ttl, replay_messages, replay_bytes, .. } = self.rules;
        let limits = [messages, bytes, replay_messages, replay_bytes];
        if limits.contains(&0) || ttl == 0 {
            return Err(Error::bad_request("the limits of a history must not be zero"));
        }
        if u128::from(ttl) > MAX_TTL.as_millis() {
            return Err(Error::bad_request("the ttl of a history must not be longer than a year"));
        }
        // A batch has offsets of 32 bits.
        if bytes > 1 << 30 {
            return Err(Error::bad_request("the bytes of a history must not be more than 1 GiB"));
        }
        let without = self.without.iter().map(|event| parse(event)).collect::<Result<_, _>>()?;
        Ok((self.rules, without))
    }
}

impl Default for History {
    fn default() -> History {
        History::new()
    }
}
