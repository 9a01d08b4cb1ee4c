//! The start of the delivery of changes.
//!
//! A connection's task handles everything that it has decoded from one read before it flushes the channels that were changed,
//! so that a channel is delivered once for all of it. It keeps the list of these channels ([`ChangedChannels`]). Its own
//! changes, joins and leaves, go into the list directly. A handler has no access to the list: its message has a
//! [`FlushScope`], which is open while the connection's task polls the handler, and shows the task afterwards whether the
//! message's channel is to go into the list. All other changes start the delivery themselves ([`AtOnce`]), and so do those of
//! a handler that has given its context to another task, when the scope is closed.

use std::sync::Arc;
use std::task::Context;

use super::{LiveChannel, QueueState, Rules};
use crate::engine::sync::{AtomicU8, Ordering};

/// Starts the delivery of changes, now or later.
pub(crate) trait Flusher<L: Rules> {
    /// Notes a change after which the channel has work or a crowded queue. Called without the channel's lock.
    fn changed(self, channel: &Arc<LiveChannel<L>>, state: QueueState);
}

/// Starts the delivery at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtOnce;

impl<L: Rules> Flusher<L> for AtOnce {
    fn changed(self, channel: &Arc<LiveChannel<L>>, state: QueueState) {
        if state.has_work {
            channel.flush();
        }
    }
}

/// The channels that a connection's task has changed. The task flushes them at the end of a read, and does not read on while
/// one of them is crowded.
#[derive(Debug)]
pub(crate) struct ChangedChannels<L: Rules>(ChannelList<L>);

/// A list of channels. Nearly always there is none or one, which takes no memory of its own. `is_crowded` is true if the queue
/// of one of them is over its soft limit.
#[derive(Debug)]
enum ChannelList<L: Rules> {
    None,
    One {
        channel: Arc<LiveChannel<L>>,
        is_crowded: bool,
    },
    Many {
        #[expect(clippy::box_collection, reason = "8 bytes of each idle connection in place of 24")]
        channels: Box<Vec<Arc<LiveChannel<L>>>>,
        is_crowded: bool,
    },
}

impl<L: Rules> Default for ChangedChannels<L> {
    fn default() -> Self {
        ChangedChannels(ChannelList::None)
    }
}

impl<L: Rules> ChannelList<L> {
    fn is_crowded(&self) -> bool {
        match self {
            ChannelList::None => false,
            ChannelList::One { is_crowded, .. } | ChannelList::Many { is_crowded, .. } => *is_crowded,
        }
    }

    fn as_slice(&self) -> &[Arc<LiveChannel<L>>] {
        match self {
            ChannelList::None => &[],
            ChannelList::One { channel, .. } => std::slice::from_ref(channel),
            ChannelList::Many { channels, .. } => channels,
        }
    }

    /// Keeps the channels for which `is_full` is true, all of which are crowded.
    fn retain(&mut self, mut is_full: impl FnMut(&Arc<LiveChannel<L>>) -> bool) {
        let keeps = match self {
            ChannelList::None => false,
            ChannelList::One { channel, is_crowded } => {
                *is_crowded = true;
                is_full(channel)
            }
            ChannelList::Many { channels, is_crowded } => {
                *is_crowded = true;
                channels.retain(is_full);
                !channels.is_empty()
            }
        };
        if !keeps {
            // An idle connection holds no buffer.
            *self = ChannelList::None;
        }
    }

    fn push(&mut self, channel: &Arc<LiveChannel<L>>) {
        let new = Arc::clone(channel);
        match self {
            ChannelList::None => *self = ChannelList::One { channel: new, is_crowded: false },
            ChannelList::One { channel: first, is_crowded } => {
                *self = ChannelList::Many { channels: Box::new(vec![Arc::clone(first), new]), is_crowded: *is_crowded };
            }
            ChannelList::Many { channels, .. } => channels.push(new),
        }
    }

    fn note_crowd(&mut self) {
        if let ChannelList::One { is_crowded, .. } | ChannelList::Many { is_crowded, .. } = self {
            *is_crowded = true;
        }
    }
}

impl<L: Rules> ChangedChannels<L> {
    /// Returns whether the connection should not be read because of a crowded channel.
    pub(crate) fn is_crowded(&self) -> bool {
        self.0.is_crowded()
    }

    /// Opens the scope of a message in `channel` until the guard is dropped. Changes of its handler there until then put the
    /// channel into the list.
    pub(crate) fn enter<'a>(
        &'a mut self,
        channel: &'a Arc<LiveChannel<L>>,
        scope: &'a FlushScope,
    ) -> EnteredScope<'a, L> {
        scope.open();
        EnteredScope { changed: self, channel, scope }
    }

    /// Flushes all channels, and keeps the crowded ones. The task is woken when one of these has room.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) {
        self.0.as_slice().iter().for_each(LiveChannel::flush);
        self.0.retain(|channel| channel.poll_room(cx).is_pending());
    }

    fn note(&mut self, channel: &Arc<LiveChannel<L>>, is_crowded: bool) {
        // Compared with the last one only: requests in one channel tend to follow each other, and a second flush is cheap.
        if !self.0.as_slice().last().is_some_and(|last| Arc::ptr_eq(last, channel)) {
            self.0.push(channel);
        }
        if is_crowded {
            self.0.note_crowd();
        }
    }
}

impl<L: Rules> Flusher<L> for &mut ChangedChannels<L> {
    fn changed(self, channel: &Arc<LiveChannel<L>>, state: QueueState) {
        self.note(channel, state.is_crowded);
    }
}

impl<L: Rules> Drop for ChangedChannels<L> {
    /// Flushes all channels, also if the task ends in the midst of its work, by a panic or the end of the runtime.
    fn drop(&mut self) {
        self.0.as_slice().iter().for_each(LiveChannel::flush);
    }
}

/// The guard of an open scope: the connection's task polls a handler, and flushes the channel of its message afterwards.
#[must_use = "the scope is closed when this is dropped"]
pub(crate) struct EnteredScope<'a, L: Rules> {
    changed: &'a mut ChangedChannels<L>,
    channel: &'a Arc<LiveChannel<L>>,
    scope: &'a FlushScope,
}

impl<L: Rules> Drop for EnteredScope<'_, L> {
    fn drop(&mut self) {
        if let Some(is_crowded) = self.scope.close() {
            self.changed.note(self.channel, is_crowded);
        }
    }
}

/// The scope in which the changes of one message's handler in the message's channel are flushed by the connection's task. Others
/// may use it at any time, from any thread.
///
/// ```text
///  closed --(the task polls the handler)--> open --(a change)--> open, changed
///    ^                                       |                        |
///    '--------------(the poll ends)----------'------------------------'  changed: the task flushes the channel
/// ```
#[derive(Debug, Default)]
pub(crate) struct FlushScope(AtomicU8);

const OPEN: u8 = 1;
const CHANGED: u8 = 2;
const CROWDED: u8 = 4;

impl FlushScope {
    fn open(&self) {
        // A change that came while the scope was closed has flushed the channel itself.
        self.0.store(OPEN, Ordering::Relaxed);
    }

    /// Notes a change. Returns `false` if the scope is closed: the connection's task does not know of it.
    fn note(&self, is_crowded: bool) -> bool {
        let noted = if is_crowded { CHANGED | CROWDED } else { CHANGED };
        // One atomic read-modify-write: either it precedes that of `close`, which then sees the change, or it sees that the
        // scope is closed. Release, because the change was queued before it and is flushed after `close`.
        self.0.fetch_or(noted, Ordering::Release) & OPEN != 0
    }

    /// Closes the scope. Returns whether the channel was crowded; `None` if it was not changed.
    fn close(&self) -> Option<bool> {
        let noted = self.0.swap(0, Ordering::Acquire);
        (noted & CHANGED != 0).then_some(noted & CROWDED != 0)
    }
}

/// `None` stands for a change that belongs to no scope.
impl<L: Rules> Flusher<L> for Option<&FlushScope> {
    fn changed(self, channel: &Arc<LiveChannel<L>>, state: QueueState) {
        if !self.is_some_and(|scope| scope.note(state.is_crowded)) {
            AtOnce.changed(channel, state);
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_open_scope_keeps_changes_for_its_task_and_a_closed_one_refuses_them() {
        let scope = FlushScope::default();
        assert!(!scope.note(false), "no task polls the handler");
        scope.open();
        assert_eq!(scope.close(), None, "what was refused before is not kept");
        scope.open();
        assert!(scope.note(false) && scope.note(true) && scope.note(false));
        assert_eq!(scope.close(), Some(true));
        assert!(!scope.note(true));
        scope.open();
        assert!(scope.note(false));
        assert_eq!(scope.close(), Some(false));
    }
}
