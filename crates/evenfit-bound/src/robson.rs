//! Published bounds on worst-case fragmentation: a floor that is right, and two sizes said to be
//! enough that are not.
//!
//! J. M. Robson, "Bounds for some functions concerning dynamic storage allocation", Journal of the
//! ACM 21 (1974).

/// The pool below which no allocator, whatever its policy, can serve every program with up to
/// `most` live granules in blocks of up to `largest` granules: Robson's `M (1 + log2(n) / 2) - n +
/// 1`.
///
/// The theorem is for `n` a power of two and `M` a multiple of it, so both are rounded down. A
/// program with the larger figures may behave like one with the smaller.
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

/// The same number used as a pool that *suffices* for a power-of-two allocator, as in SQLite's
/// manual (`malloc.html`, section 4). This is unsound. For `M = 8, n = 4` it claims 13, and some
/// program needs more.
pub fn sqlite_claim(most: u64, largest: u64) -> u64 {
    let log = u64::from(largest.max(1).next_power_of_two().ilog2());
    most + (most * log).div_ceil(2) + 1 - largest.max(1)
}

/// o1heap's sizing formula `H_b(M, n, l, a)` in bytes, from its README: most bytes live, largest
/// and smallest request, and the overhead of a block. It is unsound: it adds the overhead to a
/// block's power of two, but the overhead may raise the block to the next power of two. For ten
/// blocks of 64 B it gives 960 B; the ten take 1,280 B.
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
