//! A check that messages still arrive. A connection can be open and healthy by every count, and deliver nothing.

use std::time::Duration;

use tokio::time::Instant;

/// The check of one session. Any message that arrives proves that the session works. After a silence the bus publishes
/// a message to itself, on the path of all others. If it does not arrive, the session has failed.
#[derive(Debug)]
pub(crate) struct Probe {
    interval: Duration,
    /// The time of the last message.
    heard: Instant,
    /// The time at which the bus published its own message, if it did since the last message.
    sent: Option<Instant>,
}

/// The action that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    Nothing,
    /// Publish a message to the bus itself.
    Send,
    /// The message did not arrive.
    Failed,
}

impl Probe {
    /// Creates a probe that acts after a silence of `interval`, and waits as long for its message.
    pub(crate) fn new(interval: Duration, now: Instant) -> Probe {
        Probe { interval, heard: now, sent: None }
    }

    /// Notes a message that has arrived.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.sent = None;
    }

    /// Returns the action that is due. It may be called at the [deadline](Self::deadline) or earlier, and returns
    /// `Send` once for each silence.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        // A call that is far too late means that this task did not run. Messages may have arrived that it has not read,
        // so the probe waits once more.
        let late = now > self.deadline() + self.interval / 2;
        match self.sent.replace(now) {
            None => Due::Send,
            Some(_) if late => Due::Nothing,
            Some(_) => Due::Failed,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.sent.unwrap_or(self.heard) + self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn a_silence_is_probed_once_and_then_ends_the_session() {
        let start = Instant::now();
        let mut probe = Probe::new(INTERVAL, start);
        assert_eq!(probe.due(start + INTERVAL / 2), Due::Nothing);
        assert_eq!(probe.due(start + INTERVAL), Due::Send);
        assert_eq!(probe.due(start + INTERVAL), Due::Nothing);
        assert_eq!(probe.due(start + INTERVAL * 2), Due::Failed);
    }

    #[test]
    fn a_node_that_was_frozen_itself_waits_once_more() {
        let start = Instant::now();
        let mut probe = Probe::new(INTERVAL, start);
        assert_eq!(probe.due(start + INTERVAL * 3), Due::Send);
        assert_eq!(probe.due(start + INTERVAL * 6), Due::Nothing);
        assert_eq!(probe.due(start + INTERVAL * 7), Due::Failed);
    }

    #[test]
    fn any_message_restarts_the_check() {
        let start = Instant::now();
        let mut probe = Probe::new(INTERVAL, start);
        assert_eq!(probe.due(start + INTERVAL), Due::Send);
        probe.heard(start + INTERVAL + INTERVAL / 2);
        assert_eq!(probe.due(start + INTERVAL * 2), Due::Nothing);
        assert_eq!(probe.deadline(), start + INTERVAL * 2 + INTERVAL / 2);
    }
}
