use super::{Input, Output, Settings};

/// One node of a cluster, without I/O.
///
/// Nothing happens by itself: whoever drives it calls [`handle`](Core::handle), one call at a time, and carries out what
/// it says in that order. There is no call to begin with: the first input, whatever it is, is answered by interest in
/// the topics that every node needs. Until [`Bus::Up`](super::Bus::Up) it publishes nothing.
#[derive(Debug)]
pub struct Core {}

impl Core {
    /// A node that knows nobody. `seed` draws jitter and message ids, so it differs between nodes.
    pub fn new(_settings: Settings, _seed: u64) -> Core {
        Core {}
    }

    /// Takes one input; appends what is to be done to `out`. `now` is in milliseconds since 1970; if it goes back, it
    /// counts as not having moved.
    ///
    /// [`Output::View`] comes upon [`Input::Tick`] only, so [`Input::Opened`], [`Input::Local`] and [`Input::Closed`] may
    /// be given under a channel's lock. Each of these three is one call per channel, in the order in which it happened
    /// there.
    pub fn handle(&mut self, _input: Input, _now: u64, _out: &mut Vec<Output>) {}

    /// When it wants an [`Input::Tick`], at the latest. It may be in the past: then at once.
    pub fn deadline(&self) -> Option<u64> {
        None
    }
}
