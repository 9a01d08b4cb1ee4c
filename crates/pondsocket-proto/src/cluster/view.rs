//! What a channel here shows of other nodes' users (docs/cluster.md, One user on several nodes).

use std::collections::{BTreeMap, BTreeSet};

use super::record::Entry;
use super::{RemoteChange, RemoteMember};
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::Object;

/// A node has this user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    /// When it joined there, and the node's name. The largest is the one who speaks for the user.
    pub(super) rank: (u64, &'a str),
    pub(super) assigns: &'a Assigns,
    pub(super) presence: Option<&'a Object>,
}

impl<'a> Claim<'a> {
    /// That of a node of ours.
    pub(super) fn of(node: &'a str, entry: &'a Entry) -> Claim<'a> {
        Claim { rank: (entry.joined, node), assigns: &entry.assigns, presence: entry.presence.as_ref() }
    }
}

/// One user is shown, however many nodes have it. Nothing is to be shown of one that only this node has.
pub(super) fn unite(own: Option<Claim<'_>>, others: &[Claim<'_>]) -> Option<RemoteMember> {
    let first = others.iter().max_by_key(|claim| claim.rank)?;
    let speaker = own.filter(|own| own.rank > first.rank).unwrap_or(*first);
    let tracked = others.iter().filter(|claim| claim.presence.is_some()).max_by_key(|claim| claim.rank);
    let over_local = tracked.zip(own).is_some_and(|(tracked, own)| tracked.rank > own.rank);
    let presence = tracked.and_then(|claim| claim.presence).cloned();
    Some(RemoteMember { assigns: speaker.assigns.clone(), presence, over_local })
}

/// The size of its presence.
fn size(shown: Option<&RemoteMember>) -> usize {
    shown.and_then(|shown| shown.presence.as_ref()).map_or(0, |presence| presence.as_str().len())
}

/// What is shown in one life of a channel, and what has to be looked at again.
#[derive(Debug, Default)]
pub(super) struct Display {
    shown: BTreeMap<UserId, RemoteMember>,
    stale: Stale,
    /// The bytes that are shown in all.
    bytes: usize,
    /// Those who would show something if there were room.
    held_back: BTreeSet<UserId>,
    /// How often there was none since somebody asked.
    pub(super) excess: u64,
}

#[derive(Debug, Default)]
enum Stale {
    #[default]
    Nothing,
    Users(BTreeSet<UserId>),
    All,
}

impl Display {
    /// These have to be looked at again.
    pub(super) fn touch(&mut self, users: impl IntoIterator<Item = UserId>) {
        match &mut self.stale {
            Stale::Nothing => self.stale = Stale::Users(users.into_iter().collect()),
            Stale::Users(stale) => stale.extend(users),
            Stale::All => {}
        }
    }

    /// Nothing is shown: it is another life of the channel.
    pub(super) fn clear(&mut self) {
        *self = Display { stale: Stale::All, ..Display::default() };
    }

    /// Looks again at what has to be: of `all` users if that is everybody, with `look` at each of them. No more than `most`
    /// bytes are shown in all. Answers with what is shown otherwise than before.
    pub(super) fn refresh(
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

    /// Returns whether it may be shown as it wants to be.
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
    use super::super::record::tests::{object, user};
    use super::*;
    use crate::wire::Json;

    fn assigns(text: &str) -> Assigns {
        let mut assigns = Assigns::default();
        assigns.set("of", Json::encode(text).expect("JSON"));
        assigns
    }

    #[test]
    fn the_latest_join_speaks_for_the_user_and_the_latest_tracked_one_is_shown() {
        let (of_a, of_b, of_me, there) = (assigns("a"), assigns("b"), assigns("me"), object("{}"));
        let a = Claim { rank: (1, "a"), assigns: &of_a, presence: Some(&there) };
        let b = Claim { rank: (1, "b"), assigns: &of_b, presence: None };
        let me = |joined| Claim { rank: (joined, "me"), assigns: &of_me, presence: None };
        let shown = |assigns: &Assigns, presence, over_local| {
            Some(RemoteMember { assigns: assigns.clone(), presence, over_local })
        };
        assert_eq!(unite(None, &[a, b]), shown(&of_b, Some(there.clone()), false));
        assert_eq!(unite(None, &[b, a]), shown(&of_b, Some(there.clone()), false));
        assert_eq!(unite(None, &[b]), shown(&of_b, None, false));
        assert_eq!(unite(Some(me(0)), &[a, b]), shown(&of_b, Some(there.clone()), true));
        assert_eq!(unite(Some(me(2)), &[a, b]), shown(&of_me, Some(there.clone()), false));
        assert_eq!(unite(Some(me(0)), &[b]), shown(&of_b, None, false));
        assert_eq!(unite(Some(me(2)), &[]), None);
    }

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
        let mut display = Display::default();
        display.touch([user("ada")]);
        assert_eq!(text(display.refresh(all(&[]), look(&["ada"]), 99)), "+ada");
        display.clear();
        assert_eq!(text(display.refresh(all(&["ada"]), look(&["ada"]), 99)), "+ada");
    }
}
