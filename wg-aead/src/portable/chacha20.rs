//! The ChaCha20 block function. RFC 8439, section 2.3.

/// "expand 32-byte k".
pub(crate) const SIGMA: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// One block of keystream.
pub(super) fn block(key: &[u32; 8], counter: u64, at: u32) -> [u8; 64] {
    let mut state = [0; 16];
    state[..4].copy_from_slice(&SIGMA);
    state[4..12].copy_from_slice(key);
    state[12] = at;
    state[14] = counter as u32;
    state[15] = (counter >> 32) as u32;
    let start = state;
    for _ in 0..10 {
        for column in 0..4 {
            quarter(&mut state, [column, 4 + column, 8 + column, 12 + column]);
        }
        for row in 0..4 {
            quarter(&mut state, [row, 4 + (row + 1) % 4, 8 + (row + 2) % 4, 12 + (row + 3) % 4]);
        }
    }
    let mut bytes = [0; 64];
    for ((bytes, word), start) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state).zip(start) {
        *bytes = word.wrapping_add(start).to_le_bytes();
    }
    bytes
}

fn quarter(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (left, right) in [(16, 12), (8, 7)] {
        state[a] = state[a].wrapping_add(state[b]);
        state[d] = (state[d] ^ state[a]).rotate_left(left);
        state[c] = state[c].wrapping_add(state[d]);
        state[b] = (state[b] ^ state[c]).rotate_left(right);
    }
}
