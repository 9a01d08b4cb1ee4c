/// The policy for messages to a client that does not keep up. It never changes the order of those that arrive, and never
/// drops anything but broadcasts and outdated presence: acknowledgements, replies, errors and evictions stay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SlowClient {
    /// Nothing is dropped. A client that is over its bounds for too long, or far over them, is disconnected.
    #[default]
    Disconnect,
    /// The oldest broadcasts that wait make room for a new one.
    DropOldest,
    /// A new broadcast is dropped while the outbox is full.
    DropNewest,
}

/// The condition under which a message may be dropped for a client that does not keep up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropPolicy {
    /// Never.
    Never,
    /// Once a newer whole list of the same channel waits behind it: presence that carries the whole list.
    Outdated,
    /// Likewise: presence that carries no whole list, and so makes nothing else outdated.
    Partial,
    /// As this policy says, or, without one, as that of the receiving connection does.
    SlowClient(Option<SlowClient>),
}

/// The handling of a message on its way to its recipients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeliveryPolicy {
    /// The condition under which the message may be dropped.
    pub drop_policy: DropPolicy,
    /// `true` if an outgoing handler decides about the message for each recipient.
    pub filtered: bool,
}

impl DeliveryPolicy {
    /// Acknowledgements, errors and evictions: a client cannot do without them, so no outgoing handler decides about them.
    pub const CONTROL: DeliveryPolicy = DeliveryPolicy { drop_policy: DropPolicy::Never, filtered: false };
    /// Presence with the whole list.
    pub const PRESENCE: DeliveryPolicy = DeliveryPolicy { drop_policy: DropPolicy::Outdated, filtered: false };
    /// Presence without the whole list.
    pub const PARTIAL_PRESENCE: DeliveryPolicy = DeliveryPolicy { drop_policy: DropPolicy::Partial, filtered: false };
    /// A broadcast of an event without a policy of its own.
    pub const BROADCAST: DeliveryPolicy = DeliveryPolicy { drop_policy: DropPolicy::SlowClient(None), filtered: false };

    /// The same for a reply: it is never dropped.
    #[must_use]
    pub fn of_reply(self) -> DeliveryPolicy {
        DeliveryPolicy { drop_policy: DropPolicy::Never, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_never_dropped_and_stays_as_filtered_as_its_event() {
        for filtered in [false, true] {
            let policy = DeliveryPolicy { drop_policy: DropPolicy::SlowClient(Some(SlowClient::DropOldest)), filtered };
            assert_eq!(policy.of_reply(), DeliveryPolicy { drop_policy: DropPolicy::Never, filtered });
        }
    }
}
