//! Connections over event streams (docs/protocol.md, Event streams): the answer to one request goes on for as long as the
//! connection does, and what the client says comes in others.
//!
//! ```text
//!  GET     -> admit -> open: the connection's task, and a body that takes what its outbox holds
//!  POST    -> requests ----> posts, read by the task
//!  DELETE  -> requests ----> the same, as the body's end does
//! ```

mod body;
mod headers;
mod open;
mod requests;
mod transport;

pub(crate) use body::EventBody;
pub(crate) use open::{are_wanted, open};
pub(crate) use requests::{answer, are_meant, refuse_method};
