//! How messages become bytes of a connection. A message is framed once per framing in use, not once per receiver.

use std::cell::RefCell;

use pondsocket_proto::ws::{self, Deflater, Opcode};

/// Messages shorter than this are not compressed: there is little to gain, and each costs microseconds.
const COMPRESS_FROM: usize = 256;

/// A wire encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    /// WebSocket text frames.
    Plain,
    /// Compressed WebSocket frames (RFC 7692) with this window.
    Deflate { window_bits: u8 },
}

thread_local! {
    /// One compressor per window in use: each holds some 250 to 380 KB.
    static DEFLATERS: RefCell<Vec<(u8, Deflater)>> = const { RefCell::new(Vec::new()) };
}

impl Framing {
    /// Appends the frame of one message.
    pub(crate) fn encode(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Framing::Deflate { window_bits } if text.len() >= COMPRESS_FROM => DEFLATERS.with_borrow_mut(|deflaters| {
                let known = deflaters.iter().position(|(bits, _)| *bits == window_bits);
                let at = known.unwrap_or_else(|| {
                    deflaters.push((window_bits, Deflater::new(window_bits)));
                    deflaters.len() - 1
                });
                deflaters[at].1.encode(Opcode::Text, text, out);
            }),
            _ => ws::encode(Opcode::Text, text, out),
        }
    }

    /// The frame of one message.
    pub(crate) fn frame(self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 10);
        self.encode(text, &mut out);
        out
    }
}
