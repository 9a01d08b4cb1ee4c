//! Positions in the history of a channel.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The digits of an epoch, in the order of their values.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The fewest digits of an epoch: smaller numbers are padded with zeros.
const FEWEST_DIGITS: usize = 6;

/// The most digits of an epoch: every number that they can write fits in 64 bits.
const MAX_DIGITS: usize = 11;

/// The number of one instance of a channel's history. Positions of different epochs are not comparable.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(u64);

/// The place of a message in the history of a channel: the epoch, and an offset that is counted from 1 without gaps.
///
/// As text it is `epoch.offset`, such as `7kq2fw.1042`: 6 to 11 lower-case letters and digits, a point, and a decimal
/// number (docs/protocol.md, Positions).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The offset. 0 is the position before the first message.
    pub offset: u64,
}

/// A text that is not a position.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a position of a channel's history")]
pub struct InvalidPosition;

impl Epoch {
    /// The epoch with this number.
    pub const fn new(number: u32) -> Epoch {
        Epoch(number as u64)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut text, mut at, mut rest) = ([b'0'; MAX_DIGITS], MAX_DIGITS, self.0);
        while rest > 0 {
            at -= 1;
            text[at] = DIGITS[(rest % 36) as usize];
            rest /= 36;
        }
        let from = at.min(MAX_DIGITS - FEWEST_DIGITS);
        f.write_str(str::from_utf8(&text[from..]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Epoch {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Epoch, InvalidPosition> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        let canonical = match text.len() {
            FEWEST_DIGITS => true,
            // Only padding begins with a zero, so each epoch has one text.
            7..=MAX_DIGITS => !text.starts_with('0'),
            _ => false,
        };
        if !canonical || !text.bytes().all(is_digit) {
            return Err(InvalidPosition);
        }
        u64::from_str_radix(text, 36).map(Epoch).map_err(|_| InvalidPosition)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Position, InvalidPosition> {
        let (epoch, offset) = text.split_once('.').ok_or(InvalidPosition)?;
        // `parse` would accept a sign and leading zeros.
        let canonical = offset == "0" || !offset.starts_with(['0', '+']);
        if !canonical {
            return Err(InvalidPosition);
        }
        Ok(Position { epoch: epoch.parse()?, offset: offset.parse().map_err(|_| InvalidPosition)? })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Position, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_position_is_its_text(epoch in any::<u32>(), offset in any::<u64>()) {
            let position = Position { epoch: Epoch::new(epoch), offset };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        /// A text that is a position is the only one of it: clients compare positions as texts.
        #[test]
        fn no_two_texts_are_one_position(text in "[0-9a-z]{5,12}\\.[0-9+]{1,20}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }

    #[test]
    fn positions_are_an_epoch_and_an_offset() {
        let position = |epoch, offset| Position { epoch: Epoch::new(epoch), offset };
        for (text, expected) in [
            ("000000.0", position(0, 0)),
            ("00000z.1042", position(35, 1042)),
            ("1z141z3.18446744073709551615", position(u32::MAX, u64::MAX)),
        ] {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
        let texts =
            ["", ".", "00000z", "00000z.", "00000Z.1", "z.1", "000000z.1", "00000z.01", "00000z.+1", "00000z.-1"];
        for text in
            texts.into_iter().chain(["00000z.18446744073709551616", "00000z.1 ", "6f9619ff-8b86-d011-b42d-00c0"])
        {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
    }
}
