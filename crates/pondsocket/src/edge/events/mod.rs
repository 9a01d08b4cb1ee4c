//! Connections over event streams (docs/protocol.md, Event streams): the response to one request carries all messages of the
//! server, and each message of the client is a request of its own.
//!
//! ```text
//!  GET     -> admit -> open: the connection's task, and a body that takes frames from its outbox
//!  POST    -> requests ----> posts, read by the task
//!  DELETE  -> requests ----> the same, as the body's end does
//! ```

mod open;
mod requests;
mod transport;

pub(crate) use open::{last_event, open, wants_event_stream};
pub(crate) use requests::{answer, is_for_event_stream, refuse_method};
pub(crate) use transport::EventBody;
