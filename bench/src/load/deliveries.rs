//! The record of a receiver, which detects messages that are lost, repeated or out of order.

/// The messages that one receiver has received, by publisher.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries {
    /// The publishers of the receiver's channel, which are few, each with the number of its next message.
    next: Vec<(usize, u64)>,
    /// Messages received.
    pub(crate) received: u64,
    /// Messages that did not follow their predecessor directly.
    pub(crate) out_of_order: u64,
}

impl Deliveries {
    /// The number of messages received of a publisher, if all arrived in order.
    pub(crate) fn of(&self, publisher: usize) -> u64 {
        self.next.iter().find(|(of, _)| *of == publisher).map_or(0, |(_, next)| *next)
    }

    /// Records the n-th message of a publisher.
    pub(crate) fn note(&mut self, publisher: usize, n: u64) {
        let known = self.next.iter().position(|(of, _)| *of == publisher);
        let at = known.unwrap_or_else(|| {
            self.next.push((publisher, 0));
            self.next.len() - 1
        });
        let next = &mut self.next[at].1;
        self.out_of_order += u64::from(*next != n);
        *next = n + 1;
        self.received += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out_of_order(messages: &[(usize, u64)]) -> u64 {
        let mut deliveries = Deliveries::default();
        messages.iter().for_each(|&(publisher, n)| deliveries.note(publisher, n));
        deliveries.out_of_order
    }

    #[test]
    fn publishers_may_interleave() {
        assert_eq!(out_of_order(&[(0, 0), (1, 0), (1, 1), (0, 1)]), 0);
    }

    #[test]
    fn a_hole_an_inversion_and_a_repetition_are_reported() {
        assert_eq!(out_of_order(&[(0, 0), (0, 2)]), 1);
        assert_eq!(out_of_order(&[(0, 0), (0, 2), (0, 1), (0, 3)]), 3);
        assert_eq!(out_of_order(&[(0, 0), (0, 0)]), 1);
    }
}
