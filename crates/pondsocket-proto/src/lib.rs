//! The PondSocket protocol without I/O: everything that needs neither a socket, a clock nor a task.

pub mod channel;
pub mod id;
pub mod pattern;
pub mod wire;
pub mod ws;
