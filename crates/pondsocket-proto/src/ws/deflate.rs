//! Compression of whole messages (RFC 7692 section 7.2.1).

use flate2::{Compress, Compression, FlushCompress};

use super::encode::{Opcode, encode};
use super::header;

/// The compression buffer a [`Deflater`] keeps between messages.
const KEPT_OUTPUT: usize = 64 * 1024;

/// The last bytes of a flush, which the sender cuts off (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Compresses messages one by one, without context takeover, so that a frame suits every connection whose
/// [window](super::Deflate::window_bits) is at least this one's.
///
/// Holds 250 to 380 KB: a server keeps one per thread and window size, not one per connection.
#[derive(Debug)]
pub struct Deflater {
    compressor: Compress,
    output: Vec<u8>,
}

impl Deflater {
    /// # Panics
    ///
    /// If `window_bits` is not within 9 to 15.
    pub fn new(window_bits: u8) -> Self {
        // `false`: RFC 7692 section 7.2.1 has raw DEFLATE, without zlib's header. A fast level, because compression is
        // a part of delivery, and all recipients of a batch wait for it.
        let compressor = Compress::new_with_window_bits(Compression::fast(), false, window_bits);
        Self { compressor, output: Vec::new() }
    }

    /// Appends a frame to `out`: a compressed one, even in the rare case in which compression makes it larger. The
    /// caller decides which messages to compress; it is hardly worth it below some 300 bytes. Control frames are never
    /// compressed (RFC 7692 section 6.1).
    pub fn encode(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        if opcode.is_control() {
            return encode(opcode, payload, out);
        }
        let deflated = self.deflate(payload);
        out.reserve(header::MAX_LEN + deflated.len());
        header::write(opcode.bits(), true, deflated.len(), out);
        out.extend_from_slice(deflated);
        // One large message must not keep its buffer for the life of the thread.
        if self.output.capacity() > KEPT_OUTPUT {
            self.output = Vec::new();
        }
    }

    fn deflate(&mut self, mut payload: &[u8]) -> &[u8] {
        // No context takeover: no message depends on an earlier one.
        self.compressor.reset();
        self.output.clear();
        loop {
            // An estimate; a payload that compresses less takes another turn of the loop.
            self.output.reserve(payload.len() / 2 + 64);
            let before = self.compressor.total_in();
            self.compressor
                .compress_vec(payload, &mut self.output, FlushCompress::Sync)
                .expect("flushing a stream that has not ended");
            payload = &payload[(self.compressor.total_in() - before) as usize..];
            // zlib has flushed everything only if it has left room in the output: a full buffer may hide pending
            // output.
            if self.output.len() < self.output.capacity() {
                return self.output.strip_suffix(&TAIL).expect("the end of a flush");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(deflater: &mut Deflater, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        deflater.encode(Opcode::Binary, payload, &mut out);
        out
    }

    #[test]
    fn the_buffer_is_kept_for_the_next_message_unless_it_was_a_large_one() {
        let mut deflater = Deflater::new(15);
        encode(&mut deflater, &[7; 100_000]);
        let half = deflater.output.capacity();
        assert!((50_000..55_000).contains(&half), "messages shrink to half: {half}");
        encode(&mut deflater, b"small");
        assert_eq!(deflater.output.capacity(), half);
        encode(&mut deflater, &[7; 1 << 20]);
        assert_eq!(deflater.output.capacity(), 0);
        deflater.output = Vec::with_capacity(KEPT_OUTPUT);
        encode(&mut deflater, b"small");
        assert_eq!(deflater.output.capacity(), 64 * 1024);
    }

    #[test]
    fn a_frame_takes_as_much_room_as_it_needs() {
        let mut deflater = Deflater::new(15);
        let out = encode(&mut deflater, &[7; 100_000]);
        assert!((100..2000).contains(&out.len()), "{}", out.len());
        assert!(out.capacity() <= out.len() + header::MAX_LEN, "{}", out.capacity());
    }

    #[test]
    #[should_panic]
    fn a_window_of_eight_bits_panics() {
        Deflater::new(8);
    }
}
