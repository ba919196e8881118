//! What has been published on worst-case fragmentation: a floor that holds, and two ceilings that
//! don't.
//!
//! J. M. Robson, "Bounds for some functions concerning dynamic storage allocation", Journal of the
//! ACM 21 (1974).

/// No allocator, whatever its policy, can serve every program whose live blocks total `most`
/// granules and reach `largest` granules each from a smaller pool: Robson's
/// `M (1 + log2(n) / 2) - n + 1`.
///
/// The theorem is for `n` a power of two and `M` a multiple of it, so both are rounded down: a
/// program of the larger figures may behave as one of the smaller.
pub fn floor(most: u64, largest: u64) -> u64 {
    if largest == 0 || most == 0 {
        return most;
    }
    let log = u64::from(largest.min(most).ilog2());
    let n = 1u64 << log;
    let m = most / n * n;
    // log is odd only where m is even.
    (m + m * log / 2 + 1 - n).max(most)
}

/// The same number taken for a pool that *suffices* for a power-of-two allocator, as SQLite's
/// manual does (`malloc.html`, section 4): unsound. For `M = 8, n = 4` it claims 13, and some
/// program needs more.
pub fn sqlite_claim(most: u64, largest: u64) -> u64 {
    let log = u64::from(largest.max(1).next_power_of_two().ilog2());
    most + (most * log).div_ceil(2) + 1 - largest.max(1)
}

/// o1heap's sizing formula `H_b(M, n, l, a)` in bytes, from its README: most bytes live, largest
/// and smallest request, and the overhead of a block. Unsound: it charges the overhead beside a
/// block's power of two, where it may be what pushes the block to the next one. For ten blocks of
/// 64 B it gives 960 B; the ten take 1,280 B.
pub fn o1heap_claim(
    most_bytes: u64,
    largest_bytes: u64,
    smallest_bytes: u64,
    overhead_bytes: u64,
) -> u64 {
    let (n, l) = (largest_bytes, smallest_bytes);
    let n_f = n.div_ceil(l);
    let m_f = most_bytes.div_ceil(l);
    let k = m_f + 1 - n_f;
    let log = u64::from(n_f.next_power_of_two().ilog2());
    overhead_bytes * k + 2 * l * n * m_f * (log + 1) / (l + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_figures() {
        assert_eq!(floor(8, 4), 13);
        assert_eq!(floor(8, 1), 8);
        assert_eq!(floor(11, 5), 13);
        assert_eq!(sqlite_claim(8, 4), 13);
        assert_eq!(o1heap_claim(640, 64, 64, 32), 960);
    }
}
