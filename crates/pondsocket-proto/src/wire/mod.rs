//! The messages between client and server, as text (docs/protocol.md, Envelope). Messages of clients are parsed into
//! types at once; messages of the server can only be built in the form that every client accepts.

pub mod client;
mod client_text;
pub(crate) mod fields;
mod json;
mod resume;
mod salvage;
pub(crate) mod scan;
pub mod server;
pub mod strict;
mod vet;
pub(crate) mod write;

pub use client_text::ClientText;
pub use json::{EncodeError, Json, Object, encode_object};
pub use resume::{InvalidResume, Resume, take_resume};
pub(crate) use scan::vet;
pub use server::{Action, PresenceKind};
pub use vet::Unsafe;

/// The channel name of messages that concern the connection and no channel.
pub const GATEWAY: &str = "GATEWAY";
