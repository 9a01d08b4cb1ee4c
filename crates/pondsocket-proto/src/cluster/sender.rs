use std::sync::Arc;

use super::context::{Context, Destination, Draft};
use super::message::Envelope;
use super::random::Random;
use super::{NodeId, Output, Settings, Topics};
use crate::id::RequestId;

/// The last stage of a message in the core: its signature, id and topics.
#[derive(Debug)]
pub(super) struct Sender {
    source: Arc<str>,
    topics: Topics,
    random: Random,
}

impl Sender {
    pub(super) fn new(settings: &Settings, random: Random) -> Sender {
        Sender { source: settings.node.source().into(), topics: settings.topics.clone(), random }
    }

    /// Signs as this incarnation of the node from now on.
    pub(super) fn adopt(&mut self, node: &NodeId) {
        self.source = node.source().into();
    }

    pub(super) fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Appends one publication for each topic of the message. While the bus is down there is none: when it is back,
    /// nodes exchange the present state, which includes the changes of that time.
    pub(super) fn send(&mut self, draft: Draft, cx: &Context, out: &mut Vec<Output>) {
        let Draft { to, channel, body, ext } = draft;
        let id = RequestId::from_u128(self.random.draw_id()).as_str().into();
        let source = self.source.clone();
        let message = Envelope { id, source, channel, timestamp: cx.now, body, ext: Some(ext) };
        if !cx.is_connected() {
            return;
        }
        let topic = |destination| match destination {
            Destination::Channel(channel) => self.topics.channel(&channel),
            Destination::Inbox(node) => self.topics.inbox(&node),
            Destination::Cluster => self.topics.cluster(),
            Destination::Heartbeat => self.topics.heartbeat(),
        };
        let mut topics: Vec<_> = to.into_iter().map(topic).collect();
        // The last publication takes the message itself: most messages have one topic and are never cloned.
        let Some(last) = topics.pop() else { return };
        let copies = topics.into_iter().map(|topic| Output::Publish { topic, message: Box::new(message.clone()) });
        out.extend(copies);
        out.push(Output::Publish { topic: last, message: Box::new(message) });
    }
}
