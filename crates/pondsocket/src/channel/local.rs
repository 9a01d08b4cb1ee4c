//! Operations on the members of a channel on this node.

use std::sync::Arc;

use pondsocket_proto::channel::{Assigns, Channel as Core, NotMember, Refused, Removal};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::{Json, Object};

use super::{BoundMembership, Channel, no_such_member, not_found, user_id};
use crate::context::LeaveReason;
use crate::endpoint::Live;
use crate::engine::handle::ConnectionHandle;
use crate::error::{Error, Result};
use crate::metrics::Limit;

impl Channel {
    pub(crate) fn show_local(&self, user: &str, presence: Object) -> Result<()> {
        if presence.as_str().len() > self.endpoint.settings().max_presence_size {
            return Err(self.endpoint.observer.too_large(Limit::Presence, "presence"));
        }
        let shown = self.change(user, |channel| Ok(channel.set_presence(user, presence)))?;
        shown.map_err(|refused| self.not_shown(refused))
    }

    /// A member can't show what it was to show. It is counted: not under a lock.
    pub(super) fn not_shown(&self, refused: Refused) -> Error {
        match refused {
            Refused::NotMember(_) => no_such_member(),
            Refused::Full(_) => self.endpoint.queue_is_full(&self.name),
            Refused::PresenceLimit => self.endpoint.too_much_presence(),
        }
    }

    pub(crate) fn assign_local(&self, user: &str, key: &str, value: Json) -> Result<()> {
        let most = self.endpoint.settings().max_assigns_size;
        let fits = self.change(user, |channel| {
            let member = channel.local_members().member(user).ok_or_else(no_such_member)?;
            if member.assigns.size_with(key, &value) > most {
                return Ok(false);
            }
            channel.assign(user, key, value).map_err(not_found)?;
            Ok(true)
        })?;
        if fits { Ok(()) } else { Err(self.endpoint.observer.too_large(Limit::Assigns, "assigns")) }
    }

    /// Overwrites a member's assigns key by key, if all of them fit.
    pub(crate) fn merge_assigns_local(&self, user: &str, assigns: Assigns) -> Result<()> {
        let most = self.endpoint.settings().max_assigns_size;
        let fits = self.change(user, |channel| {
            let mut merged = channel.local_members().member(user).ok_or_else(no_such_member)?.assigns.clone();
            merged.merge(assigns.clone());
            if merged.to_json().len() > most {
                return Ok(false);
            }
            channel.merge_assigns(user, assigns).map_err(not_found)?;
            Ok(true)
        })?;
        if fits { Ok(()) } else { Err(self.endpoint.observer.too_large(Limit::Assigns, "assigns")) }
    }

    pub(crate) fn evict_local(&self, user: &str, reason: &str) -> Result<()> {
        self.take_out(user, LeaveReason::Evicted(reason.to_owned()), |channel, user| channel.evict(user, reason))?;
        if self.endpoint.node().is_some() {
            self.endpoint.evictions.note(&self.name, user);
        }
        Ok(())
    }

    pub(crate) fn remove_local(&self, user: &str, reason: &str) -> Result<()> {
        self.take_out(user, LeaveReason::Removed(reason.to_owned()), |channel, user| channel.remove(user))
    }

    fn take_out(
        &self,
        user: &str,
        reason: LeaveReason,
        take: impl FnOnce(&mut Core<Arc<ConnectionHandle>>, &UserId) -> Result<Removal, NotMember>,
    ) -> Result<()> {
        let user = user_id(user)?;
        let (live, removal) = self.change_live(user.as_str(), |channel| take(channel, &user).map_err(not_found))?;
        self.endpoint.spawn_leave(self.name.clone(), &live.lobby, removal.departure, reason);
        Ok(())
    }

    /// Changes a member of the live channel, or fails with 404 if there is none: nobody here is a member then.
    pub(super) fn change<T>(
        &self,
        user: &str,
        change: impl FnOnce(&mut Core<Arc<ConnectionHandle>>) -> Result<T>,
    ) -> Result<T> {
        self.change_live(user, change).map(|(_, answer)| answer)
    }

    /// The same, with the live channel that was changed.
    fn change_live<T>(
        &self,
        user: &str,
        change: impl FnOnce(&mut Core<Arc<ConnectionHandle>>) -> Result<T>,
    ) -> Result<(Arc<Live>, T)> {
        let own = self.own.as_ref().filter(|own| own.user.as_str() == user);
        // Looked at under the lock that the change is made under: the user may leave and come back in between.
        let mut change = |channel: &mut Core<Arc<ConnectionHandle>>| match own {
            Some(own) if !own.is_member(channel) => Err(no_such_member()),
            _ => change(channel),
        };
        loop {
            let Some(live) = self.endpoint.hub.get(self.name.as_str()) else { return Err(no_such_member()) };
            if own.is_some_and(|own| own.membership.is_none_or(|(serial, _)| serial != live.serial)) {
                return Err(no_such_member());
            }
            match live.change(change) {
                Ok(answer) => return answer.map(|answer| (live, answer)),
                Err(again) => {
                    change = again;
                    self.endpoint.hub.remove(&live);
                }
            }
        }
    }
}

impl BoundMembership {
    /// Returns whether the membership lives, in the live channel that it is of.
    fn is_member(&self, channel: &Core<Arc<ConnectionHandle>>) -> bool {
        let member = channel.local_members().member(self.user.as_str());
        member.is_some_and(|member| self.membership.is_some_and(|(_, own)| own == member.membership))
    }
}
