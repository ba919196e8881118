//! What another process needs to see this heap: where its map and counters lie, and how to read a copy of them.
//!
//! Nothing here costs the heap anything: a reader copies the map out of the process's memory whenever it likes. The
//! heap goes on meanwhile, so what a copy says may never have been true at one moment; every walk over it ends all the same.

use core::ptr::NonNull;

use crate::old::bins::Bins;
use crate::old::blocks::BlockTier;
use crate::old::heap::Heap;
use crate::old::links::Pool;
use crate::old::map::{Map, Pair};
use crate::old::slab::{CLASSES, Class, Descriptor, SLAB_BYTES, Slabs};
use crate::old::walk::{Block, BlockState};
use crate::{Geometry, Standard};

/// Where in its process's memory a heap keeps what describes it. All fields are addresses, but for the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Whereabouts {
    /// How this build of the library lays out map and directory. A reader needs the same.
    pub layout: u64,
    /// How long the region is, in bytes.
    pub region_bytes: u64,
    /// 1 if there is a directory of slabs.
    pub has_slabs: u64,
    /// The map.
    pub map: u64,
    /// The directory of slabs.
    pub directory: u64,
    /// The pool's first granule.
    pub pool: u64,
    /// Of [`Counters`], in their order, each of 64 bits.
    pub counters: [u64; Counters::COUNT],
}

/// What the heap counts, in granules where not said otherwise: see [`Whereabouts::counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The pool's length.
    pub end: u64,
    /// Where the never-used tail begins now.
    pub top: u64,
    /// The highest it ever was.
    pub top_peak: u64,
    /// The most in used blocks at once.
    pub used_peak: u64,
    /// Requests that failed.
    pub failed_requests: u64,
    /// Frees and reallocations refused.
    pub refused_frees: u64,
}

impl Counters {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// From what was read at the addresses.
    pub fn from_words(words: [u64; Self::COUNT]) -> Self {
        let [
            end,
            top,
            top_peak,
            used_peak,
            failed_requests,
            refused_frees,
        ] = words;
        Self {
            end,
            top,
            top_peak,
            used_peak,
            failed_requests,
            refused_frees,
        }
    }
}

impl Heap<'_, Standard> {
    /// Where this heap lies: good until it is moved or dropped. O(1).
    pub fn whereabouts(&self) -> Whereabouts {
        let address = |word: *const usize| word.addr() as u64;
        let BlockTier {
            end,
            top,
            top_peak,
            used_peak,
            ..
        } = &self.blocks;
        let stats = self.stats();
        Whereabouts {
            layout: layout(),
            region_bytes: (stats.pool_bytes + stats.metadata_bytes) as u64,
            has_slabs: u64::from(self.slabs.are_in_use()),
            map: self.blocks.map.address().addr() as u64,
            directory: self.slabs.directory_start().addr() as u64,
            pool: self.pool_start().addr() as u64,
            counters: [
                address(end),
                address(top),
                address(top_peak),
                address(used_peak),
                (&raw const self.failed).addr() as u64,
                (&raw const self.refused).addr() as u64,
            ],
        }
    }
}

/// Names how map and directory are laid out: the package's version and the slabs' sizes.
pub fn layout() -> u64 {
    let classes = (1..CLASSES as Class).map(|class| Slabs::slot_bytes(class) as u64);
    let sizes = [SLAB_BYTES, size_of::<Descriptor>(), size_of::<Pair>()].map(|size| size as u64);
    // Without Cargo there is none.
    let version = option_env!("CARGO_PKG_VERSION").unwrap_or_default();
    let version = version.bytes().map(u64::from);
    // FNV-1a.
    version
        .chain(sizes)
        .chain(classes)
        .fold(0xCBF2_9CE4_8422_2325, |hash, value| {
            (hash ^ value).wrapping_mul(0x0000_0100_0000_01B3)
        })
}

/// Another heap's map, as it was copied.
pub struct Replica<'copy> {
    heap: Heap<'copy, Standard>,
}

/// How much of map and directory describes the pool up to the top, in words of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Of the map.
    pub map_words: usize,
    /// Of the directory; 0 without slabs.
    pub directory_words: usize,
}

impl Lengths {
    /// For a heap with such counters. `None`: no heap has them.
    pub fn of(whereabouts: &Whereabouts, counters: &Counters) -> Option<Self> {
        let end = usize::try_from(counters.end).ok()?;
        let top = usize::try_from(counters.top).ok()?;
        let region_bytes = usize::try_from(whereabouts.region_bytes).ok()?;
        if top > end || end > region_bytes / Standard::GRANULE_BYTES {
            return None;
        }
        let directory_bytes = if whereabouts.has_slabs == 1 {
            Slabs::directory_bytes(top)
        } else {
            0
        };
        Some(Self {
            map_words: Map::bytes(top) / size_of::<u64>(),
            directory_words: directory_bytes / size_of::<u64>(),
        })
    }
}

impl<'copy> Replica<'copy> {
    /// Reads copies of [`Lengths::of`] words, the directory's from one descriptor before its address on. `None`: the copies are
    /// of other lengths, or no heap has such counters.
    pub fn new(
        whereabouts: &Whereabouts,
        counters: &Counters,
        map: &'copy mut [u64],
        directory: &'copy mut [u64],
    ) -> Option<Self> {
        let lengths = Lengths::of(whereabouts, counters)?;
        if [lengths.map_words, lengths.directory_words] != [map.len(), directory.len()] {
            return None;
        }
        let (top, end) = (counters.top as usize, counters.end as usize);
        let slabs = if directory.is_empty() {
            Slabs::without()
        } else {
            // The copy is so long, and borrowed as long as this. It is only walked over, which bears any content.
            Slabs::of_copy(directory.as_mut_ptr(), top)
        };
        Some(Self {
            heap: Heap::replica(
                BlockTier {
                    // SAFETY: the copy is so long, and borrowed as long as this.
                    map: unsafe { Map::of_zeroes(map.as_mut_ptr().cast()) },
                    // The pool itself is never looked into.
                    pool: Pool::new(NonNull::dangling()),
                    top,
                    top_peak: counters.top_peak as usize,
                    end,
                    used: 0,
                    used_peak: counters.used_peak as usize,
                    bins: Bins::new(),
                },
                slabs,
            ),
        })
    }

    /// Walks what the copy says, in address order, as [`Heap::blocks`] does. Whole where the last one is the top; ends early
    /// where the heap was in the midst of an operation.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        let top_bytes = self.heap.blocks.top * Standard::GRANULE_BYTES;
        // Behind the top nothing was copied.
        self.heap.blocks().take_while(move |block| {
            block.state == BlockState::Top || block.offset_bytes + block.size_bytes <= top_bytes
        })
    }
}
