use std::collections::BTreeMap;

/// Offsets behind which messages stay, each with the number of its users.
#[derive(Debug, Default)]
pub(super) struct Marks(BTreeMap<u64, u32>);

impl Marks {
    pub(super) fn add(&mut self, offset: u64) {
        *self.0.entry(offset).or_default() += 1;
    }

    pub(super) fn remove(&mut self, offset: u64) {
        if let Some(users) = self.0.get_mut(&offset) {
            *users -= 1;
            if *users == 0 {
                self.0.remove(&offset);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if the message at an offset stays.
    pub(super) fn keep(&self, offset: u64) -> bool {
        self.0.first_key_value().is_some_and(|(first, _)| *first < offset)
    }
}
