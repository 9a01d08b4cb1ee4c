//! The outcomes of the handlers of one connection: members, replies, errors, and the reports to hooks and metrics.

use std::sync::Arc;

use pondsocket_proto::channel::{Assigns, Join, Recovery, ResumeRequest, Step};
use pondsocket_proto::id::ChannelName;
use tokio::time::Instant;

use super::session::Session;
use super::subscription::SubscriptionId;
use crate::channel::Channel;
use crate::context::{Call, ChannelMembership, Joined, LeaveReason};
use crate::endpoint::Leave;
use crate::engine::handle::ConnectionHandle;
use crate::engine::live::Rules;
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::limits::stored::TooLarge;
use crate::lobby::LobbyInner;
use crate::metrics::{Component, GraceEvent, HandlerKind, Meter};
use crate::user::User;

impl Session {
    /// Finishes a message that was handled, or that a hook refused before a handler was started.
    pub(super) fn finish_event(
        &mut self,
        call: &Arc<Call>,
        by: Component,
        started: Option<Instant>,
        outcome: Result<()>,
    ) {
        if let Err(error) = &outcome {
            self.fail(call, error);
            self.count_unexpected(by, error);
        }
        call.finish_answers();
        self.endpoint.finish(HandlerKind::Event, Some(&call.channel.lobby), started, outcome.as_ref().err());
        let common = &self.endpoint.common;
        let _scope = self.changed.enter(&call.channel, &call.flush);
        common.hooks.notify(&common.meter, |hooks| {
            let channel = Channel::new(&self.endpoint, call.channel.name.clone()).handling(call);
            hooks.after_message(&self.handle.info(), &channel, call.message.event(), outcome.as_ref().copied());
        });
    }

    /// Finishes a join that a handler has decided, or that a hook refused before a handler was started.
    pub(super) fn finish_join(
        &mut self,
        id: SubscriptionId,
        request_id: &str,
        by: Component,
        started: Option<Instant>,
        answer: Result<Joined>,
    ) {
        let Some(name) = self.subscriptions.get(id).map(|subscription| subscription.name.clone()) else { return };
        let accepting = answer.as_ref().ok().and_then(|joined| joined.lobby.clone());
        // Where no handler has accepted, metrics name the first pattern that matches.
        let lobby = accepting.clone().or_else(|| Some(self.endpoint.lobby_for(name.as_str(), 0)?.2));
        let outcome = answer.and_then(|mut joined| {
            // A context reaches code that can accept it only after a pattern has matched.
            let lobby = accepting.ok_or_else(|| Error::unrouted("no such channel"))?;
            let resume = joined.resume();
            let committed =
                joined.take_chain().and_then(|chain| self.commit_join(id, &name, &lobby, request_id, (chain, resume)));
            committed.map_err(|error| error.of_pattern(Some(lobby.pattern.as_str().into())))
        });
        if outcome.is_err() {
            self.end_grace(&name);
        }
        match &outcome {
            Ok(()) => self.has_joined = true,
            Err(error) if error.is_unrouted() => self.no_channel(&name, request_id),
            Err(error) => {
                self.decline(name.as_str(), request_id, error);
                self.count_unexpected(by, error);
            }
        }
        self.endpoint.finish(HandlerKind::Join, lobby.as_deref(), started, outcome.as_ref().err());
        self.notify_hooks(|hooks, me| {
            let channel = Channel::new(&self.endpoint, name.clone());
            hooks.after_join(&me.info(), &channel, outcome.as_ref().copied());
        });
    }

    /// Ends the presence grace of the user, whose join was declined: it does not come back.
    fn end_grace(&mut self, name: &ChannelName) {
        let Some(live) = self.endpoint.hub.get(name.as_str()) else { return };
        let user = self.handle.user();
        if let Ok(Some(departure)) = live.change(&mut self.changed, |channel| channel.end_ghost(user)) {
            self.endpoint.note_grace(name.as_str(), user.as_str(), GraceEvent::Declined);
            let (endpoint, lobby) = (Arc::clone(&self.endpoint), Arc::clone(&live.lobby));
            Leave {
                endpoint,
                channel: name.clone(),
                lobby,
                user: User::departed(departure),
                reason: LeaveReason::Closed,
            }
            .spawn();
        }
    }

    fn commit_join(
        &mut self,
        id: SubscriptionId,
        name: &ChannelName,
        lobby: &Arc<LobbyInner>,
        request_id: &str,
        (chain, resume): (Vec<Step>, Option<ResumeRequest>),
    ) -> Result<()> {
        let (handle, options) = (&self.handle, &self.options);
        let refused = |error: TooLarge| {
            let call = if error == TooLarge::Assigns { "accept().assign" } else { "accept().track" };
            Error::from(self.endpoint.observer.too_large(error)).in_call(call)
        };
        let too_large =
            |step: &Step| matches!(step, Step::Track(presence) if presence.as_str().len() > options.max_presence_size);
        if chain.iter().any(too_large) {
            return Err(refused(TooLarge::Presence));
        }
        let shown = |step: &Step| if let Step::Track(presence) = step { presence.as_str().len() } else { 0 };
        let (user, assigns) = (handle.user(), handle.assigns());
        // Checked before the channel is created: a join that cannot succeed must not create one.
        if chain.iter().map(shown).max() > Some(options.max_channel_presence) {
            return Err(refused(TooLarge::PresenceOfAll));
        }
        if !fits(&Assigns::default(), &assigns, &chain, options.max_assigns_size) {
            return Err(refused(TooLarge::Assigns));
        }
        let (live, accepted) = self.endpoint.hub.join(&mut self.changed, name, lobby, |channel, lobby| {
            if let Some(member) = channel.local_members().member(user.as_str())
                && !fits(&member.assigns, &assigns, &chain, options.max_assigns_size)
            {
                return Err(TooLarge::Assigns);
            }
            if !chain
                .iter()
                .all(|step| !matches!(step, Step::Track(shown) if !channel.fits_presence(user.as_str(), shown)))
            {
                return Err(TooLarge::PresenceOfAll);
            }
            let policy = |event: &str| lobby.delivery_policy(event);
            let (recipient, connection) = (Arc::clone(handle), handle.id());
            let join = Join { recipient, connection, user, assigns, request_id, chain, resume };
            let accepted = channel.join(join, &policy);
            // Under the lock of the channel: its delivery may begin at once on another thread. A client that brings its
            // position needs no proof.
            let needs_proof =
                || resume.is_none_or(|request| request.sent.is_some()) || lobby.resume_rules().own_past_only;
            if let (Some(from), Some(session)) = (accepted.owed_from, &handle.session)
                && needs_proof()
            {
                session.watch(name, from, accepted.sent_before);
            }
            Ok(accepted)
        });
        let accepted = accepted.map_err(refused)?;
        let name = live.name.clone();
        if let Some(session) = &handle.session {
            session.use_up(name.as_str(), live.epoch());
            session.record(handle.user());
        }
        if accepted.first {
            self.handle.count(|metrics, me| metrics.channel_joined(me, name.as_str()));
        }
        if accepted.returned {
            self.endpoint.note_grace(name.as_str(), self.handle.user().as_str(), GraceEvent::Returned);
        }
        let (recovery, replayed) = (accepted.recovery, accepted.replayed);
        if resume.is_some() || replayed > 0 || recovery != Recovery::New {
            let (connection, user, channel) = (self.handle.id(), self.handle.user(), name.as_str());
            tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, ?recovery, replayed, "resumed");
            self.handle.count(|metrics, me| metrics.channel_resumed(me, channel, recovery, replayed));
        }
        for (event, members) in accepted.broadcasts {
            let observer = &self.endpoint.observer;
            observer.count(|metrics, endpoint| metrics.message_broadcast(endpoint, name.as_str(), &event, members));
        }
        let (connection, user, channel) = (self.handle.id(), self.handle.user(), name.as_str());
        tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, first = accepted.first, "joined");
        if let Some(subscription) = self.subscriptions.get_mut(id) {
            // The name of the live channel, so that all members share one text.
            subscription.name = name;
            subscription.resumes = resume.is_some_and(|request| request.sent.is_none());
            subscription.membership = Some(ChannelMembership { live, slot: accepted.slot, id: accepted.membership });
        }
        Ok(())
    }

    fn count_unexpected(&self, component: Component, error: &Error) {
        if error.is_unexpected() {
            self.endpoint.observer.count(|metrics, _| metrics.error(component, error));
        }
    }

    fn notify_hooks(&self, notify: impl FnOnce(&dyn Hooks, &ConnectionHandle)) {
        self.endpoint.common.hooks.notify(self.meter(), |hooks| notify(hooks, &self.handle));
    }

    fn meter(&self) -> &Meter {
        &self.endpoint.common.meter
    }
}

/// Returns whether the assigns of a member stay within their limit with those of a joining connection and of the chain.
fn fits(assigns: &Assigns, joining: &Assigns, chain: &[Step], most: usize) -> bool {
    let steps = || {
        chain.iter().filter_map(|step| match step {
            Step::Assign(key, value) => Some((key.as_str(), value)),
            _ => None,
        })
    };
    if joining.is_empty() && steps().next().is_none() {
        return true;
    }
    // Each in an object of its own is at least as much as all in one. Usually it fits, and nothing has to be copied.
    let alone = steps().map(|(key, value)| Assigns::default().size_with(key, value)).sum::<usize>();
    if assigns.size() + joining.size() + alone <= most {
        return true;
    }
    let mut assigns = assigns.clone();
    assigns.merge(joining.clone());
    assigns.size() <= most
        && steps().all(|(key, value)| {
            let fits = assigns.size_with(key, value) <= most;
            assigns.set(key, value);
            fits
        })
}
