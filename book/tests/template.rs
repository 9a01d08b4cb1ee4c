//! The tests of the template for an application, compiled in this workspace.

#[path = "../../templates/chat/src/chat.rs"]
mod chat;
