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
    /// Messages that had come before, which are no fault if the client [may get them again](Self::allow_repeats).
    pub(crate) repeated: u64,
    may_repeat: bool,
}

impl Deliveries {
    /// The number of messages received of a publisher, if all arrived in order.
    pub(crate) fn of(&self, publisher: usize) -> u64 {
        self.next.iter().find(|(of, _)| *of == publisher).map_or(0, |(_, next)| *next)
    }

    /// From now on messages that have come before are counted apart: the client resumes, and nobody knows its last message.
    pub(crate) fn allow_repeats(&mut self) {
        self.may_repeat = true;
    }

    /// Records the n-th message of a publisher.
    pub(crate) fn note(&mut self, publisher: usize, n: u64) {
        let known = self.next.iter().position(|(of, _)| *of == publisher);
        let at = known.unwrap_or_else(|| {
            self.next.push((publisher, 0));
            self.next.len() - 1
        });
        let next = &mut self.next[at].1;
        if self.may_repeat && n < *next {
            self.repeated += 1;
            return;
        }
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
    fn repeats_of_a_client_that_resumes_by_a_session_are_no_fault() {
        let mut deliveries = Deliveries::default();
        (0..4).for_each(|n| deliveries.note(0, n));
        deliveries.allow_repeats();
        (2..6).for_each(|n| deliveries.note(0, n));
        assert_eq!((deliveries.received, deliveries.repeated, deliveries.out_of_order), (6, 2, 0));
        deliveries.note(0, 8);
        assert_eq!(deliveries.out_of_order, 1, "a hole is a fault");
    }

    #[test]
    fn a_hole_an_inversion_and_a_repetition_are_reported() {
        assert_eq!(out_of_order(&[(0, 0), (0, 2)]), 1);
        assert_eq!(out_of_order(&[(0, 0), (0, 2), (0, 1), (0, 3)]), 3);
        assert_eq!(out_of_order(&[(0, 0), (0, 0)]), 1);
    }
}
