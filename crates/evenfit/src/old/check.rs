//! The integrity check: total over whatever bytes the region holds.
//!
//! It believes only the heap's own value (top, end, counters, heads); map and links are read with every index tested,
//! so a region full of garbage gives an answer, never a crash.

use core::fmt;

use crate::old::bins::{bin_of, end_mark};
use crate::old::blocks::{BlockTier, Run};
use crate::old::geometry::{Geometry, Link};
use crate::old::heap::Heap;
use crate::old::map::{Map, Mark, PAIR_GRANULES, Pair};
use crate::old::slab::Live;

/// What [`Heap::check`] found wrong first. Offsets are in bytes from the pool's first granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// The map has no block where one must start, a block without an end, or a mark behind the top.
    Mark {
        /// Where.
        offset_bytes: usize,
    },
    /// A block's mark and the block before it disagree: "the block before is free" is wrong, or two free blocks touch.
    Neighbour {
        /// The later of the two.
        offset_bytes: usize,
    },
    /// The map of a block's inside holds neither the block's size nor nothing.
    SizeWord {
        /// The block's start.
        offset_bytes: usize,
    },
    /// A free block's links were overwritten, or its list doesn't lead back to it.
    Link {
        /// The free block's start.
        offset_bytes: usize,
    },
    /// A slab's descriptor was overwritten: its class, its free slots or its links make no sense.
    Slab {
        /// The slab's start.
        offset_bytes: usize,
    },
    /// The list of a class doesn't hold the slabs that have a free slot, or the class's counter is wrong.
    SlabList {
        /// The class's number; one beyond the last stands for all.
        class: usize,
    },
    /// A bin's list and the bitmap disagree, or the list doesn't hold all free blocks of its sizes.
    Bin {
        /// The bin's number.
        bin: usize,
    },
    /// Of [`FirstFit`](crate::FirstFit) only: a block's header says what can't be.
    Header {
        /// The block's start.
        offset_bytes: usize,
    },
    /// The blocks in the map don't add up to the heap's counters.
    Counters {
        /// Bytes in used blocks, as counted.
        counted_bytes: usize,
        /// Bytes in used blocks, as the heap remembers.
        remembered_bytes: usize,
    },
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mark { offset_bytes } => {
                write!(
                    f,
                    "the map was overwritten: no block's mark makes sense at offset {offset_bytes}"
                )
            }
            Self::Neighbour { offset_bytes } => {
                write!(
                    f,
                    "the map was overwritten: the block at offset {offset_bytes} and the one before it disagree"
                )
            }
            Self::SizeWord { offset_bytes } => {
                write!(
                    f,
                    "the map was overwritten inside the block at offset {offset_bytes}"
                )
            }
            Self::Link { offset_bytes } => write!(
                f,
                "the free block at offset {offset_bytes} was overwritten, or a neighbour in its list was: look for writes after free"
            ),
            Self::Slab { offset_bytes } => {
                write!(
                    f,
                    "the descriptor of the slab at offset {offset_bytes} was overwritten"
                )
            }
            Self::SlabList { class } => {
                write!(
                    f,
                    "the slabs of class {class} don't agree with its list and counter"
                )
            }
            Self::Bin { bin } => {
                write!(
                    f,
                    "the free list of bin {bin} doesn't hold what the map says is free"
                )
            }
            Self::Header { offset_bytes } => write!(
                f,
                "the header at offset {offset_bytes} was overwritten: look for writes past the end of the block before"
            ),
            Self::Counters {
                counted_bytes,
                remembered_bytes,
            } => write!(
                f,
                "{counted_bytes} bytes are in used blocks, but the heap remembers {remembered_bytes}"
            ),
        }
    }
}

impl core::error::Error for CheckError {}

impl<G: Geometry> Heap<'_, G> {
    /// Checks the whole heap: map, size words, links, bins and counters. Linear in blocks and map.
    ///
    /// Total: whatever was written over the region, the answer is an `Ok` or the first thing found wrong.
    ///
    /// # Errors
    /// [`CheckError`], which names what is wrong and where.
    pub fn check(&self) -> Result<(), CheckError> {
        let mut live = Live::default();
        let tally = self.check_map(&mut live)?;
        self.blocks.check_bins(tally.free_blocks)?;
        self.slabs.check_lists(&live)?;
        if tally.used_granules != self.blocks.used || tally.used_blocks != self.live {
            return Err(CheckError::Counters {
                counted_bytes: tally.used_granules * G::GRANULE_BYTES,
                remembered_bytes: self.blocks.used * G::GRANULE_BYTES,
            });
        }
        Ok(())
    }

    fn check_map(&self, live: &mut Live) -> Result<Tally, CheckError> {
        let BlockTier { map, top, .. } = self.blocks;
        let mut tally = Tally::default();
        let mut start = 0;
        let mut after_free = false;
        while start < top {
            let offset_bytes = start * G::GRANULE_BYTES;
            // SAFETY: granules below the top are in the map.
            let mark = unsafe { map.mark(start) };
            if mark == Mark::Inside {
                return Err(CheckError::Mark { offset_bytes });
            }
            if (mark == Mark::UsedAfterFree) != after_free {
                return Err(CheckError::Neighbour { offset_bytes });
            }
            after_free = mark == Mark::Free;
            let slab = self.slabs.slab_at(start);
            let end = self.block_end(start);
            let end = end.ok_or(CheckError::Mark { offset_bytes })?;
            let keeps_size = self.slabs.end_at(start).is_none();
            if !self.blocks.size_words_agree(start, end, keeps_size) {
                return Err(CheckError::SizeWord { offset_bytes });
            }
            if let Some(slab) = slab {
                if after_free || slab.block().end != end {
                    return Err(CheckError::Mark { offset_bytes });
                }
                self.slabs.check_slab(slab, &self.blocks, live)?;
            } else if after_free {
                tally.free_blocks += 1;
                if !self.blocks.is_linked(Run { start, end }) {
                    return Err(CheckError::Link { offset_bytes });
                }
            } else {
                tally.used_blocks += 1;
            }
            if !after_free {
                tally.used_granules += end - start;
            }
            start = end;
        }
        self.blocks.check_top(after_free)?;
        Ok(tally)
    }
}

/// What the map says in all.
#[derive(Default)]
struct Tally {
    used_granules: usize,
    used_blocks: usize,
    free_blocks: usize,
}

impl<G: Geometry> BlockTier<G> {
    /// The top carries its mark, no free block precedes it, and no mark follows it.
    fn check_top(&self, after_free: bool) -> Result<(), CheckError> {
        let offset_bytes = self.top * G::GRANULE_BYTES;
        // SAFETY: the top is in the map.
        if after_free || unsafe { self.map.mark(self.top) } != Mark::Used {
            return Err(CheckError::Neighbour { offset_bytes });
        }
        let index = self.top / PAIR_GRANULES;
        let behind = !1u64 << (self.top % PAIR_GRANULES);
        // SAFETY: the pairs from the top's to the last are in the map.
        let clean = unsafe {
            self.map.pair(index).marks() & behind == 0
                && (index + 1..Map::pairs(self.end))
                    .all(|index| self.map.pair(index) == Pair::EMPTY)
        };
        if clean {
            Ok(())
        } else {
            Err(CheckError::Mark { offset_bytes })
        }
    }

    /// Whether the pairs that a block covers hold its size, if it keeps it there, or nothing, and its first and last granules,
    /// which its size makes nobody look at, no mark.
    fn size_words_agree(&self, start: usize, end: usize, keeps_size: bool) -> bool {
        let (first, last) = (start / PAIR_GRANULES + 1, end / PAIR_GRANULES);
        if first < last {
            let marks = |granule: usize| {
                // SAFETY: the block starts and ends at a granule of the map.
                unsafe { self.map.pair(granule / PAIR_GRANULES) }.marks()
            };
            let after_start = marks(start) >> (start % PAIR_GRANULES) >> 1;
            let before_end = marks(end) & ((1 << (end % PAIR_GRANULES)) - 1);
            if after_start | before_end != 0 {
                return false;
            }
        }
        (first..last).all(|index| {
            let expected = if index == first || index + 1 == last {
                Pair::size_word(end - start)
            } else {
                Pair::EMPTY
            };
            // SAFETY: the pair lies between those of start and end.
            let pair = unsafe { self.map.pair(index) };
            if keeps_size {
                pair == expected
            } else {
                pair.u == 0 && pair.x >> 63 & pair.x & 1 == 1
            }
        })
    }

    fn check_bins(&self, free_blocks: usize) -> Result<(), CheckError> {
        let mut listed = 0;
        let mut fullest = 0;
        for bin in 0..G::BINS {
            let ends = end_mark::<G>(bin);
            // SAFETY: bin < BINS.
            let mut link = unsafe { self.bins.head(bin) };
            if self.bins.is_filled(bin) != (link != ends) {
                return Err(CheckError::Bin { bin });
            }
            while link != ends {
                let start = link.unpack();
                listed += 1;
                fullest = bin;
                // Every block listed was found free in the map, so more of them than there are is a cycle.
                if listed > free_blocks || !self.leads_to_free(start) || !self.is_of_bin(start, bin)
                {
                    return Err(CheckError::Bin { bin });
                }
                // SAFETY: a free block starts there.
                link = G::Link::pack(unsafe { self.pool.links(start) }.0);
            }
        }
        if listed == free_blocks {
            Ok(())
        } else {
            Err(CheckError::Bin { bin: fullest })
        }
    }

    fn is_of_bin(&self, start: usize, bin: usize) -> bool {
        // SAFETY: the caller found a free block below the top at start.
        unsafe { self.map.end_by(start, self.top) }
            .is_some_and(|end| bin_of::<G>(end - start) == bin)
    }
}
