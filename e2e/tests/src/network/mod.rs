//! Ways from one process to another that can be cut without a word.

mod namespace;
mod proxy;

pub use namespace::Namespace;
pub use proxy::Proxy;

/// The direction in which bytes or packets are lost. The loss is silent: no connection is closed by it, none refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// Everything on the way there.
    There,
    /// Everything on the way back.
    Back,
    /// Everything, both ways.
    Both,
}

impl Cut {
    pub(crate) fn is_there(self) -> bool {
        self != Cut::Back
    }

    pub(crate) fn is_back(self) -> bool {
        self != Cut::There
    }
}
