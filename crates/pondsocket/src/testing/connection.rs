//! A client's connection, the task that alone reads and writes it, and the requests that wait for answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use super::error::{Awaited, CallError, Failure, Rejection};
use super::events::Events;
use super::inbox::{Closed, End, Inbox};
use super::received::Received;
use crate::engine::sync::Mutex;

/// The most messages that may wait to be written. Sending does not wait, so a test that sends more without awaiting anything
/// panics.
const MAX_UNSENT: usize = 16_384;

/// The timeouts of a client's waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// The longest wait for a message.
    pub(super) deadline: Duration,
    /// The time without messages after which silence is assumed.
    pub(super) silence: Duration,
}

/// The transport of a connected client, before its task has started.
pub(super) enum ClientTransport {
    WebSocket(Box<WebSocketStream<TokioIo<Upgraded>>>),
    Events(Box<Events>),
}

/// The connection, as shared by a client and its rooms. It ends, without a close frame, when the last of them is dropped.
#[derive(Debug)]
pub(super) struct ClientConnection {
    incoming: Arc<SharedInbox>,
    outgoing: mpsc::Sender<Message>,
    timeouts: Timeouts,
    requests: AtomicU64,
}

/// The inbox that the connection's task fills, and the signal for waits that it has changed.
#[derive(Debug, Default)]
pub(super) struct SharedInbox {
    inbox: Mutex<Inbox>,
    changed: Notify,
}

impl ClientConnection {
    /// Starts a task on the current runtime that sorts incoming messages into `inbox`.
    pub(super) fn new(opened: ClientTransport, inbox: Inbox, timeouts: Timeouts) -> ClientConnection {
        let (outgoing, to_send) = mpsc::channel(MAX_UNSENT);
        let incoming = Arc::new(SharedInbox { inbox: Mutex::new(inbox), changed: Notify::new() });
        let sorted = Arc::clone(&incoming);
        tokio::spawn(async move {
            match opened {
                ClientTransport::WebSocket(socket) => drive(*socket, to_send, &sorted).await,
                ClientTransport::Events(events) => events.drive(to_send, &sorted).await,
            }
        });
        ClientConnection { incoming, outgoing, timeouts, requests: AtomicU64::new(0) }
    }

    /// Calls a function with the inbox, under its lock.
    pub(super) fn with<A>(&self, access: impl FnOnce(&mut Inbox) -> A) -> A {
        access(&mut self.incoming.inbox.lock())
    }

    /// Returns a request id that no other message of the client has.
    pub(super) fn request_id(&self) -> String {
        format!("test-{}", self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Queues a message. On a connection that has ended it is lost, and the test's next wait reports the end.
    #[track_caller]
    pub(super) fn send(
        &self,
        action: &str,
        event: &str,
        channel: &str,
        request_id: &str,
        payload: &(impl Serialize + ?Sized),
    ) {
        let payload =
            serde_json::to_value(payload).unwrap_or_else(|error| panic!("the payload cannot be serialised: {error}"));
        let message = json!({
            "action": action, "event": event, "channelName": channel, "requestId": request_id, "payload": payload,
        });
        self.push(Message::text(message.to_string()));
    }

    /// Queues a close frame.
    #[track_caller]
    pub(super) fn close(&self, code: u16) {
        self.push(Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() })));
    }

    #[track_caller]
    fn push(&self, message: Message) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.outgoing.try_send(message) {
            panic!("{MAX_UNSENT} messages wait to be sent: await something between them");
        }
    }

    /// Waits until `take` finds something in the inbox. Fails at the end of the connection, and at the deadline.
    pub(super) async fn wait<A>(
        &self,
        awaited: &Awaited,
        mut take: impl FnMut(&mut Inbox) -> Option<A>,
    ) -> Result<A, Failure> {
        let deadline = self.timeouts.deadline;
        let why = match timeout(deadline, self.incoming.find(&mut take)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(end)) => end.to_string(),
            Err(_) => format!("not within {deadline:?}"),
        };
        Err(self.fail(awaited, why))
    }

    /// Waits for the time of silence, in which `take` must find nothing; otherwise returns what it has found. The end of the
    /// connection is silence, too, unless it is a fault.
    pub(super) async fn silence(&self, mut take: impl FnMut(&mut Inbox) -> Option<String>) -> Result<(), String> {
        match timeout(self.timeouts.silence, self.incoming.find(&mut take)).await {
            Err(_) | Ok(Err(End::Closed(_))) => Ok(()),
            Ok(Err(End::Fault(found)) | Ok(found)) => Err(found),
        }
    }

    /// Makes the failure of a wait, with the frames received last.
    pub(super) fn fail(&self, awaited: &Awaited, why: impl Into<String>) -> Failure {
        Failure::new(awaited.clone(), why, self.with(|inbox| inbox.recent()))
    }
}

impl SharedInbox {
    /// Waits until `take` finds something. Fails when the connection has ended and nothing is found.
    async fn find<A>(&self, take: &mut impl FnMut(&mut Inbox) -> Option<A>) -> Result<A, End> {
        loop {
            // Created before the check: a message that is sorted in between must wake this wait.
            let changed = self.changed.notified();
            if let Some(result) = self.check(take) {
                return result;
            }
            changed.await;
        }
    }

    fn check<A>(&self, take: &mut impl FnMut(&mut Inbox) -> Option<A>) -> Option<Result<A, End>> {
        let mut inbox = self.inbox.lock();
        take(&mut inbox).map(Ok).or_else(|| inbox.ended().cloned().map(Err))
    }

    /// Changes the inbox, and wakes all waits.
    pub(super) fn change(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock());
        self.changed.notify_waiters();
    }
}

/// Reads and writes concurrently. If writing kept this end from reading, and the server likewise, two full streams would wait
/// for each other forever.
async fn drive<S>(socket: WebSocketStream<S>, outgoing: mpsc::Receiver<Message>, incoming: &SharedInbox)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, stream) = socket.split();
    tokio::select! {
        end = read(stream, incoming) => incoming.change(|inbox| inbox.end(end)),
        // The client and its rooms have been dropped, and with this the socket.
        () = write(sink, outgoing) => {}
    }
}

/// Reads until the connection ends.
async fn read(
    mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    incoming: &SharedInbox,
) -> End {
    let mut closed = Closed { code: None, reason: String::new() };
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Text(text)) => incoming.change(|inbox| inbox.receive(&text)),
            Ok(Message::Binary(_)) => return End::Fault("a client would reject a binary message".into()),
            Ok(Message::Close(Some(frame))) => {
                closed = Closed { code: Some(frame.code.into()), reason: frame.reason.to_string() };
            }
            // tungstenite answers pings itself.
            Ok(_) => {}
            Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => break,
            Err(tungstenite::Error::Io(_) | tungstenite::Error::ConnectionClosed) => break,
            Err(error) => return End::Fault(format!("a client would fail: {error}")),
        }
    }
    End::Closed(closed)
}

/// Writes until all senders have been dropped.
async fn write(mut sink: impl Sink<Message> + Unpin, mut outgoing: mpsc::Receiver<Message>) {
    while let Some(message) = outgoing.recv().await {
        // An error after a close frame is expected; the reason of any other one is found by the reader.
        let _ = sink.send(message).await;
    }
}

/// A request whose answer is awaited. Its drop ends the wait: a later answer is a message as any other.
#[derive(Debug)]
pub(super) struct PendingCall {
    connection: Arc<ClientConnection>,
    request_id: String,
}

impl PendingCall {
    /// Registers a request before it is sent, so that its answer cannot be missed.
    pub(super) fn new(connection: &Arc<ClientConnection>) -> PendingCall {
        let request_id = connection.request_id();
        connection.with(|inbox| inbox.expect_answer(&request_id));
        PendingCall { connection: Arc::clone(connection), request_id }
    }

    /// Registers a join, and a mailbox that opens with its acknowledgement.
    pub(super) fn join(connection: &Arc<ClientConnection>, channel: &str) -> (PendingCall, u64) {
        let request_id = connection.request_id();
        let mailbox = connection.with(|inbox| inbox.open_once_joined(channel, &request_id));
        (PendingCall { connection: Arc::clone(connection), request_id }, mailbox)
    }

    /// Sends the message.
    #[track_caller]
    pub(super) fn send(&self, action: &str, event: &str, channel: &str, payload: &impl Serialize) {
        self.connection.send(action, event, channel, &self.request_id, payload);
    }

    /// Waits for the answer.
    pub(super) async fn answer(self, awaited: &Awaited) -> Result<Received, CallError> {
        let PendingCall { connection, request_id } = &self;
        let answer = connection.wait(awaited, |inbox| inbox.answer(request_id)).await?;
        if answer.is_error() {
            return Err(CallError::Rejected(Rejection::new(awaited.clone(), &answer.payload)));
        }
        Ok(answer)
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.connection.with(|inbox| inbox.forget(&self.request_id));
    }
}
