//! The body of a response in chunks (RFC 9112 section 7.1), line by line.

use anyhow::{Context, Result};

/// The received part of a body.
#[derive(Default)]
pub(super) struct Body {
    /// The missing bytes of the current chunk.
    left: usize,
    text: Vec<u8>,
}

impl Body {
    /// Adds received bytes and returns the number of those that were used. The rest is the incomplete size of a chunk.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        while used < bytes.len() {
            if self.left > 0 {
                let part = self.left.min(bytes.len() - used);
                self.text.extend_from_slice(&bytes[used..used + part]);
                self.left -= part;
                used += part;
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', &bytes[used..]) else { break };
            let line = bytes[used..used + end].trim_ascii();
            used += end + 1;
            // The line break behind a chunk comes before the size of the next one.
            if !line.is_empty() {
                let size = std::str::from_utf8(line).context("the size of a chunk")?;
                self.left =
                    usize::from_str_radix(size, 16).with_context(|| format!("the size of a chunk: {size:?}"))?;
            }
        }
        Ok(used)
    }

    /// The next complete line.
    pub(super) fn line(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.text)?;
        let rest = self.text.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.text, rest);
        line.truncate(line.trim_ascii_end().len());
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_across_chunks_and_reads() {
        let whole = b"8\r\ndata: ab\r\n5\r\nc\n\nda\r\n8\r\nta: d\n\n:\r\n";
        for cut in 0..whole.len() {
            let (mut body, mut rest, mut lines) = (Body::default(), Vec::new(), Vec::new());
            for part in [&whole[..cut], &whole[cut..]] {
                rest.extend_from_slice(part);
                let used = body.take(&rest).expect("valid chunks");
                rest.drain(..used);
                lines.extend(std::iter::from_fn(|| body.line()));
            }
            assert_eq!(lines, [&b"data: abc"[..], b"", b"data: d", b""], "cut at {cut}");
        }
    }
}
