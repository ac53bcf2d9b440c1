//! Buffers of secrets: when one must grow, its old place in memory is wiped before it is given back.

use zeroize::Zeroize;

/// Adds to a buffer, which is made for `at_least` bytes when it first takes any.
pub(crate) fn append(buffer: &mut Vec<u8>, bytes: &[u8], at_least: usize) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let mut longer = Vec::with_capacity(needed.max(at_least).next_power_of_two());
        longer.extend_from_slice(buffer);
        buffer.zeroize();
        *buffer = longer;
    }
    buffer.extend_from_slice(bytes);
}
