//! The recent evictions that were announced to members. A user that several nodes have is evicted by each of them, and
//! each announces it to the members of all nodes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use pondsocket_proto::cluster::message::UserMessageRef;
use pondsocket_proto::id::{ChannelName, UserId};
use serde::Deserialize;
use tokio::time::Instant;

use crate::engine::sync::Mutex;

/// The time in which a second announcement is dropped (docs/cluster.md, Operations).
const LATELY: Duration = Duration::from_secs(5);

/// The most evictions that are remembered. The oldest are forgotten first, so that many evictions take no more memory.
const MAX_REMEMBERED: usize = 1024;

/// The last evictions of an endpoint's channels.
#[derive(Debug, Default)]
pub(crate) struct Evictions(Mutex<VecDeque<Eviction>>);

#[derive(Debug)]
struct Eviction {
    announced: Instant,
    channel: ChannelName,
    user: String,
}

impl Evictions {
    /// Notes an eviction. Returns `false` if it was announced recently: members must not receive it again.
    pub(crate) fn note(&self, channel: &ChannelName, user: &str) -> bool {
        let (now, mut last) = (Instant::now(), self.0.lock());
        // The list is in the order of time, so expired entries are at its front. It is cleaned here and needs no timer.
        while last.front().is_some_and(|first| now >= first.announced + LATELY) {
            last.pop_front();
        }
        // A linear search: evictions are rare, and the list is bounded.
        if last.iter().any(|known| known.channel == *channel && known.user == user) {
            return false;
        }
        if last.len() >= MAX_REMEMBERED {
            last.pop_front();
        }
        last.push_back(Eviction { announced: now, channel: channel.clone(), user: user.to_owned() });
        true
    }
}

/// The user whose eviction a message of another node announces, if it announces one.
pub(crate) fn evicted_user(message: UserMessageRef<'_>) -> Option<UserId> {
    // The payload is parsed only for messages that can be notices, so that all others cost no more.
    let is_notice = message.event == "user_evicted" && message.from == "CHANNEL";
    let notice: Notice<'_> = is_notice.then(|| serde_json::from_str(message.payload).ok()).flatten()?;
    UserId::new(&notice.user_id).ok()
}

/// The part of the payload that is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notice<'a> {
    #[serde(borrow)]
    user_id: Cow<'a, str>,
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    fn name(channel: &str) -> ChannelName {
        ChannelName::new(channel, 100).expect("valid")
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_notice_is_dropped_for_five_seconds() {
        let evictions = Evictions::default();
        assert!(evictions.note(&name("/a"), "bob"));
        assert!(evictions.note(&name("/b"), "bob") && evictions.note(&name("/a"), "eve"), "these are others");
        tokio::time::advance(LATELY - Duration::from_millis(1)).await;
        assert!(!evictions.note(&name("/a"), "bob"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(evictions.note(&name("/a"), "bob"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_too_many_is_forgotten() {
        let evictions = Evictions::default();
        assert!((0..=MAX_REMEMBERED).all(|number| evictions.note(&name("/a"), &number.to_string())));
        assert!(!evictions.note(&name("/a"), "1"));
        assert!(evictions.note(&name("/a"), "0"));
    }
}
