/// The policy for messages to a client that does not keep up. It never changes the order of the messages that arrive,
/// and drops nothing but broadcasts and outdated presence: acknowledgements, replies, errors and evictions are always
/// delivered. A message that the history of its channel keeps is not lost: it is sent later, from the history and in its place, or
/// the client is told of a gap (docs/protocol.md, Gaps).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SlowClient {
    /// Nothing is dropped. A client that is over its bounds for too long, or far over them, is disconnected.
    #[default]
    Disconnect,
    /// The oldest broadcasts that wait make room for a new one. Those that are kept are sent later.
    DropOldest,
    /// A new broadcast is dropped while the outbox is full. One that is kept is sent later.
    DropNewest,
}

/// The condition under which a message may be dropped for a client that does not keep up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropPolicy {
    /// Never.
    Never,
    /// Once a newer whole list of the same channel waits behind it: presence that carries the whole list.
    Outdated,
    /// Under the same condition, for presence that does not carry the whole list, and so makes no other message
    /// outdated.
    Partial,
    /// By this policy or, without one, by that of the receiving connection.
    SlowClient(Option<SlowClient>),
}

/// The handling of a message on its way to its recipients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeliveryPolicy {
    /// The condition under which the message may be dropped.
    pub drop_policy: DropPolicy,
    /// `true` if an outgoing handler decides about the message for each recipient.
    pub filtered: bool,
    /// `true` if a channel that keeps a history keeps the message, where it goes to all members, or to all but its sender.
    pub kept: bool,
}

impl DeliveryPolicy {
    /// Acknowledgements, errors and evictions. Clients wait for them, so they are never dropped, and no outgoing
    /// handler decides about them.
    pub const CONTROL: DeliveryPolicy = DeliveryPolicy { drop_policy: DropPolicy::Never, filtered: false, kept: false };
    /// Presence with the whole list.
    pub const PRESENCE: DeliveryPolicy =
        DeliveryPolicy { drop_policy: DropPolicy::Outdated, filtered: false, kept: false };
    /// Presence without the whole list.
    pub const PARTIAL_PRESENCE: DeliveryPolicy =
        DeliveryPolicy { drop_policy: DropPolicy::Partial, filtered: false, kept: false };
    /// A broadcast of an event without a policy of its own.
    pub const BROADCAST: DeliveryPolicy =
        DeliveryPolicy { drop_policy: DropPolicy::SlowClient(None), filtered: false, kept: true };

    /// The same policy for a reply, which is never dropped, because a client waits for it, and is not kept.
    #[must_use]
    pub fn of_reply(self) -> DeliveryPolicy {
        DeliveryPolicy { drop_policy: DropPolicy::Never, kept: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_never_dropped_and_stays_as_filtered_as_its_event() {
        for filtered in [false, true] {
            let drop_policy = DropPolicy::SlowClient(Some(SlowClient::DropOldest));
            let policy = DeliveryPolicy { drop_policy, filtered, kept: true };
            let of_reply = DeliveryPolicy { drop_policy: DropPolicy::Never, filtered, kept: false };
            assert_eq!(policy.of_reply(), of_reply);
        }
    }
}
