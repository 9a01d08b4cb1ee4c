//! Delivery of messages: the recipients, the order, and the backpressure. Of the application's code only metrics run here.

pub(crate) mod answers;
pub(crate) mod changes;
pub(crate) mod closing;
pub(crate) mod framing;
pub(crate) mod handle;
pub(crate) mod handled;
pub(crate) mod history;
pub(crate) mod history_file;
pub(crate) mod hub;
pub(crate) mod ids;
pub(crate) mod live;
pub(crate) mod outbox;
pub(crate) mod pace;
pub(crate) mod runtime;
pub(crate) mod session_key;
pub(crate) mod sessions;
pub(crate) mod shared_sessions;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod sync;
pub(crate) mod timer;
