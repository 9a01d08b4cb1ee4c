//! What nodes of other languages say, and what they are told (docs/cluster.md, Nodes of other languages).

use super::core::Core;
use super::message::{Body, Envelope};
use super::timers::Timer;
use super::{ChannelKey, hear};

impl Core {
    pub(super) fn scan_legacy(&mut self) {
        self.timers.set(Timer::LegacyScan, self.now() + self.settings.legacy_scan);
    }
    pub(super) fn announce_all(&mut self) {}
    pub(super) fn announce(&mut self, _key: &ChannelKey) {}
    pub(super) fn receive_legacy(&mut self, message: Envelope) {
        let _ = hear::user_id("");
        let _ = message;
        let _ = Body::UserLeft { user: "".into() };
    }
}
