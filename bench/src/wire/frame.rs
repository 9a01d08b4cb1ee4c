/// The bit of a frame with a mask behind its lengths.
pub(super) const MASKED: u8 = 0x80;

/// The header of a whole text message of `len` bytes.
pub(super) fn head(len: usize, masked: u8) -> Vec<u8> {
    let mut head = vec![0x81];
    match len {
        0..=125 => head.push(masked | len as u8),
        126..=0xffff => {
            head.push(masked | 126);
            head.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            head.push(masked | 127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    head
}

/// The offset of the first byte behind the lengths, and the length of the payload.
pub(super) fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    Some(match bytes.get(1)? & !MASKED {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    })
}
