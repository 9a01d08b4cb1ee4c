use std::ops::Range;

use super::Ring;

/// The texts of all replays of one batch, each once, however many connections get it.
#[derive(Debug)]
pub(in crate::channel) struct Replays {
    /// The offsets of the messages, sorted.
    offsets: Vec<u64>,
    /// The texts, one behind the other.
    text: Vec<u8>,
    /// The end of each text.
    ends: Vec<u32>,
}

impl Replays {
    /// Copies the messages of these offsets, which the ring still has.
    pub(in crate::channel) fn new(ring: &Ring, mut wanted: Vec<Range<u64>>) -> Replays {
        wanted.sort_unstable_by_key(|range| range.start);
        let mut replays = Replays { offsets: Vec::new(), text: Vec::new(), ends: Vec::new() };
        let mut next = 0;
        for Range { start, end } in wanted {
            // Ranges overlap: connections that were away at the same time missed the same messages.
            let from = start.max(next);
            if from >= end {
                continue;
            }
            for (offset, entry) in ring.after(from - 1).take_while(|(offset, _)| *offset < end) {
                ring.write(entry, &mut replays.text);
                replays.offsets.push(offset);
                replays.ends.push(u32::try_from(replays.text.len()).expect("a history is bounded below 4 GiB"));
            }
            next = end;
        }
        replays
    }

    /// The numbers of the messages of a range of offsets.
    pub(in crate::channel) fn range(&self, offsets: &Range<u64>) -> Range<u32> {
        let at = |offset| self.offsets.partition_point(|kept| *kept < offset) as u32;
        at(offsets.start)..at(offsets.end)
    }

    /// The texts in order.
    pub(in crate::channel) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start as usize..*end as usize])
    }

    /// The size of the texts, in bytes.
    pub(in crate::channel) fn bytes(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::HistoryRules;
    use super::*;
    use crate::channel::DeliveryPolicy;
    use crate::position::Epoch;

    #[test]
    fn overlapping_ranges_share_their_texts() {
        let mut ring = Ring::new(Arc::new(HistoryRules::of(9, 99)), Epoch::new(1));
        for text in ["", "a", "b", "c", "d", "e", "f"] {
            ring.append(text.as_bytes(), DeliveryPolicy::BROADCAST, None, 0);
        }
        let replays = Replays::new(&ring, vec![3..5, 2..4, 3..4, 6..7, 2..2]);
        let texts: Vec<_> = replays.texts().map(|text| str::from_utf8(text).expect("text")).collect();
        assert_eq!((texts, replays.bytes()), (vec!["a", "b", "c", "e"], 4));
        assert_eq!([2..5, 3..5, 6..7, 2..2].map(|offsets| replays.range(&offsets)), [0..3, 1..3, 3..4, 0..0]);
    }
}
