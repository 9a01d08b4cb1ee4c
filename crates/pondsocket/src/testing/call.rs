use std::sync::Arc;

use serde::Serialize;

use super::error::{Asked, CallError, Rejection};
use super::line::Line;
use super::received::Received;

/// A message whose answer is awaited. When this is dropped, nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Call {
    line: Arc<Line>,
    request_id: String,
}

impl Call {
    /// Asks for an answer to a message that is about to be sent.
    pub(super) fn new(line: &Arc<Line>) -> Call {
        let request_id = line.request_id();
        line.with(|inbox| inbox.ask(&request_id));
        Call { line: Arc::clone(line), request_id }
    }

    /// With the answer, if it is an acknowledgement, a mailbox for the channel opens.
    pub(super) fn opening(line: &Arc<Line>, channel: &str) -> (Call, u64) {
        let request_id = line.request_id();
        let mailbox = line.with(|inbox| inbox.open_once_joined(channel, &request_id));
        (Call { line: Arc::clone(line), request_id }, mailbox)
    }

    /// Sends the message.
    #[track_caller]
    pub(super) fn send(&self, action: &str, event: &str, channel: &str, payload: &impl Serialize) {
        self.line.send(action, event, channel, &self.request_id, payload);
    }

    /// Waits for the answer.
    pub(super) async fn answer(self, asked: &Asked) -> Result<Received, CallError> {
        let Call { line, request_id } = &self;
        let answer = line.wait(asked, |inbox| inbox.answer(request_id)).await?;
        if answer.is_error() {
            return Err(CallError::Rejected(Rejection::new(asked.clone(), &answer.payload)));
        }
        Ok(answer)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.line.with(|inbox| inbox.forget(&self.request_id));
    }
}
