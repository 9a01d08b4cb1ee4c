//! The presence that members show, and the members on other nodes.

use super::{Channel, Full, Refused, member_id};
use crate::channel::batch::{Op, PresenceChange};
use crate::channel::outbound::Outbound;
use crate::channel::{Audience, Departure, MemberChange, NotMember, RemoteChange, Seats, Slot};
use crate::id::UserId;
use crate::wire::{Object, PresenceKind};

impl<R> Channel<R> {
    /// The presence of a user of any node.
    pub fn presence(&self, user: &str) -> Option<&Object> {
        let own = self.local.member(user).and_then(|member| member.presence.as_ref());
        self.remote.presence(user, own)
    }

    /// Changes the members on other nodes. Members on this node receive the differences in the presence that they see. Returns
    /// the ghosts that have joined on another node: they are no members of this node any more, and their membership goes on
    /// there.
    pub fn apply_remote(&mut self, changes: Vec<RemoteChange>) -> Vec<Departure> {
        let mut moved = Vec::new();
        for change in changes {
            // The user may be connected to this node, too, which hides some changes. So the presence that members see
            // is compared before and after, and not what the other node has changed.
            let (RemoteChange::Shown(user, _) | RemoteChange::Gone(user)) = &change;
            let (user, before) = (user.clone(), self.presence(user.as_str()).cloned());
            let is_back =
                matches!(&change, RemoteChange::Shown(_, shown) if self.local.is_back_elsewhere(&user, shown.joined));
            if let (RemoteChange::Shown(_, shown), Some(ring)) = (&change, &mut self.history) {
                ring.note_elsewhere(&user, shown.joined);
            }
            self.remote.apply(change);
            if is_back && let Some(ghost) = self.local.remove(&user) {
                self.outbound.note(|| Outbound::Moved(user.clone()));
                moved.push(ghost);
            }
            if let Some((kind, changed)) = self.difference(&user, before) {
                self.announce_in_order(kind, user, changed);
            }
        }
        moved
    }

    /// Sets the presence of a member, which tracks it. The same presence again changes nothing.
    ///
    /// # Errors
    /// [`Refused::PresenceLimit`] if the presence of all members would be over its limit, [`Refused::Full`].
    pub fn set_presence(&mut self, user: &str, presence: Object) -> Result<(), Refused> {
        let member = self.local.member(user).ok_or(NotMember)?;
        // First, so that the same presence succeeds also while the queue is full.
        if member.presence.as_ref() == Some(&presence) {
            return Ok(());
        }
        if !self.fits_presence(user, &presence) {
            return Err(Refused::PresenceLimit);
        }
        if self.exceeds(self.limits.hard_factor) {
            return Err(Full.into());
        }
        self.show_own(user, presence)?;
        Ok(())
    }

    /// Returns `true` if the presence of all members stays within the limit with this presence of a user, which need
    /// not be a member yet. A presence that is no larger than the user's previous one is always accepted.
    pub fn fits_presence(&self, user: &str, presence: &Object) -> bool {
        let own = self.local.member(user).and_then(|member| member.presence.as_ref());
        let (before, after) = (own.map_or(0, |own| own.as_str().len()), presence.as_str().len());
        after <= before || self.local.presence_bytes() - before + after <= self.limits.presence_bytes
    }

    pub(super) fn show_own(&mut self, user: &str, presence: Object) -> Result<(), NotMember> {
        let before = self.presence(user).cloned();
        let seats = self.local.member(user).ok_or(NotMember)?.seats.clone();
        let own = self.local.set_presence(user, Some(presence.clone()))?;
        if own.as_ref() == Some(&presence) {
            return Ok(());
        }
        if own.is_none() {
            // Before the change is announced: a user that becomes tracked receives its own JOIN, and with it the list.
            self.queue.push(Op::Track { seats: seats.clone(), on: true });
        }
        let is_unchanged = before.is_some() && {
            let own = self.local.member(user).and_then(|member| member.presence.as_ref());
            self.remote.presence(user, own) == before.as_ref()
        };
        self.change_presence(user, before, Some(presence));
        // Another node shows the same of this user, so nobody is told anything: the user itself gets the list.
        if own.is_none()
            && is_unchanged
            && seats != Seats::None
            && let Some(shown) = self.presence(user).cloned()
        {
            self.announce(PresenceKind::Join, Audience::Only(seats), &member_id(user), shown);
        }
        Ok(())
    }

    /// Hides a member again. Returns `true` if it was tracked.
    pub fn untrack(&mut self, user: &str) -> Result<bool, NotMember> {
        let before = self.presence(user).cloned();
        let seats = self.local.member(user).ok_or(NotMember)?.seats.clone();
        if self.local.set_presence(user, None)?.is_none() {
            return Ok(false);
        }
        // Before the change is announced: a user that is hidden does not receive its own LEAVE (docs/protocol.md,
        // Presence).
        self.queue.push(Op::Track { seats, on: false });
        self.change_presence(user, before, None);
        Ok(true)
    }

    /// Sends the presence list to a further connection of a tracked user, as a JOIN for that connection alone.
    pub(super) fn show_list(&mut self, slot: Slot, user: &UserId) {
        let Some(presence) = self.presence(user.as_str()).cloned() else { return };
        self.queue.push(Op::Track { seats: Seats::One(slot), on: true });
        self.announce(PresenceKind::Join, Audience::Only(Seats::One(slot)), user, presence);
    }

    /// Notes the new presence of a member here for other nodes, and announces it.
    fn change_presence(&mut self, user: &str, before: Option<Object>, presence: Option<Object>) {
        let user = member_id(user);
        self.outbound.note(|| Outbound::Change(MemberChange::Presence { user: user.clone(), presence }));
        self.announce_change(&user, before);
    }

    pub(super) fn announce_leave(&mut self, gone: &Departure) {
        self.outbound.note(|| Outbound::Change(MemberChange::Left { user: gone.user.clone() }));
        self.announce_end(gone);
    }

    /// Tells the members here that a user has left.
    pub(super) fn announce_end(&mut self, gone: &Departure) {
        let user = &gone.user;
        // The user has left already, so its last presence is taken from the departure. If another node has the user,
        // members see an update, or nothing, in place of a LEAVE.
        let before = self.remote.presence(user.as_str(), gone.member.presence.as_ref()).cloned();
        self.announce_change(user, before);
    }

    /// Sends the difference between a user's presence before and now to the tracked members.
    fn announce_change(&mut self, user: &UserId, before: Option<Object>) {
        if let Some((kind, changed)) = self.difference(user, before) {
            self.release_presence(user);
            self.announce(kind, Audience::Tracked, user, changed);
        }
    }

    /// The difference between a user's presence before and now.
    fn difference(&self, user: &UserId, before: Option<Object>) -> Option<(PresenceKind, Object)> {
        let after = self.presence(user.as_str()).cloned();
        match (before, after) {
            (None, Some(after)) => Some((PresenceKind::Join, after)),
            (Some(before), Some(after)) if before != after => Some((PresenceKind::Update, after)),
            (Some(before), None) => Some((PresenceKind::Leave, before)),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    pub(super) fn announce(&mut self, kind: PresenceKind, to: Audience<R>, user: &UserId, changed: Object) {
        // Only an estimate, for the sizes of portions and queues: the list itself is encoded when the batch is taken.
        let list = Some(self.list_bytes()).filter(|list| *list <= self.limits.lists.max_bytes).unwrap_or(0);
        let private_list = if matches!(to, Audience::Tracked) { 0 } else { list };
        let change = PresenceChange { kind, user: user.clone(), changed, request_id: (self.fresh_id)(), private_list };
        self.queue.push_presence(to, change, list);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::super::*;
    use crate::channel::{Recipients, Step};

    #[test]
    fn a_further_connection_of_a_tracked_user_alone_receives_the_list() {
        let (mut channel, mut recipients) = (channel(ChannelLimits::default()), Recipients::default());
        let tracked = || vec![Step::Track(object(r#"{"mood":1}"#))];
        join(&mut channel, "a1", tracked());
        join(&mut channel, "b1", tracked());
        deliver(&mut channel, &mut recipients);
        let list = r#"[{"mood":1},{"mood":1}]"#;
        join(&mut channel, "a2", Vec::new());
        assert_eq!(deliver(&mut channel, &mut recipients), ["a2 ACKNOWLEDGE".to_owned(), format!("a2 JOIN {list}")]);
        join(&mut channel, "a3", tracked());
        assert_eq!(deliver(&mut channel, &mut recipients), ["a3 ACKNOWLEDGE".to_owned(), format!("a3 JOIN {list}")]);
    }

    #[test]
    fn a_further_connection_with_other_presence_updates_all_and_receives_the_list_once() {
        let (mut channel, mut recipients) = (channel(ChannelLimits::default()), Recipients::default());
        join(&mut channel, "a1", vec![Step::Track(object(r#"{"mood":1}"#))]);
        deliver(&mut channel, &mut recipients);
        let chain = vec![Step::Track(object(r#"{"mood":2}"#)), Step::Track(object(r#"{"mood":3}"#))];
        join(&mut channel, "a2", chain);
        let list = r#"[{"mood":3}]"#;
        let update = |to: &str| format!("{to} UPDATE {list}");
        let expected = [update("a1"), update("a1"), "a2 ACKNOWLEDGE".into(), format!("a2 JOIN {list}"), update("a2")];
        assert_eq!(deliver(&mut channel, &mut recipients), expected);
    }

    #[test]
    fn presence_of_all_members_is_limited_but_may_always_shrink() {
        let (one, two) = (object(r#"{"a":1}"#), object(r#"{"a":12}"#));
        let presence_bytes = one.as_str().len() + two.as_str().len();
        let mut channel = channel(ChannelLimits { presence_bytes, ..ChannelLimits::default() });
        let slot = join(&mut channel, "a1", Vec::new());
        join(&mut channel, "b1", Vec::new());
        assert_eq!(channel.set_presence("a", two.clone()), Ok(()));
        assert_eq!(channel.set_presence("b", two.clone()), Err(Refused::PresenceLimit));
        assert_eq!(channel.presence("b"), None);
        assert_eq!(channel.set_presence("b", one.clone()), Ok(()));
        assert!(!channel.fits_presence("c", &object("{}")) && channel.fits_presence("a", &two));
        assert_eq!(channel.set_presence("a", one.clone()), Ok(()));
        assert_eq!(channel.local_members().presence_bytes(), 2 * one.as_str().len());
        channel.leave(slot, id("a1"), None).expect("seated");
        assert_eq!(channel.set_presence("b", two.clone()), Ok(()), "a member that leaves makes room");
        assert_eq!((channel.untrack("b"), channel.local_members().presence_bytes()), (Ok(true), 0));
        let gone = channel
            .set_presence("b", two)
            .and_then(|()| channel.remove(&UserId::new("b").expect("valid")).map_err(Refused::from));
        assert!(gone.is_ok());
        assert_eq!(channel.local_members().presence_bytes(), 0);
    }

    #[test]
    fn a_change_of_presence_counts_with_the_list_that_it_will_carry() {
        let lists = Lists { max_bytes: 100, repeated_bytes: 40, members: 100 };
        let mut channel = channel(ChannelLimits { lists, ..ChannelLimits::default() });
        join(&mut channel, "a1", vec![Step::Track(object(r#"{"n":1}"#))]);
        let bytes = |channel: &Channel<_>| channel.queued().1 - channel.queue.bytes();
        assert_eq!(bytes(&channel), 7);
        for n in 2..=9 {
            channel.set_presence("a", object(&format!(r#"{{"n":{n}}}"#))).expect("a member");
        }
        assert_eq!(bytes(&channel), 40 + 7, "repeated as often as may be, and once");
        channel.set_presence("a", object(&format!(r#"{{"n":"{}"}}"#, "x".repeat(100)))).expect("a member");
        assert_eq!(bytes(&channel), 0, "it is not sent as a whole");
        channel.take();
        assert_eq!(channel.queued(), (0, 0));
    }
}
