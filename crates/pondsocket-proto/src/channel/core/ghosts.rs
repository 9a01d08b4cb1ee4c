//! Members in their presence grace beyond the life of their server.

use super::Channel;
use crate::channel::ghost::LATEST;
use crate::channel::{Assigns, Departure, Member};
use crate::id::UserId;
use crate::wire::Object;

/// A ghost that goes on in the next server. Times are relative, because each server has a clock of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedGhost {
    /// The user.
    pub user: UserId,
    /// The time until the end of its grace, in milliseconds.
    pub left: u64,
    /// The assigns of the membership.
    pub assigns: Assigns,
    /// The presence; `None` if the user is not tracked.
    pub presence: Option<Object>,
}

impl SavedGhost {
    /// The bytes of JSON of assigns and presence, roughly.
    fn bytes(&self) -> usize {
        let assigns = self.assigns.iter().map(|(key, value)| key.len() + value.len());
        assigns.sum::<usize>() + self.presence.as_ref().map_or(0, |presence| presence.as_str().len())
    }
}

impl<R> Channel<R> {
    /// Copies the ghosts for the next server, but for those whose assigns and presence take more than `largest` bytes. The
    /// grace of those that are copied has no end here any more, so that each of them leaves on one server only.
    pub fn save_ghosts(&mut self, now: u64, largest: usize) -> Vec<SavedGhost> {
        let copy = |(until, user, member): (u64, &UserId, &Member)| SavedGhost {
            user: user.clone(),
            left: until.saturating_sub(now),
            assigns: member.assigns.clone(),
            presence: member.presence.clone(),
        };
        let saved: Vec<_> = self.local.ghosts().map(copy).filter(|ghost| ghost.bytes() <= largest).collect();
        saved.iter().for_each(|ghost| self.local.save_ghost(&ghost.user));
        saved
    }

    /// Ends the grace of the ghosts that were not [saved](Self::save_ghosts), of at most `most` of them. They leave.
    pub fn end_unsaved_ghosts(&mut self, most: usize) -> Vec<Departure> {
        self.expire_ghosts(LATEST, most)
    }

    /// Adds a ghost of an earlier server, whose grace ends at `until`. Its presence is left out if that of all members would
    /// be over the limit. Nobody is told: the channel has no connections yet. `false` if the user is a member.
    pub fn restore_ghost(&mut self, ghost: SavedGhost, until: u64) -> bool {
        let SavedGhost { user, assigns, presence, .. } = ghost;
        let presence = presence.filter(|presence| self.fits_presence(user.as_str(), presence));
        self.local.restore(&user, (assigns, presence), until)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;
    use crate::channel::{ChannelLimits, Step};
    use crate::wire::Json;

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("a valid id")
    }

    fn names(ghosts: &[SavedGhost]) -> Vec<(&str, u64)> {
        ghosts.iter().map(|ghost| (ghost.user.as_str(), ghost.left)).collect()
    }

    #[test]
    fn a_ghost_goes_on_in_the_next_channel_and_leaves_one_of_them_only() {
        let mut before = channel(ChannelLimits::default());
        let json = |text: &str| Json::from_raw(text).expect("JSON");
        let chain = vec![Step::Assign("role".into(), json(r#""host""#)), Step::Track(object(r#"{"mood":1}"#))];
        for (name, until) in [("a1", 900), ("b1", 700), ("c1", 600)] {
            let chain =
                if name == "c1" { vec![Step::Assign("big".into(), json(&"1".repeat(99)))] } else { chain.clone() };
            let slot = join(&mut before, name, chain);
            before.lose(slot, id(name), Some(until)).expect("seated");
        }
        join(&mut before, "d1", Vec::new());
        let saved = before.save_ghosts(650, 98);
        assert_eq!(
            names(&saved),
            [("b", 50), ("a", 250)],
            "in the order of their ends, and not those that are too large"
        );
        assert!(before.save_ghosts(650, 98).is_empty(), "once");
        assert_eq!(before.expire_ghosts(LATEST - 1, 9).len(), 1);
        assert_eq!(before.end_unsaved_ghosts(9).len(), 0);
        assert_eq!(before.local_members().ghost_count(), 2, "they have no end here");
        assert_eq!(before.abandon_ghosts(9).len(), 2, "unless all graces are ended");

        let mut next = channel(ChannelLimits::default());
        for ghost in saved {
            let until = 5000 + ghost.left;
            assert!(next.restore_ghost(ghost.clone(), until) && !next.restore_ghost(ghost, until));
        }
        assert_eq!(next.member_count(), 2);
        let member = next.local_members().member("a").expect("a member");
        assert_eq!(
            (member.assigns.to_json(), next.presence("a")),
            (r#"{"role":"host"}"#.into(), Some(&object(r#"{"mood":1}"#)))
        );
        let slot = join(&mut next, "b2", Vec::new());
        assert_eq!(next.local_members().ghost_count(), 1, "it is back");
        let gone = next.expire_ghosts(5250, 9);
        assert_eq!(gone.iter().map(|gone| gone.user.clone()).collect::<Vec<_>>(), [user("a")]);
        assert!(next.leave(slot, id("b2"), None).expect("seated").is_some());
        assert_eq!(next.local_members().presence_bytes(), 0);
    }

    #[test]
    fn presence_over_the_limit_of_the_next_server_is_left_out() {
        let limits = ChannelLimits { presence_bytes: 10, ..ChannelLimits::default() };
        let mut next = channel(limits);
        for name in ["a", "b"] {
            let presence = Some(object(r#"{"mood":1}"#));
            let ghost = SavedGhost { user: user(name), left: 0, assigns: Assigns::default(), presence };
            assert!(next.restore_ghost(ghost, 1));
        }
        assert_eq!((next.presence("a").is_some(), next.presence("b")), (true, None));
    }
}
