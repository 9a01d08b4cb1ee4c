//! Decompression of whole messages (RFC 7692 section 7.2.2), bounded.

use flate2::{Decompress, FlushDecompress, Status};

use super::{DecoderLimits, ProtocolError};

/// The most bytes of output that a [`Scratch`] keeps. A larger message has a larger buffer until its event is dropped.
const KEPT_OUTPUT: usize = 64 * 1024;

/// The four bytes that the sender has cut off and the receiver appends (RFC 7692 section 7.2.2), and an empty final
/// block. The inflater reaches that block only if the message ended at the end of a block: so a truncated message is
/// recognised.
const TAIL: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// Working memory of decoders: the inflater, created when first needed (48 KB), and its output.
///
/// Any number of connections can share one, one after the other; a server keeps one per thread.
#[derive(Debug, Default)]
pub struct Scratch {
    inflater: Option<Decompress>,
    output: Vec<u8>,
}

impl Scratch {
    /// Inflates a message that depends on no other one (`client_no_context_takeover`).
    pub(super) fn inflate(&mut self, message: &[u8], limits: DecoderLimits) -> Result<&[u8], ProtocolError> {
        self.output.clear();
        let inflater = self.inflater.get_or_insert_with(|| Decompress::new(false));
        inflater.reset(false);
        let mut run = Inflation { inflater, output: &mut self.output, limit: limits.max_message_size };
        // RFC 7692 section 7.2.3.4: a message may end with a final block; then no bytes were cut off, and none are
        // appended.
        if run.consume(message)? != Status::StreamEnd && run.consume(&TAIL)? != Status::StreamEnd {
            return Err(ProtocolError::InvalidDeflate);
        }
        Ok(&self.output)
    }

    /// Frees the buffer of a large message.
    pub(super) fn trim(&mut self) {
        if self.output.capacity() > KEPT_OUTPUT {
            self.output = Vec::new();
        }
    }
}

struct Inflation<'a> {
    inflater: &'a mut Decompress,
    output: &'a mut Vec<u8>,
    limit: usize,
}

impl Inflation<'_> {
    /// Inflates all of `input` and returns the state after its last byte.
    fn consume(&mut self, mut input: &[u8]) -> Result<Status, ProtocolError> {
        loop {
            // The buffer grows with the input, and doubles while it is full: memory is bounded by the limit, not by
            // the inflated size of a bomb.
            self.output.reserve(input.len().max(64));
            let before = self.inflater.total_in();
            let status = self
                .inflater
                .decompress_vec(input, self.output, FlushDecompress::None)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            // Checked after each step, which adds at most the spare capacity: a bomb is stopped near the limit.
            if self.output.len() > self.limit {
                return Err(ProtocolError::TooLarge { limit: self.limit });
            }
            input = &input[(self.inflater.total_in() - before) as usize..];
            // With a full output the inflater may have more to write, also when all input has been read.
            let output_full = self.output.len() == self.output.capacity();
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(status),
                // RFC 7692 section 7.2.3.4: blocks that follow a final one are inflated as a new stream.
                Status::StreamEnd => self.inflater.reset(false),
                Status::Ok | Status::BufError if input.is_empty() && !output_full => {
                    return Ok(status);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    #[test]
    fn the_output_buffer_is_kept_unless_it_was_a_large_one() {
        let mut scratch = Scratch::default();
        for (capacity, kept) in [(1000, 1000), (64 * 1024, 64 * 1024), (64 * 1024 + 1, 0)] {
            scratch.output = Vec::with_capacity(capacity);
            scratch.trim();
            assert_eq!(scratch.output.capacity(), kept);
        }
    }

    #[test]
    fn a_message_may_fill_the_buffer_to_the_last_byte() {
        // Stored blocks, so that one knows how long the output is; the inflater is given 64 bytes of room at least.
        for length in 0..200u8 {
            let text = vec![b'x'; length.into()];
            let message = [&[0x00, length, 0, !length, 0xff][..], &text, &[0x00]].concat();
            let mut scratch = Scratch::default();
            assert_eq!(scratch.inflate(&message, DecoderLimits { max_message_size: length.into() }), Ok(&text[..]));
        }
    }

    #[test]
    fn a_final_block_may_have_output_to_come_when_all_of_it_is_read() {
        let mut compress = Compress::new(Compression::best(), false);
        for prefix in 0..8 {
            for length in 0..300 {
                // Bytes that cost nine bits, so that the last code ends anywhere within the last byte.
                let text = [&vec![0xf0; prefix][..], &vec![b'x'; length]].concat();
                let mut message = Vec::with_capacity(100);
                compress.reset();
                compress.compress_vec(&text, &mut message, FlushCompress::Finish).expect("room");
                let mut scratch = Scratch::default();
                assert_eq!(scratch.inflate(&message, DecoderLimits { max_message_size: 400 }), Ok(&text[..]));
            }
        }
    }
}
