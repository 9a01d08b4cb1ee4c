//! The server side of the WebSocket protocol (RFC 6455) and of `permessage-deflate` (RFC 7692), without I/O.
//!
//! Bytes from the socket go into a [`Decoder`], which returns [`Event`]s; [`encode()`] and [`Deflater`] append complete
//! frames to a buffer. [`accept`] checks the HTTP request for the upgrade. Nothing here waits, sends, or reads a clock:
//! the caller answers pings and close frames, and closes the connection of a silent peer.
//!
//! A connection that is idle holds no memory besides its [`Decoder`]. The temporary buffers are in a [`Scratch`] that
//! all connections of a thread share.
//!
//! ```
//! use pondsocket_proto::ws::{Decoder, Event, DecoderLimits, Scratch, encode, Opcode};
//!
//! let mut decoder = Decoder::new(DecoderLimits { max_message_size: 1024 }, None);
//! let mut scratch = Scratch::default();
//! let mut received = *b"\x81\x85\x01\x02\x03\x04\x69\x67\x6f\x68\x6e"; // "hello", masked as clients must
//! let mut answer = Vec::new();
//!
//! let mut input = decoder.feed(&mut received, &mut scratch);
//! while let Some(event) = input.next() {
//!     match event {
//!         Ok(Event::Text(text)) => encode(Opcode::Text, text.as_bytes(), &mut answer),
//!         Ok(_) => {}
//!         Err(error) => panic!("close the connection with {}: {error}", error.close_code()),
//!     }
//! }
//! drop(input);
//!
//! assert_eq!(answer, b"\x81\x05hello");
//! assert_eq!(decoder.buffered(), 0);
//! ```
//!
//! Deliberately absent: the client role, extensions other than `permessage-deflate`, context takeover (its window would
//! cost every connection hundreds of kilobytes), and the choice of a subprotocol.

mod handshake;
mod negotiation;

mod decoder;
mod error;
mod event;

mod header;
mod mask;
mod message;
mod partial;
mod utf8;

mod close;
mod inflate;

mod deflate;
mod encode;

pub use close::CloseFrame;
pub use decoder::{Decoder, DecoderLimits, Events};
pub use deflate::Deflater;
pub use encode::{Opcode, encode, encode_close};
pub use error::ProtocolError;
pub use event::Event;
pub use handshake::{Handshake, Refusal, accept, accept_parts, is_upgrade, subprotocols};
pub use inflate::Scratch;
pub use negotiation::Deflate;
