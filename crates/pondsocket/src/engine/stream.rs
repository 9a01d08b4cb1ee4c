//! Event streams, as requests see them: each message of a stream's client is a request of its own.

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
    /// If the system has no randomness to give.
    pub(crate) fn draw() -> Result<Secret, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Secret(u128::from_ne_bytes(bytes)))
    }

    /// As the client was told it.
    pub(crate) fn reveal(self) -> String {
        format!("{:032x}", self.0)
    }

    /// From what a request says.
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

/// A message that was posted for a stream, or as much of it as has come.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) bytes: Vec<u8>,
    charge: Charge,
}

impl Post {
    pub(crate) fn new(charge: Charge) -> Post {
        Post { bytes: Vec::new(), charge }
    }

    /// Says how large it has become.
    pub(crate) fn account(&mut self) {
        self.charge.set(self.bytes.capacity());
    }
}

/// An open event stream: whose it is, and where its messages come in, one after the other.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) secret: Secret,
    pub(crate) handle: Arc<ConnectionHandle>,
    messages: mpsc::Sender<Post>,
    /// Requests with a message that has not been taken in.
    waiting: Arc<Gauge>,
    closed: AtomicBool,
}

impl Stream {
    /// A stream, and what its connection reads its messages from.
    pub(crate) fn new(secret: Secret, handle: Arc<ConnectionHandle>) -> (Arc<Stream>, mpsc::Receiver<Post>) {
        // One message at a time: the next request waits until it has been read, and so its body does, too.
        let (messages, receiver) = mpsc::channel(1);
        let stream = Stream { secret, handle, messages, waiting: Arc::default(), closed: AtomicBool::new(false) };
        (Arc::new(stream), receiver)
    }

    /// A place to wait for a turn, unless so many do already.
    pub(crate) fn queue(&self, most: usize) -> Option<Permit> {
        self.waiting.permit_below(most)
    }

    /// Waits until it is a message's turn to come in, in the order of these calls. `None` if the stream has ended.
    pub(crate) async fn turn(&self) -> Option<mpsc::Permit<'_, Post>> {
        self.messages.reserve().await.ok()
    }

    /// The client wants no more, or has gone.
    pub(crate) fn close(&self) {
        // Before the wake: the connection's task, which it causes to look, has to see it.
        self.closed.store(true, Ordering::Release);
        self.handle.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Completes when the connection has let go of it: nothing more comes.
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
        // It may be the last reference: what that frees is not freed under the lock.
        drop(removed);
    }

    /// The stream with this secret, if its client is still listened to.
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
