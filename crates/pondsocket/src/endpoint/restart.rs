//! The histories and sessions of an endpoint beyond the life of its server.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::channel::{DeliveryPolicy, Ring};
use serde::Deserialize;

use super::inner::EndpointInner;
use crate::engine::history::ChannelHistory;
use crate::engine::history_file::{HistoryWriter, SavedChannel, SavedEndpoint};
use crate::engine::live::Rules;
use crate::lobby::LobbyInner;
use crate::pond::restart::{RestartedEndpoint, Restored};

/// The event of a message that is kept.
#[derive(Deserialize)]
struct KeptEvent<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
}

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
            if let Some(ring) = live.save() {
                out.channel(&SavedChannel {
                    name: live.name.clone(),
                    lobby: live.lobby.pattern.as_str().into(),
                    ring,
                })?;
            }
        }
        self.sessions.save().iter().try_for_each(|session| out.session(session))
    }

    fn restore(&self, saved: SavedEndpoint, ago: Duration) -> Restored {
        let SavedEndpoint { channels, sessions, .. } = saved;
        let mut restored = Restored { sessions: self.sessions.restore(sessions, ago), ..Restored::default() };
        for channel in channels {
            match self.restore_channel(channel, ago) {
                Some(messages) => {
                    restored.channels += 1;
                    restored.messages += messages;
                }
                None => restored.left_out += 1,
            }
        }
        restored
    }
}

impl EndpointInner {
    /// Opens a channel with the history of an earlier server. Returns the number of its messages; `None` if it does not go on.
    fn restore_channel(&self, SavedChannel { name, lobby, ring }: SavedChannel, ago: Duration) -> Option<usize> {
        // The same lobby as before, if its pattern still matches and it keeps a history.
        let lobbies = self.history_lobbies(name.as_str());
        let same = lobbies.iter().find(|known| known.pattern.as_str() == &*lobby);
        let lobby = same.or_else(|| lobbies.first())?;
        let rules = lobby.history()?;
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let mut messages = 0;
        let is_restored = self.hub.restore(&name, lobby, |now| {
            let ring = Ring::restore(rules, ring, now, ago, |text| policy(lobby, text))?;
            messages = ring.len();
            Some(ring)
        });
        is_restored.then_some(messages)
    }
}

/// The policy of a message by the handlers that there are now: those of the earlier server may have been others.
fn policy(lobby: &Arc<LobbyInner>, text: &str) -> DeliveryPolicy {
    match serde_json::from_str::<KeptEvent<'_>>(text) {
        Ok(KeptEvent { event }) => lobby.delivery_policy(&event),
        // Filtered, and by that blocked: a message that cannot be read is sent to nobody.
        Err(_) => DeliveryPolicy { filtered: true, ..DeliveryPolicy::BROADCAST },
    }
}
