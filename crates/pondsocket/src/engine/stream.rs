//! Event streams, for the requests that belong to them: each message of a client is a request of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::engine::handle::ConnectionHandle;
use crate::engine::sync::Mutex;
use crate::limits::gauge::{Gauge, Permit};
use crate::limits::memory::Charge;

/// The secret that only the client of a stream knows: a request that has it acts for that client. It is 128 bits from the
/// system's source of randomness, looked up in a keyed table, and never logged.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Secret(u128);

impl Secret {
    /// # Errors
    /// If the source of randomness of the system fails.
    pub(crate) fn draw() -> Result<Secret, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Secret(u128::from_ne_bytes(bytes)))
    }

    /// The text form, which the client gets.
    pub(crate) fn reveal(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Parses the text of a header.
    pub(crate) fn parse(text: &[u8]) -> Option<Secret> {
        let text = str::from_utf8(text).ok().filter(|text| text.len() == 32 && !text.starts_with('+'))?;
        u128::from_str_radix(text, 16).ok().map(Secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A posted message, or the part of it that has arrived.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) bytes: Vec<u8>,
    charge: Charge,
}

impl Post {
    pub(crate) fn new(charge: Charge) -> Post {
        Post { bytes: Vec::new(), charge }
    }

    /// Reports its present size.
    pub(crate) fn account(&mut self) {
        self.charge.set(self.bytes.capacity());
    }
}

/// An open event stream: its connection, and the entrance of its messages, one at a time.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) secret: Secret,
    pub(crate) handle: Arc<ConnectionHandle>,
    messages: mpsc::Sender<Post>,
    /// The requests whose messages wait for their turn.
    waiting: Arc<Gauge>,
    closed: AtomicBool,
    /// True if the client has asked for the end.
    deleted: AtomicBool,
}

impl Stream {
    /// Creates a stream, and the receiver from which its connection reads the messages.
    pub(crate) fn new(secret: Secret, handle: Arc<ConnectionHandle>) -> (Arc<Stream>, mpsc::Receiver<Post>) {
        // One message at a time: the body of the next request is not read before this one is taken.
        let (messages, receiver) = mpsc::channel(1);
        let stream = Stream {
            secret,
            handle,
            messages,
            waiting: Arc::default(),
            closed: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
        };
        (Arc::new(stream), receiver)
    }

    /// Returns a place in the queue for a turn, unless `most` requests wait.
    pub(crate) fn queue(&self, most: usize) -> Option<Permit> {
        self.waiting.permit_below(most)
    }

    /// Waits for the turn of a message, in the order of the calls. `None` if the stream has ended.
    pub(crate) async fn turn(&self) -> Option<mpsc::Permit<'_, Post>> {
        self.messages.reserve().await.ok()
    }

    /// Closes the stream, because the client has asked for it.
    pub(crate) fn delete(&self) {
        // Before `close`: a task that sees the stream closed finds the reason. See `was_deleted`.
        self.deleted.store(true, Ordering::Release);
        self.close();
    }

    /// Returns whether the client of a closed stream has asked for that. Else it has gone, or its network has failed.
    pub(crate) fn was_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Closes the stream, because the client has asked for it or has gone.
    pub(crate) fn close(&self) {
        // Before the wake, so that the woken task sees it.
        self.closed.store(true, Ordering::Release);
        self.handle.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Completes when the connection has closed the stream.
    #[cfg(feature = "server")]
    pub(crate) async fn ended(&self) {
        self.messages.closed().await;
    }
}

/// The event streams of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<HashMap<Secret, Arc<Stream>>>);

impl Streams {
    pub(crate) fn add(&self, stream: &Arc<Stream>) {
        self.0.lock().insert(stream.secret, Arc::clone(stream));
    }

    pub(crate) fn remove(&self, secret: Secret) {
        let removed = self.0.lock().remove(&secret);
        // Dropped without the lock, because it may be the last reference and free a whole connection.
        drop(removed);
    }

    /// The stream with this secret, if it is not closed.
    pub(crate) fn find(&self, secret: Secret) -> Option<Arc<Stream>> {
        let stream = self.0.lock().get(&secret).cloned();
        stream.filter(|stream| !stream.is_closed() && stream.handle.is_open())
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_again_only_by_its_whole_text() {
        let secret = Secret::draw().expect("randomness");
        let text = secret.reveal();
        assert_eq!((text.len(), Secret::parse(text.as_bytes())), (32, Some(secret)));
        assert_ne!(Secret::draw().expect("randomness"), secret);
        let longer = format!("0{text}");
        for wrong in ["", &text[1..], &longer, "+0000000000000000000000000000001", "-0000000000000000000000000000001"] {
            assert_eq!(Secret::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Secret::parse(&[0xff; 32]), None);
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
