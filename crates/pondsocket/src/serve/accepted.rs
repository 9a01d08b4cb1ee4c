use std::sync::Arc;

use super::listener::{ListenerSettings, Peer};
use super::pending::PendingPermit;

/// A socket that has been accepted.
#[derive(Debug)]
pub(super) struct AcceptedSocket {
    pub(super) peer: Peer,
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) permit: PendingPermit,
    /// The client has proved who it is with a certificate.
    pub(super) has_certificate: bool,
}
