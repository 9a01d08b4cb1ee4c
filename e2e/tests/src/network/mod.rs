//! Routes between two processes that can be cut without informing either.

mod namespace;
mod proxy;

pub use namespace::Namespace;
pub use proxy::Proxy;

/// The direction in which bytes or packets are lost. The loss is silent: no connection is closed by it, none refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// Everything from the client to the server.
    There,
    /// Everything from the server to the client.
    Back,
    /// Everything in both directions.
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
