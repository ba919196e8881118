//! The pool that can never fail: the theorem of `docs/bounds.md`, "The safe pool size".
//!
//! It looks only at the moment of a failure. Then every gap below the top is too short to be surely found for the
//! request, the top is too short for it, and there are no more gaps below the top than live blocks. So the pool is
//! shorter than what these add up to; a pool that long never fails.

use crate::geometry::Cut;

/// What one site asks of a heap, in granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Smallest block.
    pub min: u64,
    /// Largest block.
    pub max: u64,
    /// What its alignment may cost beside the block.
    pub slack: u64,
    /// Most blocks live at once.
    pub most_live: u64,
}

/// A pool that never fails, and what makes it so large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safe {
    /// The pool.
    pub granules: u64,
    /// Most granules live at once.
    pub live: u64,
    /// Most gaps below the top when a request fails.
    pub gaps: u64,
    /// The longest that each of them can be.
    pub gap: u64,
    /// Of which demand the failing request would be.
    pub binding: usize,
    /// All blocks and gaps are multiples of this.
    pub divisor: u64,
}

/// The safe pool for a contract's demands: `max over c of [M + a_c + (k - 1) g_c]`, with M the most live granules, k the
/// most live blocks, a the slack of an alignment and g the longest gap in which the search may miss the request.
///
/// `None`: more granules than 64 bits count. O(demands).
pub fn pool(cut: Cut, demands: &[Demand]) -> Option<Safe> {
    let mut live = 0u64;
    let mut count = 0u64;
    for demand in demands {
        live = live.checked_add(demand.max.checked_mul(demand.most_live)?)?;
        count = count.checked_add(demand.most_live)?;
    }
    let divisor = common_divisor(demands);
    let gaps = count.saturating_sub(1);
    let mut safe = Safe {
        granules: live,
        live,
        gaps,
        gap: 0,
        binding: 0,
        divisor,
    };
    for (index, demand) in demands.iter().enumerate() {
        let gap = longest_gap(cut, demand.max + demand.slack, divisor);
        let granules = live
            .checked_add(demand.slack)?
            .checked_add(gaps.checked_mul(gap)?)?;
        if granules > safe.granules {
            safe = Safe {
                granules,
                gap,
                binding: index,
                ..safe
            };
        }
    }
    Some(safe)
}

/// The safe pool for a program known by its observed maxima only: never more than `live` granules and `blocks` blocks
/// live, and only requests of `sizes` (granules, and the slack of the alignment). `binding` is an index into `sizes`.
///
/// `None`: more granules than 64 bits count. O(sizes).
pub fn pool_for_maxima(cut: Cut, live: u64, blocks: u64, sizes: &[(u64, u64)]) -> Option<Safe> {
    let smallest = sizes
        .iter()
        .map(|&(size, _)| size)
        .min()
        .unwrap_or(1)
        .max(1);
    let mut safe = Safe {
        granules: live,
        live,
        gaps: 0,
        gap: 0,
        binding: 0,
        divisor: 1,
    };
    for (index, &(size, slack)) in sizes.iter().enumerate() {
        let gap = longest_gap(cut, size + slack, 1);
        let gaps = blocks
            .saturating_sub(1)
            .min(live.saturating_sub(size) / smallest);
        let granules = live
            .checked_add(slack)?
            .checked_add(gaps.checked_mul(gap)?)?;
        if granules > safe.granules {
            safe = Safe {
                granules,
                gaps,
                gap,
                binding: index,
                ..safe
            };
        }
    }
    Some(safe)
}

/// The longest gap below the top that can be there when a request for `granules` fails: the largest multiple of
/// `divisor` below the size at which the search surely finds a block.
pub(crate) fn longest_gap(cut: Cut, granules: u64, divisor: u64) -> u64 {
    let smallest_of_bin = cut.smallest(cut.bin(granules));
    // The search looks at the head of the request's own bin. If nothing too short can be in that bin, that is enough.
    let first_multiple = smallest_of_bin.div_ceil(divisor) * divisor;
    let surely = if first_multiple >= granules {
        granules
    } else {
        cut.surely(granules)
    };
    (surely - 1) / divisor * divisor
}

/// What divides every block, where no alignment interferes.
fn common_divisor(demands: &[Demand]) -> u64 {
    let fixed = demands
        .iter()
        .all(|demand| demand.min == demand.max && demand.slack == 0);
    if !fixed {
        return 1;
    }
    demands
        .iter()
        .fold(0, |divisor, demand| gcd(divisor, demand.max))
        .max(1)
}

pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One pool of several: which demands share it, and how large it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Indices of the demands.
    pub demands: Vec<usize>,
    /// Their safe pool.
    pub safe: Safe,
}

/// Divides the demands, ordered by size, among pools so that all together need the fewest bytes, maps included.
///
/// One pool for everything is safe only at most-live times largest; blocks of like size fragment far less.
/// `None`: more granules than 64 bits count even apart. O(demands^3).
pub fn divided(cut: Cut, demands: &[Demand]) -> Option<Vec<Share>> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&index| (demands[index].max, demands[index].slack));
    let mut best: Vec<Option<(u64, Vec<Share>)>> = vec![Some((0, Vec::new()))];
    for end in 1..=order.len() {
        let mut found: Option<(u64, Vec<Share>)> = None;
        for begin in 0..end {
            let group: Vec<Demand> = order[begin..end]
                .iter()
                .map(|&index| demands[index])
                .collect();
            let Some((before, shares)) = &best[begin] else {
                continue;
            };
            let Some(mut safe) = pool(cut, &group) else {
                continue;
            };
            safe.binding = order[begin + safe.binding];
            let Some(bytes) = before.checked_add(cut.region_bytes(safe.granules)) else {
                continue;
            };
            if found.as_ref().is_none_or(|(fewest, _)| bytes < *fewest) {
                let mut shares = shares.clone();
                shares.push(Share {
                    demands: order[begin..end].to_vec(),
                    safe,
                });
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
        Demand {
            min,
            max,
            slack,
            most_live,
        }
    }

    #[test]
    fn one_size_needs_no_more_than_its_blocks() {
        for size in [1, 5, 32, 33, 100, 1001] {
            let safe = pool(Cut::STANDARD, &[demand(size, size, 0, 10)]).unwrap();
            assert_eq!(safe.granules, 10 * size, "{size}");
        }
    }

    #[test]
    fn small_and_large_blocks_need_a_gap_before_each() {
        // 10 blocks of 1 and 2 of 100: every block but the failing one may have a gap of R(100) - 1 before it.
        let safe = pool(
            Cut::STANDARD,
            &[demand(1, 1, 0, 10), demand(100, 100, 0, 2)],
        )
        .unwrap();
        assert_eq!(
            (safe.gap, safe.gaps, safe.granules),
            (99, 11, 210 + 11 * 99)
        );
        assert_eq!(safe.binding, 1);
        // 101 is not where a bin begins: the search may miss what is not in a higher one.
        let safe = pool(
            Cut::STANDARD,
            &[demand(1, 1, 0, 10), demand(101, 101, 0, 2)],
        )
        .unwrap();
        assert_eq!(safe.gap, 103);
    }

    #[test]
    fn multiples_leave_only_multiples() {
        let safe = pool(Cut::STANDARD, &[demand(4, 4, 0, 3), demand(8, 8, 0, 3)]).unwrap();
        assert_eq!((safe.divisor, safe.gap, safe.granules), (4, 4, 36 + 5 * 4));
    }

    #[test]
    fn apart_is_never_worse_than_together() {
        let demands = [
            demand(1, 1, 0, 1000),
            demand(4096, 4096, 0, 2),
            demand(2, 3, 0, 5),
        ];
        let together = pool(Cut::STANDARD, &demands).unwrap();
        let apart = divided(Cut::STANDARD, &demands).unwrap();
        let bytes: u64 = apart
            .iter()
            .map(|share| Cut::STANDARD.region_bytes(share.safe.granules))
            .sum();
        assert!(bytes < Cut::STANDARD.region_bytes(together.granules) / 100);
        let mut served: Vec<usize> = apart
            .iter()
            .flat_map(|share| share.demands.clone())
            .collect();
        served.sort_unstable();
        assert_eq!(served, [0, 1, 2]);
    }

    #[test]
    fn what_64_bits_can_not_count_is_none() {
        assert_eq!(pool(Cut::STANDARD, &[demand(1, 1 << 40, 0, 1 << 40)]), None);
    }
}
