//! Masking, which is its own inverse (RFC 6455 section 5.3).

/// Masks or unmasks in place. `key[0]` belongs to the first byte given: for the later pieces of a payload, rotate
/// the key by the number of bytes that were unmasked before.
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    // The key repeats every four bytes, so eight bytes can be masked at once. The order of bytes is that of memory on
    // both sides of the XOR, so it does not matter.
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    // The tail starts at a multiple of eight, and so with the first byte of the key.
    for (byte, key) in tail.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytewise(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        payload.iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    #[test]
    fn equals_the_definition_at_every_length_and_alignment() {
        let bytes: Vec<u8> = (0..=255).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for start in 0..9 {
            for end in start..60 {
                let mut payload = bytes.clone();
                apply(&mut payload[start..end], key);
                assert_eq!(payload[start..end], bytewise(&bytes[start..end], key));
                assert_eq!(payload[..start], bytes[..start]);
                assert_eq!(payload[end..], bytes[end..]);
            }
        }
    }

    #[test]
    fn a_rotated_key_continues_where_the_last_piece_ended() {
        let key = [1, 2, 3, 4];
        let whole = bytewise(&[0; 40], key);
        for split in 0..40 {
            let mut pieces = [0; 40];
            let (first, second) = pieces.split_at_mut(split);
            let mut rotated = key;
            rotated.rotate_left(split % 4);
            apply(first, key);
            apply(second, rotated);
            assert_eq!(pieces[..], whole);
        }
    }
}
