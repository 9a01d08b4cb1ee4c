//! The types that [`channel`](crate::channel) and [`cluster`](crate::cluster) share: members, changes of them, and
//! messages for them. They are below both modules, so that neither of these imports the other.

mod assigns;
mod member;
mod message;

pub use assigns::Assigns;
pub use member::{MemberChange, RemoteChange, RemoteMember};
pub use message::{Target, UserMessage, UserMessageRef};
