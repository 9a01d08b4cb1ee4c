//! Connections over event streams (docs/protocol.md, Event streams): the answer to one request goes on for as long as the
//! connection does, and what the client says comes in others.
//!
//! ```text
//!  GET     -> admit -> open: the connection's task, and a body that takes what its outbox holds
//!  POST    -> requests ----> posts, read by the task
//!  DELETE  -> requests ----> the same, as the body's end does
//! ```

mod open;
mod requests;
mod transport;

pub(crate) use open::{open, wants_event_stream};
pub(crate) use requests::{answer, is_for_event_stream, refuse_method};
pub(crate) use transport::EventBody;
