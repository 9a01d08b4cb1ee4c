//! The joins of one connection: the wait for the history of the channel, the start of the join handler, and what follows its decision.

use std::sync::Arc;

use http::Extensions;
use pondsocket_proto::channel::{Accepted, Assigns, Channel as Core, Join, Progress, Recovery, ResumeRequest, Step};
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::position::Position;
use pondsocket_proto::wire::{Resume, take_resume};
use tokio::time::Instant;
use tracing::{Span, debug_span};

use super::catch_up::GAP;
use super::running::{HandlerTask, TaskKind};
use super::session::Session;
use super::subscription::{JoinRequest, Request, SubscriptionId};
use crate::channel::Channel;
use crate::context::{ChannelMembership, JoinContext, JoinHistory, Joined, LeaveReason};
use crate::endpoint::{Leave, Live, ReachedPosition};
use crate::engine::closing::Close;
use crate::engine::handle::ConnectionHandle;
use crate::engine::live::Rules;
use crate::engine::sessions::ConnectionSession;
use crate::error::{Error, Result};
use crate::handler::pass::PassSlotRef;
use crate::json::received::ReceivedPayload;
use crate::limits::stored::TooLarge;
use crate::lobby::LobbyInner;
use crate::metrics::{Component, GraceEvent, HandlerKind};
use crate::user::User;

/// The outcome of a join that its handler has accepted.
enum Committed {
    Joined,
    /// The handler was told that the client gets everything that it missed, and that does not hold any more. Nothing has changed.
    Outdated {
        /// The payload with which the handler runs again, unless it has already.
        again: Option<Arc<str>>,
    },
}

/// The reason for which an accepted join does not take place.
enum NotJoined {
    TooLarge(TooLarge),
    Outdated,
}

impl Session {
    pub(super) fn start_join(&mut self, id: SubscriptionId, request: JoinRequest) -> Option<HandlerTask> {
        if self.acknowledge_again(id, &(&*request.request_id).into()) {
            return None;
        }
        // The whole task of a client that has not joined before is polled in turns.
        if self.has_joined
            && let Some(waiting) = self.endpoint.arrivals.step(&self.options, &self.endpoint.observer)
        {
            let endpoint = Arc::clone(&self.endpoint);
            let turn = Box::pin(async move { waiting.turn(&endpoint.arrivals, &endpoint.observer).await });
            return Some(HandlerTask {
                kind: TaskKind::Arriving { request, turn },
                started: None,
                span: Span::current(),
            });
        }
        self.load_history(id, request)
    }

    /// Waits for the history of the channel to be read, if it has one that is not, and then starts the handler.
    pub(super) fn load_history(&mut self, id: SubscriptionId, request: JoinRequest) -> Option<HandlerTask> {
        let name = &self.subscriptions.get(id)?.name;
        match self.endpoint.open_history(name, || self.reached_position(name.as_str(), &request.payload)) {
            Some(history) => {
                let kind = TaskKind::Loading { request, history, since: Instant::now() };
                Some(HandlerTask { kind, started: None, span: Span::current() })
            }
            None => self.start_join_handler(id, request, true),
        }
    }

    /// The position that a client brings, or that its session has.
    fn reached_position(&self, channel: &str, payload: &str) -> ReachedPosition {
        if let Ok(Some((Resume::From(position), _))) = take_resume(payload) {
            return ReachedPosition { last_event: None, otherwise: Some(position) };
        }
        let Some(session) = self.handle.session.as_deref() else { return ReachedPosition::default() };
        // Up to what was sent, and not only to what is proven: a node that has not got there would announce fewer messages that
        // may come twice than there are.
        let reached = |Progress { epoch, proven, sent }: Progress| Position { epoch, offset: sent.max(proven) };
        let last_event = session.last_event();
        // If the session could not be read, the event may be one of a history that this node does not know yet.
        let unknown = || last_event.filter(|_| session.is_unknown());
        ReachedPosition { last_event, otherwise: session.position(channel).map(reached).or_else(unknown) }
    }

    /// Starts the join handler. `is_read` is false if other nodes may have sent the client messages that this node does not have.
    pub(super) fn start_join_handler(
        &mut self,
        id: SubscriptionId,
        request: JoinRequest,
        is_read: bool,
    ) -> Option<HandlerTask> {
        let JoinRequest { request_id, mut payload, is_second } = request;
        let name = self.subscriptions.get(id)?.name.clone();
        // Before anybody sees the payload.
        let history = self.take_resume(name.as_str(), &mut payload, is_read);
        let span =
            debug_span!(target: "pondsocket::handler", "join", channel = name.as_str(), request_id = &*request_id);
        let entered = span.enter();
        let matched = self.endpoint.lobby_for(name.as_str(), 0);
        let from = matched.as_ref().map(|(at, ..)| *at);
        let (lobby, route) = matched.map(|(_, route, lobby)| (lobby, route)).unzip();
        let mut ctx = JoinContext {
            endpoint: Arc::clone(&self.endpoint),
            handle: Arc::clone(&self.handle),
            lobby,
            name,
            route: route.unwrap_or_default(),
            request_id: Arc::clone(&request_id),
            received: ReceivedPayload::new(&payload),
            payload,
            extensions: Extensions::new(),
            history: None,
            passing: PassSlotRef::default(),
        };
        let allowed = history.and_then(|mut history| {
            if let Some(history) = history.as_mut().filter(|history| !is_second && history.is_promise()) {
                history.again = Some(Arc::clone(&ctx.payload));
            }
            ctx.history = history;
            // The hook has allowed this request ahead of the first run.
            if is_second { Ok(()) } else { self.endpoint.common.hooks.decide(|hooks| hooks.before_join(&ctx)) }
        });
        match allowed.and_then(|()| from.ok_or_else(|| Error::unrouted("no such channel"))) {
            Ok(from) => {
                let started = self.endpoint.observer.start();
                let future = self.endpoint.join(ctx, from);
                drop(entered);
                Some(HandlerTask { kind: TaskKind::Join { request_id, future }, started, span })
            }
            Err(error) => {
                drop(entered);
                self.finish_join(id, &request_id, Component::Hook, None, Err(error));
                None
            }
        }
    }

    /// Takes the request to resume out of the payload of a join, and holds what the client has missed. `None` if the channel
    /// keeps no history: then the payload is left as it is.
    fn take_resume(&self, channel: &str, payload: &mut Arc<str>, is_read: bool) -> Result<Option<Box<JoinHistory>>> {
        let Some(lobby) = self.endpoint.history_lobby(channel) else { return Ok(None) };
        let mut brought = None;
        let taken = take_resume(payload).map_err(|error| Error::bad_request(error.to_string()))?;
        if let Some((taken, left)) = taken {
            (brought, *payload) = (Some(taken), left.into());
        }
        let live = self.endpoint.hub.get(channel);
        // A client that does not know its position has one in its session.
        let session = self.handle.session.as_deref();
        let (last_event, known) = session.map(|it| (it.last_event(), it.position(channel))).unwrap_or_default();
        let epoch = last_event.and_then(|_| live.as_ref()?.epoch());
        // The lobby of an open channel is that of the join that has opened it.
        let rules = live.as_ref().map_or(&lobby, |live| &live.lobby).resume_rules();
        let resume = ResumeRequest::choose(brought, last_event, known, epoch, rules);
        let is_unknown = session.is_some_and(ConnectionSession::is_unknown);
        let resume = resume.or_else(|| is_unknown.then(ResumeRequest::of_lost_session));
        let resume = resume.map(|request| ResumeRequest { is_unread: !is_read, ..request });
        let hold = live.and_then(|live| live.hold(self.handle.user(), resume));
        Ok(Some(Box::new(JoinHistory { resume, hold, again: None })))
    }

    /// Finishes a join that a handler has decided, or that a hook refused before a handler was started. If what the handler was
    /// told of the history does not hold any more, and the client cannot be told, the handler runs once more.
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
        let committed = answer.and_then(|joined| {
            // A context reaches code that can accept it only after a pattern has matched.
            let lobby = accepting.ok_or_else(|| Error::unrouted("no such channel"))?;
            let committed = self.commit_join(id, &name, &lobby, request_id, joined);
            committed.map_err(|error| error.of_pattern(Some(lobby.pattern.as_str().into())))
        });
        let outcome = match committed {
            Ok(Committed::Outdated { again }) => {
                self.endpoint.finish(HandlerKind::Join, lobby.as_deref(), started, None);
                return self.join_again(id, &name, request_id, again);
            }
            Ok(Committed::Joined) => Ok(()),
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(()) => self.has_joined = true,
            Err(error) => {
                if error.is_decision() {
                    self.end_grace(&name);
                }
                if error.is_unrouted() {
                    self.no_channel(&name, request_id);
                } else {
                    self.decline(name.as_str(), request_id, error);
                    self.count_unexpected(by, error);
                }
            }
        }
        self.endpoint.finish(HandlerKind::Join, lobby.as_deref(), started, outcome.as_ref().err());
        self.notify_hooks(|hooks, me| {
            let channel = Channel::new(&self.endpoint, name.clone());
            hooks.after_join(&me.info(), &channel, outcome.as_ref().copied());
        });
    }

    /// Lets the handler of a join run once more, with what is true by now. If it has already, the connection ends as by a gap
    /// during a membership: the next join of the session sees it.
    fn join_again(&mut self, id: SubscriptionId, name: &ChannelName, request_id: &str, payload: Option<Arc<str>>) {
        let (connection, user, channel) = (self.handle.id(), self.handle.user(), name.as_str());
        let runs = payload.is_some();
        tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, runs, "missed messages are gone");
        match payload {
            Some(payload) => {
                let request = JoinRequest { request_id: request_id.into(), payload, is_second: true };
                self.put_first(id, Request::Join(request));
            }
            None => self.handle.close(Close::Immediate(GAP)),
        }
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

    /// Makes the connection a member, if what its handler has decided is within the limits, and rests on what is still true.
    fn commit_join(
        &mut self,
        id: SubscriptionId,
        name: &ChannelName,
        lobby: &Arc<LobbyInner>,
        request_id: &str,
        mut joined: Joined,
    ) -> Result<Committed> {
        let relies = joined.relies_on_recovery();
        let (chain, resume) = (joined.take_chain()?, joined.resume());
        let (handle, most) = (&self.handle, self.options.max_assigns_size);
        let (user, assigns) = (handle.user(), handle.assigns());
        self.check_chain(&chain, &assigns)?;
        let (live, accepted) = self.endpoint.hub.join(&mut self.changed, name, lobby, |channel, lobby| {
            let here = channel.local_members().member(user.as_str()).map(|member| &member.assigns);
            let elsewhere = if here.is_none() { assigns_elsewhere(channel, lobby, user) } else { None };
            if let Some(kept) = here.or(elsewhere)
                && !fits(kept, &assigns, &chain, most)
            {
                return Err(NotJoined::TooLarge(TooLarge::Assigns));
            }
            if !chain
                .iter()
                .all(|step| !matches!(step, Step::Track(shown) if !channel.fits_presence(user.as_str(), shown)))
            {
                return Err(NotJoined::TooLarge(TooLarge::PresenceOfAll));
            }
            if relies && !channel.recovery(user, resume).is_complete() {
                return Err(NotJoined::Outdated);
            }
            let assigns = match elsewhere.cloned() {
                Some(mut kept) => {
                    kept.merge(assigns);
                    kept
                }
                None => assigns,
            };
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
        match accepted {
            Ok(accepted) => {
                self.begin_membership(id, live, resume, accepted);
                Ok(Committed::Joined)
            }
            Err(NotJoined::Outdated) => Ok(Committed::Outdated { again: joined.take_again() }),
            Err(NotJoined::TooLarge(error)) => Err(self.too_large(error)),
        }
    }

    /// Checks what can be checked before the channel is created: a join that cannot succeed must not create one.
    fn check_chain(&self, chain: &[Step], assigns: &Assigns) -> Result<()> {
        let shown = |step: &Step| if let Step::Track(presence) = step { presence.as_str().len() } else { 0 };
        let largest = chain.iter().map(shown).max().unwrap_or(0);
        let options = &self.options;
        if largest > options.max_presence_size {
            return Err(self.too_large(TooLarge::Presence));
        }
        if largest > options.max_channel_presence {
            return Err(self.too_large(TooLarge::PresenceOfAll));
        }
        if !fits(&Assigns::default(), assigns, chain, options.max_assigns_size) {
            return Err(self.too_large(TooLarge::Assigns));
        }
        Ok(())
    }

    fn too_large(&self, error: TooLarge) -> Error {
        let call = if error == TooLarge::Assigns { "accept().assign" } else { "accept().track" };
        Error::from(self.endpoint.observer.too_large(error)).in_call(call)
    }

    /// Notes, counts and logs that the connection has joined.
    fn begin_membership(
        &mut self,
        id: SubscriptionId,
        live: Arc<Live>,
        resume: Option<ResumeRequest>,
        accepted: Accepted,
    ) {
        let name = live.name.clone();
        if let Some(session) = &self.handle.session {
            session.use_up(name.as_str(), live.epoch());
            session.record(self.handle.user());
        }
        if accepted.first {
            self.handle.count(|metrics, me| metrics.channel_joined(me, name.as_str()));
        }
        if accepted.returned {
            self.endpoint.note_grace(name.as_str(), self.handle.user().as_str(), GraceEvent::Returned);
        }
        let (connection, user, channel) = (self.handle.id(), self.handle.user(), name.as_str());
        let (recovery, replayed) = (accepted.recovery, accepted.replayed);
        if resume.is_some() || replayed > 0 || recovery != Recovery::New {
            tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, ?recovery, replayed, "resumed");
            self.handle.count(|metrics, me| metrics.channel_resumed(me, channel, recovery, replayed));
        }
        for (event, members) in accepted.broadcasts {
            let observer = &self.endpoint.observer;
            observer.count(|metrics, endpoint| metrics.message_broadcast(endpoint, channel, &event, members));
        }
        tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, first = accepted.first, "joined");
        if live.lobby.presence_grace() > 0 && !self.handle.has_lasting_user() {
            live.lobby.note_vain_grace();
        }
        if let Some(subscription) = self.subscriptions.get_mut(id) {
            // The name of the live channel, so that all members share one text.
            subscription.name = name;
            subscription.resumes = resume.is_some_and(|request| request.sent.is_none());
            subscription.membership = Some(ChannelMembership { live, slot: accepted.slot, id: accepted.membership });
        }
    }
}

/// The assigns that a user has on other nodes, if its membership may go on here: in a channel with a presence grace a user comes back
/// on any node.
fn assigns_elsewhere<'a>(
    channel: &'a Core<Arc<ConnectionHandle>>,
    lobby: &LobbyInner,
    user: &UserId,
) -> Option<&'a Assigns> {
    let is_graced = lobby.presence_grace() > 0;
    channel.remote_member(user.as_str()).filter(|_| is_graced).map(|member| &member.assigns)
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
