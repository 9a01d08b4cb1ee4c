//! Ways from one process to another that can be cut without a word.

mod namespace;
mod proxy;

pub use namespace::Namespace;
pub use proxy::Proxy;

/// What gets lost on a way. Nobody is told: no connection is closed by it, none refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// Whatever goes there.
    There,
    /// Whatever comes back.
    Back,
    /// All.
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
