//! Received payloads that are not JSON objects, and the code of the error when such a payload is sent on.
//!
//! A client may send any JSON value, but only objects can be sent to clients. If an application reads the payload as
//! any value and sends it on, the client is at fault: 400. For any other value that is not an object the application
//! is: 500. It is the client if both hold: the type as which the payload was read accepts an object, too (as
//! `serde_json::Value` does, and `Vec<String>` does not), and the value that is sent equals the payload.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use pondsocket_proto::wire::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decode::from_client;
use crate::error::{Error, Result, encoding};

/// The payload of a received message, if it is not an object. For an object nothing is kept and nothing is allocated.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedPayload(Option<Arc<NonObject>>);

#[derive(Debug)]
struct NonObject {
    text: Box<str>,
    /// Set when the payload was read as a type that an object also decodes to.
    read_as_any: AtomicBool,
}

impl ReceivedPayload {
    pub(crate) fn new(payload: &str) -> ReceivedPayload {
        let non_object = |text: &str| Arc::new(NonObject { text: text.into(), read_as_any: AtomicBool::new(false) });
        ReceivedPayload((!payload.starts_with('{')).then(|| non_object(payload)))
    }

    /// Decodes a payload: the received one, or one by which a layer has replaced it.
    pub(crate) fn decode<T: DeserializeOwned>(&self, payload: &str) -> Result<T> {
        let value = from_client("payload", payload)?;
        if let Some(received) = &self.0
            && !payload.starts_with('{')
            // Serde cannot be asked which types a value accepts, so the type is tried with an empty object.
            && serde_json::from_str::<T>("{}").is_ok()
        {
            // Relaxed: the flag guards no other memory.
            received.read_as_any.store(true, Ordering::Relaxed);
        }
        Ok(value)
    }

    /// Returns the error for a `value` that could not be encoded: 400 if it is the payload of the client.
    pub(crate) fn explain<T: Serialize + ?Sized>(&self, value: &T, error: EncodeError) -> Error {
        if matches!(error, EncodeError::NotAnObject) && self.equals_payload(value) {
            return Error::bad_request("invalid payload: not a JSON object");
        }
        encoding(error)
    }

    /// Returns `true` if a value is the payload, and the payload was read as a type that accepts objects, too.
    fn equals_payload<T: Serialize + ?Sized>(&self, value: &T) -> bool {
        let Some(received) = self.0.as_ref().filter(|received| received.read_as_any.load(Ordering::Relaxed)) else {
            return false;
        };
        // Compared as values: the payload was decoded and encoded again, so its text may differ. This runs only for an
        // error.
        let sent = serde_json::to_value(value).ok();
        sent.is_some() && sent == serde_json::from_str::<Value>(&received.text).ok()
    }

    /// Returns a weak reference, for values that may outlive the message: they must not keep its payload in memory.
    pub(crate) fn downgrade(&self) -> ReceivedPayloadRef {
        ReceivedPayloadRef(self.0.as_ref().map(Arc::downgrade))
    }
}

/// A reference to a payload that is valid only while its message is being handled.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedPayloadRef(Option<Weak<NonObject>>);

impl ReceivedPayloadRef {
    /// The payload, if its message is still being handled.
    pub(crate) fn upgrade(&self) -> ReceivedPayload {
        ReceivedPayload(self.0.as_ref().and_then(Weak::upgrade))
    }
}
