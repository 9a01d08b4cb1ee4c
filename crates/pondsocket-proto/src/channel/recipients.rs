use super::Slot;

/// A recipient and the class of messages that it gets.
#[derive(Clone, Debug)]
pub struct Reception<R> {
    /// The recipient.
    pub to: R,
    /// `true` if it also gets presence.
    pub tracked: bool,
}

/// The recipients by slot, as of the last batch that was delivered. The task that delivers owns them and changes them
/// in the order of the queue, so that they are never copied and need no lock.
#[derive(Debug)]
pub struct Recipients<R> {
    by_slot: Vec<Option<Reception<R>>>,
}

impl<R> Default for Recipients<R> {
    fn default() -> Self {
        Recipients { by_slot: Vec::new() }
    }
}

impl<R> Recipients<R> {
    /// All recipients with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Reception<R>)> {
        (0..).zip(&self.by_slot).filter_map(|(slot, entry)| Some((Slot(slot), entry.as_ref()?)))
    }

    /// One past the highest slot in use, to walk the list by index between waits.
    pub fn end(&self) -> u32 {
        self.by_slot.len() as u32
    }

    /// The recipient in the n-th slot.
    pub fn at(&self, index: u32) -> Option<(Slot, &Reception<R>)> {
        Some((Slot(index), self.by_slot.get(index as usize)?.as_ref()?))
    }

    /// The recipient in this slot.
    pub fn get(&self, slot: Slot) -> Option<&Reception<R>> {
        self.by_slot.get(slot.index())?.as_ref()
    }

    pub(super) fn put(&mut self, slot: Slot, entry: Option<Reception<R>>) {
        // A connection that joined and left within one batch was never in the list, which need not grow for it.
        if slot.index() >= self.by_slot.len() {
            if entry.is_none() {
                return;
            }
            self.by_slot.resize_with(slot.index() + 1, || None);
        }
        self.by_slot[slot.index()] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_walked_by_index_over_vacant_slots() {
        let mut recipients = Recipients::default();
        assert_eq!(recipients.end(), 0);
        for (slot, to) in [(3, 'd'), (0, 'a'), (1, 'b')] {
            recipients.put(Slot(slot), Some(Reception { to, tracked: false }));
        }
        recipients.put(Slot(1), None);
        recipients.put(Slot(9), None);
        assert_eq!(recipients.end(), 4, "a slot that was never filled does not extend the list");
        let at = |index| recipients.at(index).map(|(slot, reception)| (slot.index(), reception.to));
        assert_eq!([0, 1, 2, 3, 4].map(at), [Some((0, 'a')), None, None, Some((3, 'd')), None]);
        let all: Vec<_> = recipients.iter().map(|(slot, reception)| (slot.index(), reception.to)).collect();
        assert_eq!(all, [(0, 'a'), (3, 'd')]);
    }
}
