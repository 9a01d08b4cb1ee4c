//! Payloads that are no JSON object, and whose mistake it is when one is sent on.
//!
//! A client may send any JSON value, but only objects can be sent to clients. When an application takes the payload as
//! whatever it is and sends it on, the client has chosen the value: 400. Any other value that is no object is the
//! application's: 500. Two things tell them apart: the type that the payload was read as takes an object just as well (as
//! `serde_json::Value` does, and `Vec<String>` does not), and the value that is sent is the payload.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use pondsocket_proto::wire::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decode::from_client;
use crate::error::{Error, Result, encoding};

/// The payload of a message, if it is no object; nothing else is kept, and nothing is allocated for an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Option<Arc<NonObject>>);

#[derive(Debug)]
struct NonObject {
    text: Box<str>,
    /// Set when the payload was read as a type that an object also decodes to.
    is_taken: AtomicBool,
}

impl Received {
    pub(crate) fn new(payload: &str) -> Received {
        let non_object = |text: &str| Arc::new(NonObject { text: text.into(), is_taken: AtomicBool::new(false) });
        Received((!payload.starts_with('{')).then(|| non_object(payload)))
    }

    /// Reads a payload, which may be what a layer has put in the place of the one received.
    pub(crate) fn read<T: DeserializeOwned>(&self, payload: &str) -> Result<T> {
        let value = from_client("payload", payload)?;
        if let Some(received) = &self.0
            && !payload.starts_with('{')
            && serde_json::from_str::<T>("{}").is_ok()
        {
            received.is_taken.store(true, Ordering::Relaxed);
        }
        Ok(value)
    }

    /// The error with which `value` could not be sent: the client's if it is what the client has sent.
    pub(crate) fn explain<T: Serialize + ?Sized>(&self, value: &T, error: EncodeError) -> Error {
        if matches!(error, EncodeError::NotAnObject) && self.is_of_client(value) {
            return Error::bad_request("invalid payload: not a JSON object");
        }
        encoding(error)
    }

    fn is_of_client<T: Serialize + ?Sized>(&self, value: &T) -> bool {
        let Some(received) = self.0.as_ref().filter(|received| received.is_taken.load(Ordering::Relaxed)) else {
            return false;
        };
        let sent = serde_json::to_value(value).ok();
        sent.is_some() && sent == serde_json::from_str::<Value>(&received.text).ok()
    }

    /// A weak reference for values that may outlive the message, so that they do not keep the payload alive.
    pub(crate) fn downgrade(&self) -> ReceivedRef {
        ReceivedRef(self.0.as_ref().map(Arc::downgrade))
    }
}

/// A payload that is kept only while its message is being handled.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedRef(Option<Weak<NonObject>>);

impl ReceivedRef {
    /// The payload, if its message is still being handled.
    pub(crate) fn upgrade(&self) -> Received {
        Received(self.0.as_ref().and_then(Weak::upgrade))
    }
}
