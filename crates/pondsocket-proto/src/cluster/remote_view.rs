//! The users of other nodes that channels here show (docs/cluster.md, One user on several nodes).
//!
//! Changes within a short time are shown together. In a channel that keeps the order of what each node sends, a message of another node
//! ends that time, so that the changes that its node has made before are shown ahead of it.
//!
//! When a node with many users dies, all its channels change at once. They are shown in portions, with pauses in which the messages of
//! others pass.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::context::Context;
use super::directory::Directory;
use super::io::Excess;
use super::timers::Timer;
use super::{ChannelKey, NodeOutput, Topic};
use crate::id::UserId;
use crate::model::{RemoteChange, RemoteMember};

/// The users after which the other channels that are due wait for the next portion. A channel is not divided: its members would get a
/// list for each part.
const PORTION: usize = 256;

/// The time from one portion to the next, in milliseconds.
const PAUSE: u64 = 4;

/// The users of other nodes that each open channel shows.
#[derive(Debug, Default)]
pub(super) struct RemoteView {
    channels: BTreeMap<ChannelKey, ShownUsers>,
    /// The topics of the channels in which changes are to be shown ahead of the next message.
    owed: BTreeSet<Topic>,
    /// The channels that are due, and wait for their portion.
    waiting: VecDeque<ChannelKey>,
    /// The time of the last portion, and the users that it has looked at.
    portion: (u64, usize),
}

#[derive(Debug)]
struct ShownUsers {
    /// The instance of the channel that has received the changes so far. Another instance starts without remote
    /// members.
    instance: u64,
    /// `true` if changes are shown in their order among messages.
    in_order: bool,
    display: Display,
}

impl RemoteView {
    /// Starts the view of a new instance of a channel, which is shown all users.
    pub(super) fn open(&mut self, cx: &mut Context, key: &ChannelKey, (instance, in_order): (u64, bool)) {
        self.channels.insert(key.clone(), ShownUsers { instance, in_order, display: Display::of_new_life() });
        self.refresh_soon(cx, key);
    }

    pub(super) fn close(&mut self, cx: &Context, key: &ChannelKey) {
        self.channels.remove(key);
        self.settle(cx, key);
    }

    /// Returns `true` if changes are to be shown ahead of a message on this topic.
    pub(super) fn owes(&self, topic: &Topic) -> bool {
        // The usual case costs one branch: this is asked for every message.
        !self.owed.is_empty() && self.owed.contains(topic)
    }

    /// Shows the changes of a channel, if they are to come ahead of a message that is about to be delivered.
    pub(super) fn show_first(&mut self, cx: &mut Context, directory: &Directory<'_>, key: &ChannelKey) {
        if !self.owed.is_empty() && self.owes(&cx.settings.topics.channel(key)) {
            cx.timers.stop(&Timer::View(key.clone()));
            self.refresh(cx, directory, key.clone());
        }
    }

    /// Schedules a refresh. Changes within a short time are shown together, so that a member receives one message for a
    /// user that changes several times.
    fn refresh_soon(&mut self, cx: &mut Context, key: &ChannelKey) {
        cx.timers.start(Timer::View(key.clone()), cx.now + cx.settings.coalesce);
        if self.channels.get(key).is_some_and(|shown| shown.in_order) {
            self.owed.insert(cx.settings.topics.channel(key));
        }
    }

    /// Notes that no changes are to be shown.
    fn settle(&mut self, cx: &Context, key: &ChannelKey) {
        if !self.owed.is_empty() {
            self.owed.remove(&cx.settings.topics.channel(key));
        }
    }

    /// Notes that these users have changed, if the channel is open.
    pub(super) fn touch(&mut self, cx: &mut Context, key: &ChannelKey, users: impl IntoIterator<Item = UserId>) {
        let Some(shown) = self.channels.get_mut(key) else { return };
        let mut users = users.into_iter().peekable();
        if users.peek().is_some() {
            shown.display.touch(users);
            self.refresh_soon(cx, key);
        }
    }

    /// Notes that all users of a node may have changed, because it has died.
    pub(super) fn touch_node(&mut self, cx: &mut Context, key: &ChannelKey, node: &Arc<str>) {
        let Some(shown) = self.channels.get_mut(key) else { return };
        shown.display.touch_node(node);
        self.refresh_soon(cx, key);
    }

    /// Shows a channel whose time has come, at once or with a later portion.
    pub(super) fn refresh_due(&mut self, cx: &mut Context, directory: &Directory<'_>, key: ChannelKey) {
        self.waiting.push_back(key);
        if !cx.timers.is_running(&Timer::Views) {
            self.refresh_waiting(cx, directory);
        }
    }

    /// Shows the next portion of the channels that wait.
    pub(super) fn refresh_waiting(&mut self, cx: &mut Context, directory: &Directory<'_>) {
        if self.portion.0 != cx.now {
            self.portion = (cx.now, 0);
        }
        while self.portion.1 < PORTION {
            let Some(key) = self.waiting.pop_front() else { return };
            self.portion.1 += self.refresh(cx, directory, key);
        }
        if !self.waiting.is_empty() {
            cx.timers.start(Timer::Views, cx.now + PAUSE);
        }
    }

    /// Emits the changes since the last refresh. Returns the number of users that it has looked at.
    pub(super) fn refresh(&mut self, cx: &mut Context, directory: &Directory<'_>, key: ChannelKey) -> usize {
        self.settle(cx, &key);
        let Some(ShownUsers { instance, display, .. }) = self.channels.get_mut(&key) else { return 0 };
        let look = |user: &UserId| directory.member(&key, user);
        let users = display.take_stale(|| directory.members(&key), |node| directory.users_of(&key, node));
        let count = users.len();
        let changes = display.refresh(users, look, cx.settings.max_shown);
        cx.limits.count(Excess::Shown, std::mem::take(&mut display.excess));
        if !changes.is_empty() {
            cx.output(NodeOutput::RemoteMembers { channel: key, instance: *instance, changes });
        }
        count
    }
}

/// The users shown in one instance of a channel, and those that may have changed since.
#[derive(Debug, Default)]
pub(super) struct Display {
    shown: BTreeMap<UserId, RemoteMember>,
    stale: Stale,
    /// The nodes whose users are all stale.
    stale_nodes: Vec<Arc<str>>,
    /// The size of all presence that is shown, in bytes.
    bytes: usize,
    /// The users whose presence is not shown because it exceeds the limit of the channel.
    held_back: BTreeSet<UserId>,
    /// The number of users that were held back since the number was last taken.
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
    /// Marks users for the next refresh.
    fn touch(&mut self, users: impl IntoIterator<Item = UserId>) {
        match &mut self.stale {
            Stale::Nothing => self.stale = Stale::Users(users.into_iter().collect()),
            Stale::Users(stale) => stale.extend(users),
            Stale::All => {}
        }
    }

    /// Marks all users of a node for the next refresh.
    fn touch_node(&mut self, node: &Arc<str>) {
        if !self.stale_nodes.contains(node) {
            self.stale_nodes.push(Arc::clone(node));
        }
    }

    /// The view of a new instance of a channel, in which no user is shown yet.
    fn of_new_life() -> Display {
        Display { stale: Stale::All, ..Display::default() }
    }

    /// The marked users, or `all` of them, with those that marked nodes have.
    fn take_stale(
        &mut self,
        all: impl FnOnce() -> BTreeSet<UserId>,
        of_node: impl Fn(&str) -> BTreeSet<UserId>,
    ) -> BTreeSet<UserId> {
        let mut users = match std::mem::take(&mut self.stale) {
            Stale::Nothing => BTreeSet::new(),
            Stale::Users(users) => users,
            Stale::All => all(),
        };
        std::mem::take(&mut self.stale_nodes).iter().for_each(|node| users.append(&mut of_node(node)));
        users
    }

    /// Compares users with what is shown; `look` returns the present state of each. At most `most` bytes of presence are
    /// shown together. Returns the differences.
    fn refresh(
        &mut self,
        users: BTreeSet<UserId>,
        look: impl Fn(&UserId) -> Option<RemoteMember>,
        most: usize,
    ) -> Vec<RemoteChange> {
        let before = self.bytes;
        let mut changes: Vec<_> = users.into_iter().filter_map(|user| self.show(look(&user), user, most)).collect();
        // Room was freed: users that were held back may fit now. Without this check each refresh would visit all of
        // them.
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
            // Without its presence the user is still a member. It must not override the local presence with none
            // either.
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
            let shown = RemoteMember { assigns: Assigns::default(), presence: None, over_local: false, joined: 0 };
            there.contains(user).then_some(shown)
        }
    }

    fn refresh(display: &mut Display, all: &[&str], there: &[&str]) -> String {
        let named = |names: &[&str]| names.iter().map(|name| user(name)).collect::<BTreeSet<_>>();
        let users = display.take_stale(|| named(all), |node| named(&[&*format!("{node}-1"), &*format!("{node}-2")]));
        text(display.refresh(users, look(there), 99))
    }

    fn text(views: Vec<RemoteChange>) -> String {
        let text = |view: RemoteChange| match view {
            RemoteChange::Shown(user, _) => format!("+{user}"),
            RemoteChange::Gone(user) => format!("-{user}"),
        };
        views.into_iter().map(text).collect()
    }

    #[test]
    fn only_marked_users_that_differ_are_changed() {
        let mut display = Display::default();
        assert_eq!(refresh(&mut display, &["ada"], &["ada"]), "");
        display.touch([user("ada"), user("bob")]);
        display.touch([user("eve")]);
        assert_eq!(refresh(&mut display, &[], &["ada", "eve"]), "+ada+eve");
        display.touch([user("ada"), user("eve")]);
        assert_eq!(refresh(&mut display, &[], &["eve"]), "-ada");
    }

    #[test]
    fn the_users_of_a_node_that_has_died_are_compared_beside_those_that_have_changed() {
        let mut display = Display::default();
        display.touch([user("ada"), user("b-1"), user("b-2"), user("c-1")]);
        assert_eq!(refresh(&mut display, &[], &["ada", "b-1", "b-2", "c-1"]), "+ada+b-1+b-2+c-1");
        display.touch([user("ada")]);
        display.touch_node(&"b".into());
        display.touch_node(&"b".into());
        assert_eq!(refresh(&mut display, &[], &["b-2"]), "-ada-b-1");
        assert_eq!(refresh(&mut display, &[], &[]), "", "nothing is marked any more");
    }

    #[test]
    fn a_new_instance_is_shown_all_users() {
        let mut display = Display::of_new_life();
        assert_eq!(refresh(&mut display, &["ada"], &["ada"]), "+ada");
    }
}
