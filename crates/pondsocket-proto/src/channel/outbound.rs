use super::{MemberChange, UserMessage};

/// Something that other nodes have to hear of a channel.
#[derive(Clone, Debug)]
pub enum Outbound {
    /// A change of its users here.
    Change(MemberChange),
    /// A message for its users elsewhere.
    Message(UserMessage),
}

/// What other nodes have to hear, in the order in which it happened; nothing is noted if there are none.
#[derive(Debug, Default)]
pub(super) struct Log(Option<Vec<Outbound>>);

impl Log {
    pub(super) fn open() -> Log {
        Log(Some(Vec::new()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn note(&mut self, entry: impl FnOnce() -> Outbound) {
        if let Some(entries) = &mut self.0 {
            entries.push(entry());
        }
    }

    pub(super) fn take(&mut self) -> Vec<Outbound> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
