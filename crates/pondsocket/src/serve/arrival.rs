use std::sync::Arc;

use super::listener::{Peer, Settings};
use super::pending::Place;

/// A socket that has been accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) peer: Peer,
    pub(super) settings: Arc<Settings>,
    pub(super) place: Place,
    /// The client has proved who it is with a certificate.
    pub(super) has_certificate: bool,
}
