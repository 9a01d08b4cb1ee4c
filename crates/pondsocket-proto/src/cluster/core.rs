use super::{Input, NodeId, Output, Topics};

/// How a node's core behaves. All times are in milliseconds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Who it is.
    pub node: NodeId,
    /// Where it talks.
    pub topics: Topics,
}

/// One node of a cluster, without I/O.
#[derive(Debug)]
pub struct Core {}

impl Core {
    /// A node that knows nobody. `seed` draws jitter and message ids.
    pub fn new(_settings: Settings, _seed: u64) -> Core {
        Core {}
    }

    /// Takes one input; appends what is to be done to `out`. `now` is in milliseconds since 1970 and never goes back.
    pub fn handle(&mut self, _input: Input, _now: u64, _out: &mut Vec<Output>) {}

    /// When it wants an [`Input::Tick`] at the latest.
    pub fn deadline(&self) -> Option<u64> {
        None
    }
}
