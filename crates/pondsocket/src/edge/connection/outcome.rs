//! What becomes of what handlers have decided.

use std::sync::Arc;

use pondsocket_proto::channel::{Assigns, Step};
use pondsocket_proto::id::ChannelName;
use tokio::time::Instant;

use super::room::ChannelMembership;
use super::session::Session;
use crate::channel::Channel;
use crate::context::{Call, Joined};
use crate::engine::link::Link;
use crate::error::{Error, InCall, Result};
use crate::handler::dispatch::Routes;
use crate::hooks::Hooks;
use crate::metrics::{Component, HandlerKind, Limit, Meter};

impl Session {
    /// A message has been handled, or refused by a hook: then no handler was started.
    pub(super) fn finish_event(&self, call: &Call, by: Component, started: Option<Instant>, outcome: Result<()>) {
        if let Err(error) = &outcome {
            self.fail(call, error);
            self.count_unexpected(by, error);
        }
        self.endpoint.finish(HandlerKind::Event, Some(call.channel.lobby), started, outcome.as_ref().err());
        self.tell_hooks(|hooks, me| {
            let channel = Channel::new(&self.endpoint, call.channel.name.clone());
            hooks.after_message(&me.info(), &channel, &call.event, outcome.as_ref().copied());
        });
    }

    /// A join has been decided, by a handler or by a hook: then no handler was started.
    pub(super) fn finish_join(
        &mut self,
        name: &ChannelName,
        request_id: &str,
        by: Component,
        started: Option<Instant>,
        answer: Result<Joined>,
    ) {
        let outcome = answer.and_then(|joined| {
            let lobby = joined.lobby;
            joined.into_chain().map_err(|error| error.of_pattern(self.endpoint.pattern(lobby)))
        });
        let lobby = outcome.as_ref().ok().map(|(lobby, _)| *lobby);
        let lobby = lobby.or_else(|| Some(self.endpoint.lobby_for(name.as_str(), 0)?.0));
        let outcome = outcome.and_then(|(lobby, chain)| {
            let joined = self.commit_join(name, lobby, request_id, chain);
            joined.map_err(|error| error.of_pattern(self.endpoint.pattern(lobby)))
        });
        match &outcome {
            Ok(()) => {}
            Err(error) if error.is_unrouted() => self.no_channel(name, request_id),
            Err(error) => {
                self.decline(name.as_str(), request_id, error);
                self.count_unexpected(by, error);
            }
        }
        self.endpoint.finish(HandlerKind::Join, lobby, started, outcome.as_ref().err());
        self.tell_hooks(|hooks, me| {
            let channel = Channel::new(&self.endpoint, name.clone());
            hooks.after_join(&me.info(), &channel, outcome.as_ref().copied());
        });
    }

    fn commit_join(&mut self, name: &ChannelName, lobby: usize, request_id: &str, chain: Vec<Step>) -> Result<()> {
        let rules = self.endpoint.rules(lobby).ok_or_else(|| Error::internal("a lobby has vanished"))?;
        let (link, options) = (&self.link, &self.options);
        let too_large =
            |step: &Step| matches!(step, Step::Track(presence) if presence.as_str().len() > options.max_presence_size);
        if chain.iter().any(too_large) {
            return Err(self.endpoint.observer.too_large(Limit::Presence, "presence").in_call("accept().track"));
        }
        let shown = |step: &Step| if let Step::Track(presence) = step { presence.as_str().len() } else { 0 };
        let (user, assigns) = (link.user(), link.assigns());
        // What would not fit for a new member must not make a channel.
        let too_many = || self.endpoint.observer.too_large(Limit::Assigns, "assigns").in_call("accept().assign");
        let too_much_presence = || self.endpoint.too_much_presence().in_call("accept().track");
        if chain.iter().map(shown).max() > Some(options.max_channel_presence) {
            return Err(too_much_presence());
        }
        if !fits(Assigns::default(), &assigns, &chain, options.max_assigns_size) {
            return Err(too_many());
        }
        let (live, accepted) = self.endpoint.hub.join(name, (lobby, &rules), |channel, rules| {
            if let Some(member) = channel.local_members().member(user.as_str())
                && !fits(member.assigns.clone(), &assigns, &chain, options.max_assigns_size)
            {
                return Err(Limit::Assigns);
            }
            if !chain
                .iter()
                .all(|step| !matches!(step, Step::Track(shown) if !channel.has_room_for(user.as_str(), shown)))
            {
                return Err(Limit::ChannelPresence);
            }
            let treatment = |event: &str| rules.treatment(event);
            Ok(channel.join(Arc::clone(link), link.id(), user, assigns, request_id, chain, &treatment))
        });
        let accepted = accepted.map_err(|limit| match limit {
            Limit::ChannelPresence => too_much_presence(),
            _ => too_many(),
        })?;
        let name = live.name.clone();
        if accepted.first {
            self.link.count(|metrics, me| metrics.channel_joined(me, name.as_str()));
        }
        for (event, members) in accepted.broadcasts {
            let observer = &self.endpoint.observer;
            observer.count(|metrics, endpoint| metrics.message_broadcast(endpoint, name.as_str(), &event, members));
        }
        let (connection, user, channel) = (self.link.id(), self.link.user(), name.as_str());
        tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, first = accepted.first, "joined");
        self.subscriptions.entry(name).or_default().membership =
            Some(ChannelMembership { live, slot: accepted.slot, id: accepted.membership });
        Ok(())
    }

    fn count_unexpected(&self, component: Component, error: &Error) {
        if error.is_unexpected() {
            self.endpoint.observer.count(|metrics, _| metrics.error(component, error));
        }
    }

    fn tell_hooks(&self, tell: impl FnOnce(&dyn Hooks, &Link)) {
        self.endpoint.common.hooks.tell(self.meter(), |hooks| tell(hooks, &self.link));
    }

    fn meter(&self) -> &Meter {
        &self.endpoint.common.meter
    }
}

/// Whether a member's assigns stay within their limit with those of a joining connection and of the chain.
fn fits(mut assigns: Assigns, joining: &Assigns, chain: &[Step], most: usize) -> bool {
    let chained = chain.iter().filter_map(|step| match step {
        Step::Assign(key, value) => Some((key.as_str(), value)),
        _ => None,
    });
    joining.iter().chain(chained).all(|(key, value)| {
        let fits = assigns.size_with(key, value) <= most;
        assigns.set(key, value.clone());
        fits
    })
}
