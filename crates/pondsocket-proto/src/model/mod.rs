//! The vocabulary that [`channel`](crate::channel) and [`cluster`](crate::cluster) share: members, changes of them, and
//! messages for them. It lies below both, so that neither has to know the other.

mod assigns;
mod member;
mod message;

pub use assigns::Assigns;
pub use member::{MemberChange, RemoteChange, RemoteMember};
pub use message::{Target, UserMessage};
