//! Messages that were handled, with their answers, as text: in the file of a restart, and in the record of a session that
//! other nodes read.
//!
//! ```text
//! {"channel":"/shop/1","id":"7d0f..","answers":[["reply",{"action":"SYSTEM","event":"ordered",..}]]}
//! ```

use std::borrow::Cow;

use bytes::Bytes;
use pondsocket_proto::id::ChannelName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message of a client that was handled.
#[derive(Clone, Debug)]
pub(crate) struct HandledMessage {
    pub(crate) channel: ChannelName,
    pub(crate) request_id: Box<str>,
    pub(crate) answered: Answered,
}

/// The answers to one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    pub(crate) answers: Vec<Answer>,
    /// True if there were answers that are not kept any more, or may have been some that are not known.
    pub(crate) is_forgotten: bool,
}

/// An answer to a message.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) kind: AnswerKind,
    pub(crate) text: Bytes,
}

/// The kind of an answer. Outgoing handlers decide about replies only.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnswerKind {
    Reply,
    Error,
}

/// The text of a message.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct HandledRecord<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    /// The texts as they were sent.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<(AnswerKind, &'a RawValue)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    forgotten: bool,
}

impl HandledMessage {
    pub(crate) fn record(&self) -> HandledRecord<'_> {
        let HandledMessage { channel, request_id, answered: Answered { answers, is_forgotten } } = self;
        let texts: Option<Vec<_>> = answers.iter().map(Answer::record).collect();
        // All answers of a server are JSON.
        let forgotten = *is_forgotten || texts.is_none();
        let (channel, id) = (channel.as_str().into(), (&**request_id).into());
        HandledRecord { channel, id, answers: texts.unwrap_or_default(), forgotten }
    }

    /// The message of a record; `None` if its channel is none.
    pub(crate) fn from_record(record: &HandledRecord<'_>, longest_name: usize) -> Option<HandledMessage> {
        let answer = |(kind, text): &(AnswerKind, &RawValue)| Answer {
            kind: *kind,
            text: Bytes::copy_from_slice(text.get().as_bytes()),
        };
        let answered =
            Answered { answers: record.answers.iter().map(answer).collect(), is_forgotten: record.forgotten };
        let channel = ChannelName::new(&record.channel, longest_name).ok()?;
        Some(HandledMessage { channel, request_id: (&*record.id).into(), answered })
    }
}

impl Answer {
    fn record(&self) -> Option<(AnswerKind, &RawValue)> {
        Some((self.kind, serde_json::from_slice(&self.text).ok()?))
    }
}

impl Answered {
    pub(crate) fn bytes(&self) -> usize {
        self.answers.iter().map(|answer| answer.text.len()).sum()
    }

    /// Forgets the answers. Returns their bytes.
    pub(crate) fn forget(&mut self) -> usize {
        let bytes = self.bytes();
        self.is_forgotten |= !self.answers.is_empty();
        self.answers = Vec::new();
        bytes
    }
}
