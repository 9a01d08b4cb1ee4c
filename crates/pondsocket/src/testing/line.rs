//! A connection and the task that owns it: the only one that reads, and the only one that writes.

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

use super::error::{Asked, Failure};
use super::events::Events;
use super::inbox::{Closed, End, Inbox};
use crate::engine::sync::Mutex;

/// The most messages that may wait to be sent. Sending does not wait, so a test that sends more without awaiting
/// anything fails, with a message that says so.
const OUTGOING: usize = 16_384;

/// The times that a test waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The longest wait for a message.
    pub(super) deadline: Duration,
    /// The time for which no message may come, to assert silence.
    pub(super) silence: Duration,
}

/// The transport of a connected client.
pub(super) enum Opened {
    WebSocket(Box<WebSocketStream<TokioIo<Upgraded>>>),
    Events(Box<Events>),
}

/// The connection as shared by a client and its rooms. It ends, without a close frame, when the last of them goes.
#[derive(Debug)]
pub(super) struct Line {
    incoming: Arc<Incoming>,
    outgoing: mpsc::Sender<Message>,
    patience: Patience,
    requests: AtomicU64,
}

/// The inbox that the reading task fills, and the signal that its content has changed.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    inbox: Mutex<Inbox>,
    changed: Notify,
}

impl Line {
    /// Starts a task on the current runtime that sorts incoming messages into `inbox`.
    pub(super) fn new(opened: Opened, inbox: Inbox, patience: Patience) -> Line {
        let (outgoing, to_send) = mpsc::channel(OUTGOING);
        let incoming = Arc::new(Incoming { inbox: Mutex::new(inbox), changed: Notify::new() });
        let sorted = Arc::clone(&incoming);
        tokio::spawn(async move {
            match opened {
                Opened::WebSocket(socket) => drive(*socket, to_send, &sorted).await,
                Opened::Events(events) => events.drive(to_send, &sorted).await,
            }
        });
        Line { incoming, outgoing, patience, requests: AtomicU64::new(0) }
    }

    /// Looks into the inbox, or changes it.
    pub(super) fn with<A>(&self, act: impl FnOnce(&mut Inbox) -> A) -> A {
        act(&mut self.incoming.inbox.lock())
    }

    /// A request id that no other message of the client has.
    pub(super) fn request_id(&self) -> String {
        format!("test-{}", self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Queues a message. On a connection that has ended it is lost: whatever the test then waits for says so.
    #[track_caller]
    pub(super) fn send(
        &self,
        action: &str,
        event: &str,
        channel: &str,
        request_id: &str,
        payload: &(impl Serialize + ?Sized),
    ) {
        let payload = serde_json::to_value(payload).unwrap_or_else(|error| panic!("not a payload: {error}"));
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
            panic!("{OUTGOING} messages wait to be sent: await something in between");
        }
    }

    /// Waits until `take` finds something in the inbox, until the connection ends, or until the deadline.
    pub(super) async fn wait<A>(
        &self,
        asked: &Asked,
        mut take: impl FnMut(&mut Inbox) -> Option<A>,
    ) -> Result<A, Failure> {
        let deadline = self.patience.deadline;
        let why = match timeout(deadline, self.incoming.find(&mut take)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(end)) => end.to_string(),
            Err(_) => format!("not within {deadline:?}"),
        };
        Err(self.fail(asked, why))
    }

    /// Listens for a while in which `take` must find nothing; else answers what it was. The end of the connection is
    /// silence too, unless it is a fault.
    pub(super) async fn silence(&self, mut take: impl FnMut(&mut Inbox) -> Option<String>) -> Result<(), String> {
        match timeout(self.patience.silence, self.incoming.find(&mut take)).await {
            Err(_) | Ok(Err(End::Closed(_))) => Ok(()),
            Ok(Err(End::Fault(noise)) | Ok(noise)) => Err(noise),
        }
    }

    /// Makes the failure of a test that has waited in vain.
    pub(super) fn fail(&self, asked: &Asked, why: impl Into<String>) -> Failure {
        Failure::new(asked.clone(), why, self.with(|inbox| inbox.recent()))
    }
}

impl Incoming {
    /// Waits until `take` finds something, or answers why it never will.
    async fn find<A>(&self, take: &mut impl FnMut(&mut Inbox) -> Option<A>) -> Result<A, End> {
        loop {
            // Made before the look: what comes in between wakes it.
            let changed = self.changed.notified();
            if let Some(settled) = self.look(take) {
                return settled;
            }
            changed.await;
        }
    }

    fn look<A>(&self, take: &mut impl FnMut(&mut Inbox) -> Option<A>) -> Option<Result<A, End>> {
        let mut inbox = self.inbox.lock();
        take(&mut inbox).map(Ok).or_else(|| inbox.ended().cloned().map(Err))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock());
        self.changed.notify_waiters();
    }
}

/// Reads and writes side by side: neither may keep the other waiting, or two full pipes would wait for each other.
async fn drive<S>(socket: WebSocketStream<S>, outgoing: mpsc::Receiver<Message>, incoming: &Incoming)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, stream) = socket.split();
    tokio::select! {
        end = read(stream, incoming) => incoming.change(|inbox| inbox.end(end)),
        // Nobody is left who could ask for anything: the socket is dropped.
        () = write(sink, outgoing) => {}
    }
}

/// Reads until the connection ends.
async fn read(mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin, incoming: &Incoming) -> End {
    let mut closed = Closed { code: None, reason: String::new() };
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Text(text)) => incoming.change(|inbox| inbox.receive(&text)),
            Ok(Message::Binary(_)) => return End::Fault("a client would reject a binary message".into()),
            Ok(Message::Close(Some(frame))) => {
                closed = Closed { code: Some(frame.code.into()), reason: frame.reason.to_string() };
            }
            // Pings are answered by the codec.
            Ok(_) => {}
            Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => break,
            Err(tungstenite::Error::Io(_) | tungstenite::Error::ConnectionClosed) => break,
            Err(error) => return End::Fault(format!("a client would fail: {error}")),
        }
    }
    End::Closed(closed)
}

/// Writes until nobody can send any more.
async fn write(mut sink: impl Sink<Message> + Unpin, mut outgoing: mpsc::Receiver<Message>) {
    while let Some(message) = outgoing.recv().await {
        // Behind a close frame nothing is sent. If the connection is gone the reader learns why.
        let _ = sink.send(message).await;
    }
}
