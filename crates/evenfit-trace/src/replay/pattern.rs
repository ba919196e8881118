//! Contents of blocks, by which each block's bytes are recognised.

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Word `index` of the pattern of `seed`.
fn word(seed: u64, index: u64) -> [u8; 8] {
    let mixed = seed.wrapping_add(index.wrapping_mul(STEP)).wrapping_mul(STEP);
    (mixed ^ (mixed >> 29)).to_le_bytes()
}

/// Writes the pattern of `seed` over `bytes`.
pub fn fill(bytes: &mut [u8], seed: u64) {
    let mut chunks = bytes.chunks_exact_mut(8);
    let mut index = 0;
    for chunk in &mut chunks {
        chunk.copy_from_slice(&word(seed, index));
        index += 1;
    }
    let rest = chunks.into_remainder();
    let len = rest.len();
    rest.copy_from_slice(&word(seed, index)[..len]);
}

/// The index of the first byte that is not the pattern of `seed`, if there is one.
pub fn first_difference(bytes: &[u8], seed: u64) -> Option<usize> {
    let mut at = 0;
    for (index, chunk) in (0u64..).zip(bytes.chunks(8)) {
        let expected = word(seed, index);
        if chunk != &expected[..chunk.len()] {
            let within = chunk.iter().zip(expected).position(|(a, b)| *a != b);
            return within.map(|w| at + w);
        }
        at += chunk.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_another_block_or_place_differs() {
        let mut bytes = [0; 64];
        fill(&mut bytes, 1);
        assert!(first_difference(&bytes, 2).is_some());
        assert!(first_difference(&bytes[8..], 1).is_some());
    }

    #[test]
    fn a_prefix_keeps_its_pattern_and_any_changed_byte_is_found() {
        for len in 0..40 {
            let mut bytes = vec![0; len];
            fill(&mut bytes, 7);
            for prefix in 0..=len {
                assert_eq!(first_difference(&bytes[..prefix], 7), None);
            }
            for at in 0..len {
                bytes[at] ^= 1;
                assert_eq!(first_difference(&bytes, 7), Some(at));
                bytes[at] ^= 1;
            }
        }
    }
}
