//! Messages that a client sends again, because it does not know whether they were handled. A client with a session that sends
//! its position may do that: such a message is answered as before, and is not handled again (docs/protocol.md, Repeats).

use std::sync::Arc;

use pondsocket_proto::channel::DeliveryPolicy;
use pondsocket_proto::wire::server::{self, ErrorPayload};
use tracing::debug_span;

use super::running::{HandlerTask, Repeat, TaskKind};
use super::session::Session;
use super::subscription::SubscriptionId;
use crate::context::{ChannelMembership, EventMessage};
use crate::engine::answers::Answers;
use crate::engine::handled::{Answer, AnswerKind, Answered};

impl Session {
    /// The answers that are kept for the messages of a channel, if its client may send them again.
    pub(super) fn answers(&self, id: SubscriptionId) -> Option<Arc<Answers>> {
        let session = self.handle.session.as_ref()?;
        self.subscriptions.get(id)?.resumes.then(|| session.answers())
    }

    /// Waits until the message is handled to the end, which may be by the connection before this one.
    pub(super) fn start_repeat(
        &self,
        membership: ChannelMembership,
        message: EventMessage,
        answers: Arc<Answers>,
    ) -> HandlerTask {
        let (name, id) = (membership.live.name.clone(), message.request_id().to_owned());
        let span = debug_span!(target: "pondsocket::handler", "repeat", channel = name.as_str(), request_id = &*id);
        let known = Arc::clone(&answers);
        let finished = Box::pin(async move { known.finished(&name, &id).await });
        let repeat = Box::new(Repeat { membership, message, answers });
        HandlerTask { kind: TaskKind::Repeat { repeat, finished }, started: None, span }
    }

    pub(super) fn answer_repeat(&mut self, Repeat { membership, message, answers }: &Repeat) {
        let ChannelMembership { live, slot, .. } = membership;
        let (connection, user, channel) = (self.handle.id(), self.handle.user(), live.name.as_str());
        let (event, request_id) = (message.event(), message.request_id());
        tracing::debug!(target: "pondsocket::message", %connection, %user, channel, event, request_id, "repeat answered");
        self.handle.count(|metrics, me| metrics.message_repeated(me, channel, event));
        let Answered { mut answers, is_forgotten } = answers.get(&live.name, request_id);
        if is_forgotten {
            let mut text = Vec::new();
            let message = "handled before, and the answer is not kept any more";
            server::internal_error(&mut text, request_id, &ErrorPayload { code: 410, message, details: None, channel });
            answers.push(Answer { kind: AnswerKind::Error, text: text.into() });
        }
        for Answer { kind, text } in answers {
            let policy = match kind {
                // The handlers that there are now decide: the answer may be of an earlier server.
                AnswerKind::Reply => live.lobby.policy_of(&text),
                AnswerKind::Error => DeliveryPolicy::CONTROL,
            };
            // An error means that the client is no member any more, or reads so slowly that the channel takes no more for it:
            // then it may repeat the message once more.
            let _ = live.reply(&mut self.changed, &self.handle, *slot, &text, policy);
        }
    }
}
