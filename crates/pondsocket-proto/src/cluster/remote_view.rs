//! The users of other nodes as channels here show them (docs/cluster.md, One user on several nodes).

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::directory::Directory;
use super::io::Excess;
use super::timers::Timer;
use super::{ChannelKey, NodeOutput};
use crate::id::UserId;
use crate::model::{RemoteChange, RemoteMember};

/// The users of other nodes that each open channel shows.
#[derive(Debug, Default)]
pub(super) struct RemoteView {
    channels: BTreeMap<ChannelKey, Shown>,
}

#[derive(Debug)]
struct Shown {
    /// The life of the channel: another one has seen nothing yet.
    instance: u64,
    display: Display,
}

impl RemoteView {
    /// Shows everything again, to another life of a channel.
    pub(super) fn open(&mut self, cx: &mut Context, key: &ChannelKey, instance: u64) {
        self.channels.insert(key.clone(), Shown { instance, display: Display::of_new_life() });
        refresh_soon(cx, key);
    }

    pub(super) fn close(&mut self, key: &ChannelKey) {
        self.channels.remove(key);
    }

    /// Notes that these users have changed, if the channel is open.
    pub(super) fn touch(&mut self, cx: &mut Context, key: &ChannelKey, users: impl IntoIterator<Item = UserId>) {
        let Some(shown) = self.channels.get_mut(key) else { return };
        let mut users = users.into_iter().peekable();
        if users.peek().is_some() {
            shown.display.touch(users);
            refresh_soon(cx, key);
        }
    }

    /// Shows what has changed.
    pub(super) fn refresh(&mut self, cx: &mut Context, directory: &Directory<'_>, key: ChannelKey) {
        let Some(Shown { instance, display }) = self.channels.get_mut(&key) else { return };
        let look = |user: &UserId| directory.member(&key, user);
        let changes = display.refresh(|| directory.members(&key), look, cx.settings.max_shown);
        cx.limits.count(Excess::Shown, std::mem::take(&mut display.excess));
        if !changes.is_empty() {
            cx.output(NodeOutput::RemoteMembers { channel: key, instance: *instance, changes });
        }
    }
}

/// Changes that come within a short time are shown together: members are told of fewer.
fn refresh_soon(cx: &mut Context, key: &ChannelKey) {
    cx.timers.start(Timer::View(key.clone()), cx.now + cx.settings.coalesce);
}

/// The users shown in one life of a channel, and those that have to be looked at again.
#[derive(Debug, Default)]
pub(super) struct Display {
    shown: BTreeMap<UserId, RemoteMember>,
    stale: Stale,
    /// The size of all presence that is shown, in bytes.
    bytes: usize,
    /// The users whose presence is not shown because there is no room for it.
    held_back: BTreeSet<UserId>,
    /// The number of times that there was no room, since it was last taken.
    excess: u64,
}

#[derive(Debug, Default)]
enum Stale {
    #[default]
    Nothing,
    Users(BTreeSet<UserId>),
    All,
}

/// The size of the presence that is shown, in bytes.
fn size(shown: Option<&RemoteMember>) -> usize {
    shown.map_or(0, RemoteMember::presence_bytes)
}

impl Display {
    /// Notes users that have to be looked at again.
    fn touch(&mut self, users: impl IntoIterator<Item = UserId>) {
        match &mut self.stale {
            Stale::Nothing => self.stale = Stale::Users(users.into_iter().collect()),
            Stale::Users(stale) => stale.extend(users),
            Stale::All => {}
        }
    }

    /// Another life of a channel, in which nothing is shown yet.
    fn of_new_life() -> Display {
        Display { stale: Stale::All, ..Display::default() }
    }

    /// Looks again at the users that have changed, or at `all` of them, with `look` at each. No more than `most` bytes of
    /// presence are shown together. Returns the changes of what is shown.
    fn refresh(
        &mut self,
        all: impl FnOnce() -> BTreeSet<UserId>,
        look: impl Fn(&UserId) -> Option<RemoteMember>,
        most: usize,
    ) -> Vec<RemoteChange> {
        let users = match std::mem::take(&mut self.stale) {
            Stale::Nothing => BTreeSet::new(),
            Stale::Users(users) => users,
            Stale::All => all(),
        };
        let before = self.bytes;
        let mut changes: Vec<_> = users.into_iter().filter_map(|user| self.show(look(&user), user, most)).collect();
        if self.bytes < before && !self.held_back.is_empty() {
            for user in self.held_back.clone() {
                let shown = look(&user);
                if self.fits(&user, shown.as_ref(), most) {
                    changes.extend(self.show(shown, user, most));
                }
            }
        }
        changes
    }

    /// Returns whether there is room for the user's presence.
    fn fits(&self, user: &UserId, shown: Option<&RemoteMember>, most: usize) -> bool {
        let bytes = size(shown);
        bytes == 0 || self.bytes - size(self.shown.get(user)) + bytes <= most
    }

    fn show(&mut self, mut shown: Option<RemoteMember>, user: UserId, most: usize) -> Option<RemoteChange> {
        if self.fits(&user, shown.as_ref(), most) {
            self.held_back.remove(&user);
        } else {
            self.excess += u64::from(self.held_back.insert(user.clone()));
            shown.iter_mut().for_each(|shown| (shown.presence, shown.over_local) = (None, false));
        }
        self.bytes = self.bytes - size(self.shown.get(&user)) + size(shown.as_ref());
        match shown {
            None => self.shown.remove(&user).map(|_| RemoteChange::Gone(user)),
            Some(shown) if self.shown.get(&user) == Some(&shown) => None,
            Some(shown) => {
                self.shown.insert(user.clone(), shown.clone());
                Some(RemoteChange::Shown(user, shown))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replication::users::tests::user;
    use super::*;
    use crate::model::Assigns;

    fn look(names: &[&str]) -> impl Fn(&UserId) -> Option<RemoteMember> {
        let there: BTreeSet<_> = names.iter().map(|name| user(name)).collect();
        move |user| {
            let shown = RemoteMember { assigns: Assigns::default(), presence: None, over_local: false };
            there.contains(user).then_some(shown)
        }
    }

    fn all(names: &'static [&str]) -> impl FnOnce() -> BTreeSet<UserId> {
        || names.iter().map(|name| user(name)).collect()
    }

    fn text(views: Vec<RemoteChange>) -> String {
        let text = |view: RemoteChange| match view {
            RemoteChange::Shown(user, _) => format!("+{user}"),
            RemoteChange::Gone(user) => format!("-{user}"),
        };
        views.into_iter().map(text).collect()
    }

    #[test]
    fn only_what_was_touched_and_is_otherwise_changes() {
        let mut display = Display::default();
        assert_eq!(text(display.refresh(all(&["ada"]), look(&["ada"]), 99)), "");
        display.touch([user("ada"), user("bob")]);
        display.touch([user("eve")]);
        assert_eq!(text(display.refresh(all(&[]), look(&["ada", "eve"]), 99)), "+ada+eve");
        display.touch([user("ada"), user("eve")]);
        assert_eq!(text(display.refresh(all(&[]), look(&["eve"]), 99)), "-ada");
    }

    #[test]
    fn another_life_is_shown_everything_again() {
        let mut display = Display::of_new_life();
        assert_eq!(text(display.refresh(all(&["ada"]), look(&["ada"]), 99)), "+ada");
    }
}
