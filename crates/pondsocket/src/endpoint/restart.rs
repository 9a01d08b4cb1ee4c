//! The histories, ghosts and sessions of an endpoint beyond the life of its server.

use std::io;
use std::time::Duration;

use pondsocket_proto::channel::Ring;

use super::inner::EndpointInner;
use crate::engine::history::ChannelHistory;
use crate::engine::history_file::{HistoryWriter, MAX_GHOST, SavedChannel, SavedEndpoint};
use crate::engine::live::{GraceEnd, Rules};
use crate::metrics::GraceEvent;
use crate::pond::restart::{RestartedEndpoint, Restored};

impl RestartedEndpoint for EndpointInner {
    fn path(&self) -> &str {
        self.pattern.as_str()
    }

    fn save(&self, out: &mut HistoryWriter<'_>) -> io::Result<()> {
        let mut channels = self.hub.channels();
        // The reader stops at its limit: then those that were used longest ago have no messages.
        channels.sort_by_cached_key(|channel| std::cmp::Reverse(channel.used_at()));
        for live in channels {
            // One at a time, so that the memory is that of one history.
            let (ring, ghosts) = live.save(MAX_GHOST);
            if ring.is_some() || !ghosts.is_empty() {
                let (name, lobby) = (live.name.clone(), live.lobby.pattern.as_str().into());
                out.channel(&SavedChannel { name, lobby, ring, ghosts })?;
            }
        }
        self.sessions.save(|session| out.session(session))
    }

    fn restore(&self, saved: SavedEndpoint, ago: Duration) -> Restored {
        let SavedEndpoint { channels, sessions, .. } = saved;
        let mut restored = Restored { sessions: self.sessions.restore(sessions, ago), ..Restored::default() };
        for channel in channels {
            self.restore_channel(channel, ago, &mut restored);
        }
        restored
    }

    fn end_ghosts(&self, are_saved: bool) {
        match are_saved {
            true => self.hub.hand_over_ghosts(),
            false => self.hub.end_ghosts(GraceEnd::Shutdown),
        }
    }
}

impl EndpointInner {
    /// Opens a channel with the history and the ghosts of an earlier server.
    fn restore_channel(&self, saved: SavedChannel, ago: Duration, restored: &mut Restored) {
        let SavedChannel { name, lobby, ring, ghosts } = saved;
        // The same lobby as before, if its pattern still matches. A history needs one that keeps it.
        let lobbies = self.lobbies_for(name.as_str());
        let is_of_use = |keeps_history: bool| keeps_history || !ghosts.is_empty();
        let same = lobbies.iter().find(|known| known.pattern.as_str() == &*lobby && is_of_use(known.keeps_history()));
        let other = || lobbies.iter().find(|known| known.keeps_history());
        let Some(lobby) = same.or_else(other).or_else(|| lobbies.first().filter(|_| is_of_use(false))) else {
            restored.left_out += usize::from(ring.is_some()) + ghosts.len();
            return;
        };
        let (has_ring, millis) = (ring.is_some(), u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
        let users: Vec<_> = ghosts.iter().map(|ghost| ghost.user.clone()).collect();
        let mut messages = None;
        let make = |now| {
            let (rules, ring) = (lobby.history()?, ring?);
            let ring = Ring::restore(rules, ring, now, millis, |text| lobby.policy_of(text.as_bytes()))?;
            messages = ring.is_needed().then(|| ring.len());
            messages.map(|_| ring)
        };
        let is_open = self.hub.restore(&name, lobby, make, (ghosts, millis));
        match messages.filter(|_| is_open) {
            Some(messages) => {
                restored.channels += 1;
                restored.messages += messages;
            }
            None => restored.left_out += usize::from(has_ring),
        }
        if is_open {
            restored.ghosts += users.len();
            users.iter().for_each(|user| self.note_grace(name.as_str(), user.as_str(), GraceEvent::Restored));
        }
    }
}
