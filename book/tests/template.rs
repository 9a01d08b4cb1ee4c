//! The tests of the template, in this workspace: what it consists of is compiled here, as it stands there.

#[path = "../../templates/chat/src/chat.rs"]
mod chat;
