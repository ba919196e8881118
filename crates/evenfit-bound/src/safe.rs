//! The pool that can never fail: the theorem of `docs/bounds.md`, "The theorem".
//!
//! It looks only at the moment of a failure. Then every gap below the top is so short that the
//! search may miss it, and the first gap of the request's own bin and the top are too short for the
//! request. There are no more gaps below the top than live blocks, and each of these may have a
//! granule more than it asked for. So the pool is shorter than the sum of these; in a pool of that
//! sum no request fails.

use crate::geometry::Cut;

/// The demand of one site, in granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Smallest block.
    pub min: u64,
    /// Largest block.
    pub max: u64,
    /// What its alignment may cost beside the block: see [`Cut::slack`].
    pub slack: u64,
    /// Most blocks live at once.
    pub most_live: u64,
}

/// A safe pool, and the terms of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safe {
    /// The pool.
    pub granules: u64,
    /// Most granules that live blocks ask for.
    pub live: u64,
    /// Granules that a live block may have beyond what it asked for: 0 or 1.
    pub absorbed: u64,
    /// Most gaps below the top when a request fails, and most blocks then live.
    pub gaps: u64,
    /// The greatest length of the gaps, except one.
    pub gap: u64,
    /// The greatest length of that one, the first of the request's own bin.
    pub head_gap: u64,
    /// The demand of the failing request.
    pub binding: usize,
    /// All blocks and gaps are multiples of this.
    pub divisor: u64,
}

/// The safe pool for a contract's demands:
/// `max over c of [M + a_c + (k - 1) (g_c + e) - (g_c - h_c)]`, with M the most granules asked for,
/// k the most live blocks, a the slack of an alignment, e the granule that a block may absorb, g
/// the longest gap in which the search may miss the request, and h the longest that may be first of
/// its bin.
///
/// `None`: more granules than 64 bits count. O(demands).
pub fn pool(cut: Cut, demands: &[Demand]) -> Option<Safe> {
    let mut live = 0u64;
    let mut count = 0u64;
    for demand in demands {
        live = live.checked_add(demand.max.checked_mul(demand.most_live)?)?;
        count = count.checked_add(demand.most_live)?;
    }
    let divisor = common_divisor(cut, demands);
    let mut safe = None::<Safe>;
    for (binding, demand) in demands.iter().enumerate() {
        let missed = Missed::by(cut, demand.max.checked_add(demand.slack)?, divisor);
        let failing = missed.pool(live, demand.slack, count.saturating_sub(1), binding)?;
        if safe.is_none_or(|safe| failing.granules > safe.granules) {
            safe = Some(failing);
        }
    }
    safe
}

/// The safe pool for a program known by its observed maxima only: never more than `live` granules
/// asked for and `blocks` blocks live, and only requests of `sizes` (granules, and the slack of the
/// alignment). `binding` is an index into `sizes`.
///
/// `None`: more granules than 64 bits count, or no sizes. O(sizes).
pub fn pool_for_maxima(cut: Cut, live: u64, blocks: u64, sizes: &[(u64, u64)]) -> Option<Safe> {
    let smallest = sizes.iter().map(|&(size, _)| size).min()?;
    let divisor = divisor_of_fixed(cut, sizes.iter().copied());
    let mut safe = None::<Safe>;
    for (binding, &(size, slack)) in sizes.iter().enumerate() {
        let others =
            blocks.saturating_sub(1).min(live.saturating_sub(size) / smallest.max(Cut::BLOCK_MIN));
        let missed = Missed::by(cut, size.checked_add(slack)?, divisor);
        let failing = missed.pool(live, slack, others, binding)?;
        if safe.is_none_or(|safe| failing.granules > safe.granules) {
            safe = Some(failing);
        }
    }
    safe
}

/// The free memory that there may be below the top when a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    /// The longest gap that the search may miss.
    pub(crate) gap: u64,
    /// The greatest length of the first gap of the request's own bin.
    pub(crate) head_gap: u64,
    /// The granules that a live block may have absorbed.
    pub(crate) absorbed: u64,
    cut: Cut,
    divisor: u64,
}

impl Missed {
    /// By a request for `granules`, its slack included, where all blocks are multiples of
    /// `divisor`.
    pub(crate) fn by(cut: Cut, granules: u64, divisor: u64) -> Self {
        let smallest_of_bin = cut.smallest(cut.bin(granules));
        // If no gap in the request's own bin can be too short, the search finds its first block.
        let surely = if smallest_of_bin.next_multiple_of(divisor) >= granules {
            granules
        } else {
            cut.surely(granules)
        };
        let below = |len: u64| {
            let multiple = (len - 1) / divisor * divisor;
            if multiple < Cut::BLOCK_MIN { 0 } else { multiple }
        };
        Self {
            gap: below(surely),
            head_gap: below(granules),
            // If all lengths are multiples of two, a single granule is never left over.
            absorbed: u64::from(cut.absorbs() && divisor == 1),
            cut,
            divisor,
        }
    }

    /// One granule more than the longest pool in which the request may fail while `others` blocks
    /// are live. `live` includes the request's own granules.
    pub(crate) fn pool(self, live: u64, slack: u64, others: u64, binding: usize) -> Option<Safe> {
        let beside_each = self.gap + self.absorbed;
        let one_is_first = if others > 0 { self.gap - self.head_gap } else { 0 };
        let granules = live
            .checked_add(slack)?
            .checked_add(others.checked_mul(beside_each)?)?
            .checked_sub(one_is_first)?
            .checked_next_multiple_of(self.cut.align_granules)?;
        Some(Safe {
            granules,
            live,
            absorbed: self.absorbed,
            gaps: others,
            gap: self.gap,
            head_gap: self.head_gap,
            binding,
            divisor: self.divisor,
        })
    }
}

/// The common divisor of all blocks: that of the geometry, or a multiple if all sizes are fixed and
/// nothing is aligned higher.
fn common_divisor(cut: Cut, demands: &[Demand]) -> u64 {
    let is_fixed = demands.iter().all(|demand| demand.min == demand.max);
    if !is_fixed {
        return cut.align_granules;
    }
    let sizes = demands.iter().map(|demand| (demand.max, demand.slack));
    divisor_of_fixed(cut, sizes)
}

/// The same for a list of all requested lengths, each with its slack.
pub(crate) fn divisor_of_fixed(cut: Cut, sizes: impl Iterator<Item = (u64, u64)>) -> u64 {
    let divisor =
        sizes.fold(0, |divisor, (size, slack)| gcd(divisor, if slack == 0 { size } else { 1 }));
    divisor.max(cut.align_granules)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One pool of several: the demands that share it, and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Indices of the demands.
    pub demands: Vec<usize>,
    /// Their safe pool.
    pub safe: Safe,
}

/// Divides the demands, ordered by size, among pools so that all together need the fewest bytes,
/// metadata included.
///
/// The size of one pool for everything grows with most-live times largest; blocks of similar sizes
/// fragment far less. `None`: more granules than 64 bits count even then. O(demands^3).
pub fn divided(cut: Cut, demands: &[Demand]) -> Option<Vec<Share>> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&index| (demands[index].max, demands[index].slack));
    let mut best: Vec<Option<(u64, Vec<Share>)>> = vec![Some((0, Vec::new()))];
    for end in 1..=order.len() {
        let mut found: Option<(u64, Vec<Share>)> = None;
        for begin in 0..end {
            let group: Vec<Demand> =
                order[begin..end].iter().map(|&index| demands[index]).collect();
            let Some((before, shares)) = &best[begin] else {
                continue;
            };
            let Some(mut safe) = pool(cut, &group) else {
                continue;
            };
            safe.binding = order[begin + safe.binding];
            let region_bytes = cut.region_bytes(safe.granules);
            let Some(bytes) = region_bytes.and_then(|bytes| before.checked_add(bytes)) else {
                continue;
            };
            if found.as_ref().is_none_or(|(fewest, _)| bytes < *fewest) {
                let mut shares = shares.clone();
                shares.push(Share { demands: order[begin..end].to_vec(), safe });
                found = Some((bytes, shares));
            }
        }
        best.push(found);
    }
    best.pop().flatten().map(|(_, shares)| shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(min: u64, max: u64, slack: u64, most_live: u64) -> Demand {
        Demand { min, max, slack, most_live }
    }

    #[test]
    fn one_size_needs_no_more_than_its_blocks() {
        for cut in [Cut::STANDARD, Cut::ALIGNED, Cut::WIDE, Cut::COMPACT] {
            for size in [2, 6, 32, 34, 100, 1002] {
                let safe = pool(cut, &[demand(size, size, 0, 10)]).unwrap();
                assert_eq!(safe.granules, 10 * size, "{size}");
            }
        }
    }

    #[test]
    fn small_and_large_blocks_need_a_gap_and_a_granule_beside_each() {
        // 10 blocks of 3 and 2 of 128, where a bin begins.
        let demands = [demand(3, 3, 0, 10), demand(128, 128, 0, 2)];
        let safe = pool(Cut::STANDARD, &demands).unwrap();
        assert_eq!((safe.gap, safe.head_gap, safe.gaps), (127, 127, 11));
        assert_eq!(safe.granules, 286 + 11 * (127 + 1));
        // 129 isn't: of its own bin the search sees only the first block.
        let demands = [demand(3, 3, 0, 10), demand(128, 129, 0, 2)];
        let safe = pool(Cut::STANDARD, &demands).unwrap();
        assert_eq!((safe.gap, safe.head_gap), (159, 128));
        assert_eq!(safe.granules, 288 + 11 * 160 - 31);
    }

    #[test]
    fn multiples_leave_only_multiples_and_no_single_granule() {
        let demands = [demand(4, 4, 0, 3), demand(8, 8, 0, 3)];
        let safe = pool(Cut::STANDARD, &demands).unwrap();
        assert_eq!((safe.divisor, safe.gap, safe.absorbed), (4, 4, 0));
        assert_eq!(safe.granules, 36 + 5 * 4);
        // `Aligned` has only even blocks, whatever the request.
        let demands = [demand(2, 8, 0, 3)];
        let safe = pool(Cut::ALIGNED, &demands).unwrap();
        assert_eq!((safe.divisor, safe.gap, safe.absorbed), (2, 6, 0));
    }

    #[test]
    fn the_shortest_blocks_leave_no_gap_that_could_be_missed() {
        let safe = pool(Cut::STANDARD, &[demand(2, 2, 0, 9)]).unwrap();
        assert_eq!((safe.gap, safe.granules), (0, 18));
        let safe = pool_for_maxima(Cut::STANDARD, 18, 9, &[(2, 0)]).unwrap();
        assert_eq!((safe.gap, safe.granules), (0, 18));
    }

    #[test]
    fn apart_is_never_worse_than_together() {
        let cut = Cut::STANDARD;
        let demands = [demand(2, 2, 0, 1000), demand(4096, 4096, 0, 2), demand(3, 4, 0, 5)];
        let together = pool(cut, &demands).unwrap();
        let apart = divided(cut, &demands).unwrap();
        let bytes = |safe: Safe| cut.region_bytes(safe.granules).unwrap();
        let in_all: u64 = apart.iter().map(|share| bytes(share.safe)).sum();
        assert!(in_all < bytes(together) / 100);
        let mut served: Vec<usize> = apart.iter().flat_map(|share| share.demands.clone()).collect();
        served.sort_unstable();
        assert_eq!(served, [0, 1, 2]);
    }

    #[test]
    fn what_64_bits_can_not_count_is_none() {
        assert_eq!(pool(Cut::STANDARD, &[demand(2, 1 << 40, 0, 1 << 40)]), None);
    }
}
