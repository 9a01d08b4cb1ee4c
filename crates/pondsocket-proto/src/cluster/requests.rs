use super::core::Core;
use super::message::{Body, Ext};
use super::{Answer, Ask, ChannelKey, NodeId, Output, Verdict};

impl Core {
    pub(super) fn ask(&mut self, id: u64, _ask: Ask) {
        self.voice.output(Output::Answered { id, answer: Answer::Unavailable });
    }
    pub(super) fn give_up(&mut self, _id: u64) {}
    pub(super) fn done(&mut self, _id: u64, _verdict: Verdict) {}
    pub(super) fn acknowledged(&mut self, _from: &NodeId, _request: &str, _verdict: Verdict) {}
    pub(super) fn asked(&mut self, _channel: ChannelKey, _ext: Ext, _body: Body) {}
}
