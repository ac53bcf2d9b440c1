//! Keys as hex digits, in time that depends on their length only.
//!
//! No table is indexed by, and no branch taken on, a digit of a key: a table's cache lines and a branch predictor
//! both remember. Both cases are read, lower case is written.

use zeroize::Zeroizing;

/// The length of a key in hex digits.
pub(super) const HEX_LEN: usize = 64;

/// Reads exactly 64 hex digits.
pub(super) fn decode(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if text.len() != HEX_LEN {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    let mut all_valid = 0xff;
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        let ((high, high_valid), (low, low_valid)) = (nibble(pair[0]), nibble(pair[1]));
        *byte = high << 4 | low;
        all_valid &= high_valid & low_valid;
    }
    (all_valid == 0xff).then_some(key)
}

/// Writes 64 lower-case hex digits.
pub(super) fn encode(key: &[u8; 32]) -> Zeroizing<[u8; HEX_LEN]> {
    let mut text = Zeroizing::new([0; HEX_LEN]);
    for (pair, byte) in text.chunks_exact_mut(2).zip(key) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 0x0f);
    }
    text
}

/// Tells whether a key is all zero, looking at every byte.
pub(super) fn is_zero(key: &[u8; 32]) -> bool {
    key.iter().fold(0, |seen, byte| seen | byte) == 0
}

/// The value of a digit, and 0xff if it is one or 0 if not.
const fn nibble(digit: u8) -> (u8, u8) {
    // `within` is 0xff exactly when first <= c <= last: the sign of both differences is spread over the byte.
    const fn within(c: u8, first: u8, last: u8) -> u8 {
        let [mask, _] = (((first as i16 - 1 - c as i16) & (c as i16 - 1 - last as i16)) >> 15).to_le_bytes();
        mask
    }
    let lower = digit | 0x20;
    let (number, letter) = (within(digit, b'0', b'9'), within(lower, b'a', b'f'));
    let value = number & digit.wrapping_sub(b'0') | letter & lower.wrapping_sub(b'a' - 10);
    (value, number | letter)
}

/// The digit of a value below 16.
const fn digit(value: u8) -> u8 {
    // 39 more for ten and above: from ':' to 'a'. The sign of 9 - value selects it.
    let [above_nine, _] = ((9 - value as i16) >> 15).to_le_bytes();
    value + b'0' + (above_nine & 39)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_and_valued_as_the_standard_library_does() {
        for byte in 0..=u8::MAX {
            let expected = char::from(byte).to_digit(16).map(|value| (u8::try_from(value).unwrap(), 0xff));
            let (value, valid) = nibble(byte);
            assert_eq!((valid == 0xff).then_some((value, valid)), expected, "byte {byte:#x}");
        }
    }

    #[test]
    fn encode_is_lower_case_and_decode_its_inverse() {
        let mut key = [0; 32];
        for (byte, n) in key.iter_mut().zip(0_u8..) {
            *byte = n.wrapping_mul(37).wrapping_add(9);
        }
        let text = encode(&key);
        let expected: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text.as_slice(), expected.as_bytes());
        assert_eq!(*decode(text.as_slice()).unwrap(), key);
        assert_eq!(*decode(expected.to_uppercase().as_bytes()).unwrap(), key);
    }

    #[test]
    fn a_bad_digit_anywhere_and_a_wrong_length_are_refused() {
        assert!(decode(&[b'0'; 63]).is_none());
        assert!(decode(&[b'0'; 65]).is_none());
        for at in 0..HEX_LEN {
            let mut text = [b'f'; HEX_LEN];
            text[at] = b'g';
            assert!(decode(&text).is_none(), "digit {at}");
        }
    }

    #[test]
    fn only_the_all_zero_key_is_zero() {
        let mut key = [0; 32];
        assert!(is_zero(&key));
        key[31] = 0x80;
        assert!(!is_zero(&key));
    }
}
