//! Answers to a connection's own messages: errors, declines, acknowledgements.

use pondsocket_proto::channel::DeliveryPolicy;
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::wire::client::MalformedMessage;
use pondsocket_proto::wire::server::{self, ErrorPayload};
use pondsocket_proto::wire::{ClientText, GATEWAY};
use tracing::Level;

use super::session::{Session, fresh_request_id};
use crate::context::Call;
use crate::engine::handled::AnswerKind;
use crate::error::Error;
use crate::failure::{Around, backtrace, chain};

impl Session {
    pub(super) fn log_malformed(&self, malformed: &MalformedMessage) {
        let (connection, user, reason) = (self.handle.id(), self.handle.user(), &malformed.reason);
        tracing::debug!(target: "pondsocket::message", %connection, %user, %reason, "malformed");
    }

    /// Answers a malformed message that is not a join.
    pub(super) fn answer_malformed(&self, malformed: &MalformedMessage) {
        let mut text = Vec::new();
        server::malformed(&mut text, malformed, &fresh_request_id());
        self.handle.send_text(&text);
    }

    /// Declines a malformed join.
    pub(super) fn decline_malformed(&mut self, malformed: &MalformedMessage, error: &Error) {
        let channel = malformed.channel.as_ref().map_or(GATEWAY, ClientText::to_lossy);
        self.log(channel, None, error);
        self.handle.count(|metrics, me| metrics.join_declined(me, channel, error.code()));
        self.send_behind(channel, |text| server::malformed(text, malformed, &fresh_request_id()));
    }

    /// Refuses a message that was not queued. The answer does not wait for earlier messages of its channel.
    pub(super) fn refuse_event(&self, channel: &str, request_id: &str, error: &Error) {
        let details = error.details_for_client();
        let payload =
            ErrorPayload { code: error.code(), message: error.message(), details: details.as_deref(), channel };
        let mut text = Vec::new();
        server::internal_error(&mut text, request_id, &payload);
        self.handle.send_text(&text);
    }

    /// Answers a message of a client that is not a member of the channel.
    pub(super) fn not_joined(&mut self, channel: &str, request_id: &str) {
        // A channel that the last member has just left may still be delivering.
        let live = self.endpoint.hub.get(channel);
        let live = live.is_some_and(|live| live.read(|channel| channel.local_members().member_count() > 0));
        self.send_behind(channel, |text| {
            if live {
                let message = "not a member of the channel";
                server::internal_error(text, request_id, &ErrorPayload { code: 403, message, details: None, channel });
            } else {
                let message = "no such channel";
                server::not_found(text, request_id, &ErrorPayload { code: 404, message, details: None, channel });
            }
        });
    }

    /// Declines a join that no pattern matches, with two frames: some clients understand only the first, others only the
    /// second (docs/protocol.md, Declining).
    pub(super) fn no_channel(&mut self, name: &ChannelName, request_id: &str) {
        let channel = name.as_str();
        self.handle.count(|metrics, me| metrics.join_declined(me, channel, 404));
        let error = ErrorPayload { code: 404, message: "no such channel", details: None, channel };
        self.send_behind(channel, |text| server::not_found(text, request_id, &error));
        self.send_behind(channel, |text| server::join_declined(text, request_id, &error));
    }

    pub(super) fn decline(&mut self, channel: &str, request_id: &str, error: &Error) {
        self.log(channel, None, error);
        self.handle.count(|metrics, me| metrics.join_declined(me, channel, error.code()));
        let details = error.details_for_client();
        let payload =
            ErrorPayload { code: error.code(), message: error.message(), details: details.as_deref(), channel };
        self.send_behind(channel, |text| server::join_declined(text, request_id, &payload));
    }

    /// Answers a message whose handler has failed, or that has none.
    pub(super) fn fail(&mut self, call: &Call, error: &Error) {
        let channel = call.channel.name.as_str();
        self.log(channel, Some(call), error);
        let details = error.details_for_client();
        let payload =
            ErrorPayload { code: error.code(), message: error.message(), details: details.as_deref(), channel };
        self.answer(call, |text| match error.is_unrouted() {
            true => server::not_found(text, call.message.request_id(), &payload),
            false => server::internal_error(text, call.message.request_id(), &payload),
        });
    }

    /// Logs a failed event or a declined join: at `debug` for a mistake of the peer, at `error` for an unexpected failure.
    fn log(&self, channel: &str, call: Option<&Call>, error: &Error) {
        let what = if call.is_some() { "event handler failed" } else { "join declined" };
        // A macro, because the level of an event has to be a constant.
        macro_rules! line {
            ($level:expr) => {{
                let around = Around::now();
                let known = || call.map_or_else(|| self.channel_pattern(channel), |call| self.event_pattern(call));
                let pattern = error.pattern().map(Into::into).or_else(known);
                tracing::event!(
                    target: "pondsocket::handler",
                    $level,
                    endpoint = around.missing("endpoint", &*self.endpoint.observer.endpoint),
                    connection = around.missing("connection", display(self.handle.id())),
                    user = around.missing("user", self.handle.user().as_str()),
                    channel = around.missing("channel", channel),
                    event = call.and_then(|call| around.missing("event", call.message.event())),
                    pattern,
                    call = error.call(),
                    error = chain(error),
                    details = error.details(),
                    backtrace = backtrace(error),
                    "{what}"
                );
            }};
        }
        if error.is_unexpected() {
            line!(Level::ERROR);
        // Asked first, because the pattern is looked up before the event itself is filtered.
        } else if tracing::enabled!(target: "pondsocket::handler", Level::DEBUG) {
            line!(Level::DEBUG);
        }
    }

    /// The first pattern of the channel's lobby that matches a message's event.
    pub(super) fn event_pattern(&self, call: &Call) -> Option<Box<str>> {
        call.channel.lobby.event_pattern(call.message.event())
    }

    /// The first pattern that matches a channel's name.
    pub(super) fn channel_pattern(&self, channel: &str) -> Option<Box<str>> {
        let (.., lobby) = self.endpoint.lobby_for(channel, 0)?;
        Some(lobby.pattern.as_str().into())
    }

    pub(super) fn acknowledge_exit(&mut self, channel: &str, request_id: &str) {
        self.send_behind(channel, |text| server::exit_acknowledge(text, channel, request_id));
    }

    /// Sends a message to this connection, behind the messages that the channel, if it is live, has for it.
    fn send_behind(&mut self, channel: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        match self.endpoint.hub.get(channel) {
            Some(live) => live.send_to_outsider(&mut self.changed, &self.handle, &text),
            None => self.handle.send_text(&text),
        }
    }

    /// Answers a message of a member. A client that has left gets no answer.
    fn answer(&mut self, call: &Call, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        call.keep_answer(AnswerKind::Error, &text);
        // An error means that the client is no member any more.
        let _ = call.channel.reply(&mut self.changed, &self.handle, call.slot, &text, DeliveryPolicy::CONTROL);
    }
}
