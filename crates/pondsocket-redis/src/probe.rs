//! A check that messages still arrive. A connection can be open and healthy by every count, and deliver nothing.

use std::time::Duration;

use tokio::time::Instant;

/// Watches one session. Any message that arrives proves that it works. After a silence the bus publishes a message to
/// itself on the path of all others, and if that does not arrive either, the session is over.
#[derive(Debug)]
pub(crate) struct Probe {
    patience: Duration,
    heard: Instant,
    sent: Option<Instant>,
}

/// The action that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    Nothing,
    /// Send something to ourselves.
    Send,
    /// Nothing arrives any more.
    Failed,
}

impl Probe {
    /// A silence of `patience` is probed, and once more as much is waited for an answer.
    pub(crate) fn new(patience: Duration, now: Instant) -> Probe {
        Probe { patience, heard: now, sent: None }
    }

    /// Something has arrived.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.sent = None;
    }

    /// To be asked at the [deadline](Self::deadline), or earlier. `Send` is answered once for each silence.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        // Whoever comes far too late was not running: the silence is ours, and what has arrived was not read yet.
        let late = now > self.deadline() + self.patience / 2;
        match self.sent.replace(now) {
            None => Due::Send,
            Some(_) if late => Due::Nothing,
            Some(_) => Due::Failed,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.sent.unwrap_or(self.heard) + self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn a_silence_is_probed_once_and_then_fatal() {
        let start = Instant::now();
        let mut probe = Probe::new(PATIENCE, start);
        assert_eq!(probe.due(start + PATIENCE / 2), Due::Nothing);
        assert_eq!(probe.due(start + PATIENCE), Due::Send);
        assert_eq!(probe.due(start + PATIENCE), Due::Nothing);
        assert_eq!(probe.due(start + PATIENCE * 2), Due::Failed);
    }

    #[test]
    fn a_node_that_was_frozen_itself_waits_once_more() {
        let start = Instant::now();
        let mut probe = Probe::new(PATIENCE, start);
        assert_eq!(probe.due(start + PATIENCE * 3), Due::Send);
        assert_eq!(probe.due(start + PATIENCE * 6), Due::Nothing);
        assert_eq!(probe.due(start + PATIENCE * 7), Due::Failed);
    }

    #[test]
    fn anything_that_is_heard_is_proof() {
        let start = Instant::now();
        let mut probe = Probe::new(PATIENCE, start);
        assert_eq!(probe.due(start + PATIENCE), Due::Send);
        probe.heard(start + PATIENCE + PATIENCE / 2);
        assert_eq!(probe.due(start + PATIENCE * 2), Due::Nothing);
        assert_eq!(probe.deadline(), start + PATIENCE * 2 + PATIENCE / 2);
    }
}
