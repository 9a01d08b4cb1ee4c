//! Operations on the members of a channel on this node.

use std::sync::Arc;

use pondsocket_proto::channel::{Assigns, Channel as Core, NotMember, Refused, Removal, Seats};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::{Json, Object};

use super::error::{MemberError, TrackError};
use super::{BoundMembership, Channel, user_id};
use crate::context::LeaveReason;
use crate::endpoint::{Leave, Live};
use crate::engine::handle::ConnectionHandle;
use crate::limits::stored::{NoRoom, TooLarge};
use crate::metrics::GraceEvent;
use crate::user::User;

impl Channel {
    pub(crate) fn show_local(&self, user: &str, presence: Object) -> Result<(), MemberError> {
        self.endpoint.check_presence(&presence)?;
        let shown = self.change(user, |channel| Ok::<_, NotMember>(channel.set_presence(user, presence)))?;
        shown.map_err(|refused| self.not_shown(refused))
    }

    pub(super) fn track_local(&self, user: &str, presence: Object) -> Result<(), TrackError> {
        self.endpoint.check_presence(&presence).map_err(MemberError::from)?;
        let shown = self.change(user, |channel| {
            let member = channel.local_members().member(user).ok_or(MemberError::NotMember)?;
            match member.presence {
                Some(_) => Err(TrackError::AlreadyTracked),
                None => Ok(channel.set_presence(user, presence)),
            }
        })?;
        shown.map_err(|refused| self.not_shown(refused).into())
    }

    /// The failure of a change of presence. It is counted here, without a lock, because counting calls the
    /// application's metrics.
    pub(super) fn not_shown(&self, refused: Refused) -> MemberError {
        match refused {
            Refused::NotMember(NotMember) => MemberError::NotMember,
            Refused::Full(_) => MemberError::NoRoom(self.endpoint.refuse(&self.name, NoRoom::QueueFull)),
            Refused::PresenceLimit => self.endpoint.observer.too_large(TooLarge::PresenceOfAll).into(),
        }
    }

    pub(crate) fn assign_local(&self, user: &str, key: &str, value: Json) -> Result<(), MemberError> {
        let most = self.endpoint.settings().max_assigns_size;
        let fits = self.change(user, |channel| {
            let member = channel.local_members().member(user).ok_or(NotMember)?;
            if member.assigns.size_with(key, &value) > most {
                return Ok::<_, NotMember>(false);
            }
            channel.assign(user, key, value)?;
            Ok(true)
        })?;
        // Counted behind the lock, because it calls the application's metrics.
        if fits { Ok(()) } else { Err(self.endpoint.observer.too_large(TooLarge::Assigns).into()) }
    }

    /// Overwrites a member's assigns key by key, if all of them fit.
    pub(crate) fn merge_assigns_local(&self, user: &str, assigns: Assigns) -> Result<(), MemberError> {
        let most = self.endpoint.settings().max_assigns_size;
        let fits = self.change(user, |channel| {
            // The size is that of the result, because some keys may be overwritten. The check and the change are one
            // step under the lock.
            let mut merged = channel.local_members().member(user).ok_or(NotMember)?.assigns.clone();
            merged.merge(assigns.clone());
            if merged.size() > most {
                return Ok::<_, NotMember>(false);
            }
            channel.merge_assigns(user, assigns)?;
            Ok(true)
        })?;
        if fits { Ok(()) } else { Err(self.endpoint.observer.too_large(TooLarge::Assigns).into()) }
    }

    pub(crate) fn untrack_local(&self, user: &str) -> Result<(), NotMember> {
        self.change(user, |channel| channel.untrack(user).map(drop))
    }

    pub(crate) fn evict_local(&self, user: &str, reason: &str) -> Result<(), NotMember> {
        self.remove_member(user, LeaveReason::Evicted(reason.to_owned()), |channel, user| channel.evict(user, reason))?;
        // Only other nodes can announce the same eviction again.
        if self.endpoint.node().is_some() {
            self.endpoint.evictions.note(&self.name, user);
        }
        Ok(())
    }

    pub(crate) fn remove_local(&self, user: &str, reason: &str) -> Result<(), NotMember> {
        self.remove_member(user, LeaveReason::Removed(reason.to_owned()), |channel, user| channel.remove(user))
    }

    fn remove_member(
        &self,
        user: &str,
        reason: LeaveReason,
        take: impl FnOnce(&mut Core<Arc<ConnectionHandle>>, &UserId) -> Result<Removal, NotMember>,
    ) -> Result<(), NotMember> {
        let user = user_id(user)?;
        let (live, removal) = self.change_live(user.as_str(), |channel| take(channel, &user))?;
        let (endpoint, lobby) = (Arc::clone(&self.endpoint), Arc::clone(&live.lobby));
        if removal.departure.member.seats == Seats::None {
            endpoint.note_grace(self.name.as_str(), user.as_str(), GraceEvent::Removed);
        }
        // On a task of its own: the caller may be the handler of another user, or another node's command, and does not
        // wait for the leave handler.
        Leave { endpoint, channel: self.name.clone(), lobby, user: User::departed(removal.departure), reason }.spawn();
        Ok(())
    }

    /// Changes a member of the live channel. Without a live channel no user of this node is a member.
    pub(super) fn change<T, E: From<NotMember>>(
        &self,
        user: &str,
        change: impl FnOnce(&mut Core<Arc<ConnectionHandle>>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_live(user, change).map(|(_, answer)| answer)
    }

    /// Changes a member, like [`change`](Self::change), and returns the live channel that was changed as well.
    fn change_live<T, E: From<NotMember>>(
        &self,
        user: &str,
        change: impl FnOnce(&mut Core<Arc<ConnectionHandle>>) -> Result<T, E>,
    ) -> Result<(Arc<Live>, T), E> {
        // `None` once the message has been handled: then the change is flushed at once.
        let call = self.call.upgrade();
        let own = self.own.as_ref().filter(|own| own.user.as_str() == user);
        // Checked under the same lock as the change: otherwise the user could leave and join again in between, and the
        // change would apply to another membership (docs/protocol.md, Order).
        let mut change = |channel: &mut Core<Arc<ConnectionHandle>>| match own {
            Some(own) if !own.is_member(channel) => Err(NotMember.into()),
            _ => change(channel),
        };
        loop {
            let Some(live) = self.endpoint.hub.get(self.name.as_str()) else { return Err(NotMember.into()) };
            // Memberships are numbered in each live channel, so the number alone does not identify one.
            if own.is_some_and(|own| own.membership.is_none_or(|(serial, _)| serial != live.serial)) {
                return Err(NotMember.into());
            }
            match live.change(call.as_deref().and_then(|call| call.flush_scope(&live)), change) {
                Ok(answer) => return answer.map(|answer| (live, answer)),
                // The channel has closed since it was found in the hub. It is removed there, and the next one of this
                // name is looked up.
                Err(again) => {
                    change = again;
                    self.endpoint.hub.remove(&live);
                }
            }
        }
    }
}

impl BoundMembership {
    /// Returns `true` if the membership has not ended. `channel` must be the live channel in which it began.
    fn is_member(&self, channel: &Core<Arc<ConnectionHandle>>) -> bool {
        let member = channel.local_members().member(self.user.as_str());
        member.is_some_and(|member| self.membership.is_some_and(|(_, own)| own == member.membership))
    }
}
