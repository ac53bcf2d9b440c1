//! Poly1305 in limbs of 44 bits. RFC 8439, section 2.5.

const MASK: u64 = (1 << 44) - 1;

/// The tag of a ciphertext without associated data. RFC 8439, section 2.8.
pub(super) fn tag(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| key[at + byte]));
    let (r0, r1) = (word(0) & 0x0fff_fffc_0fff_ffff, word(8) & 0x0fff_fffc_0fff_fffc);
    let r = limbs(r0, r1);
    let mut sum = [0; 3];
    let (blocks, last) = text.as_chunks::<16>();
    for block in blocks {
        add(&mut sum, r, block);
    }
    if !last.is_empty() {
        let mut block = [0; 16];
        block[..last.len()].copy_from_slice(last);
        add(&mut sum, r, &block);
    }
    let mut lengths = [0; 16];
    lengths[8..].copy_from_slice(&(text.len() as u64).to_le_bytes());
    add(&mut sum, r, &lengths);

    // Reduce fully: carry, then subtract p if it can be.
    for _ in 0..2 {
        sum[1] += sum[0] >> 44;
        sum[0] &= MASK;
        sum[2] += sum[1] >> 44;
        sum[1] &= MASK;
        sum[0] += 5 * (sum[2] >> 42);
        sum[2] &= (1 << 42) - 1;
    }
    let low = u128::from(sum[0]) + (u128::from(sum[1]) << 44);
    let (low, carry) = low.overflowing_add(u128::from(sum[2]) << 88);
    let high = (sum[2] >> 40) + u64::from(carry);
    let (minus, carry) = low.overflowing_add(5);
    let over = (high + u64::from(carry)) >> 2;
    let mask = 0_u128.wrapping_sub(u128::from(over));
    let low = (low & !mask) | (minus & mask);
    let pad = u128::from(word(16)) | u128::from(word(24)) << 64;
    low.wrapping_add(pad).to_le_bytes()
}

fn limbs(low: u64, high: u64) -> [u64; 3] {
    [low & MASK, (low >> 44 | high << 20) & MASK, high >> 24]
}

fn add(sum: &mut [u64; 3], r: [u64; 3], block: &[u8; 16]) {
    let value = u128::from_le_bytes(*block);
    let block = limbs(value as u64, (value >> 64) as u64);
    let a = [sum[0] + block[0], sum[1] + block[1], sum[2] + block[2] + (1 << 40)];
    let mul = |x: u64, y: u64| u128::from(x) * u128::from(y);
    let (s1, s2) = (20 * r[1], 20 * r[2]);
    let d0 = mul(a[0], r[0]) + mul(a[1], s2) + mul(a[2], s1);
    let d1 = mul(a[0], r[1]) + mul(a[1], r[0]) + mul(a[2], s2) + (d0 >> 44);
    let d2 = mul(a[0], r[2]) + mul(a[1], r[1]) + mul(a[2], r[0]) + (d1 >> 44);
    sum[0] = d0 as u64 & MASK;
    sum[1] = d1 as u64 & MASK;
    sum[2] = d2 as u64 & ((1 << 42) - 1);
    sum[0] += 5 * (d2 >> 42) as u64;
    sum[1] += sum[0] >> 44;
    sum[0] &= MASK;
}
