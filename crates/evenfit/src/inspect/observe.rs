//! What another process needs to see a heap: where its metadata and counters lie, and how to walk a
//! copy of them.
//!
//! Observing costs the heap nothing: a reader copies the metadata out of the process's memory
//! whenever it likes. The heap goes on meanwhile, so a copy may mix several moments. A walk over it
//! ends all the same.
//!
//! A reader copies the counters first. [`MetadataAddresses::ranges`] then says what else to copy,
//! and [`walk`] walks the copy.

use core::ptr::NonNull;

use crate::Block;
use crate::blocks::{Blocks, Directory, Map, Run};
use crate::geometry::{Aligned, Compact, Geometry, Standard, Wide};
use crate::heap::Heap;
use crate::slabs::Slabs;
use crate::tiers::{Tiers, WithSlabs};

/// The addresses of a heap's metadata and counters in the memory of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MetadataAddresses {
    /// Identifies the layout of the metadata in this build of the library: see [`layout_hash`]. The
    /// reader's must be the same.
    pub layout_hash: u64,
    /// Identifies the geometry of the pool.
    pub geometry: u64,
    /// The length of the region, in bytes.
    pub region_bytes: u64,
    /// The address of the words that say where slabs start; 0 for a heap without slabs.
    pub slab_starts: u64,
    /// The address of the directory, which contains the descriptors of slabs.
    pub directory: u64,
    /// The address of the map.
    pub map: u64,
    /// The addresses of [`Counters`], in their order, each of 64 bits.
    pub counters: [u64; Counters::COUNT],
}

/// The heap's counters, in granules where not said otherwise: see [`MetadataAddresses::counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// The pool's length.
    pub end: u64,
    /// The top: where the unused end of the pool begins now.
    pub top: u64,
    /// The highest value of `top` so far.
    pub top_peak: u64,
    /// The start and the end of the free block that short requests are cut from. The directory
    /// doesn't have its length.
    pub rest: [u64; 2],
    /// The most granules in used blocks at once.
    pub used_peak: u64,
    /// The number of requests that failed.
    pub failed_requests: u64,
    /// The number of frees and reallocations that were refused.
    pub refused_frees: u64,
}

impl Counters {
    /// The number of words.
    pub const COUNT: usize = 8;

    /// Makes counters from the words that were read at [`MetadataAddresses::counters`].
    pub fn from_words(words: [u64; Self::COUNT]) -> Self {
        let [end, top, lowered_from, rest, rest_end, used_peak, failed_requests, refused_frees] =
            words;
        Self {
            end,
            top,
            // The heap updates the peak only when it lowers the top.
            top_peak: lowered_from.max(top),
            rest: [rest, rest_end],
            used_peak,
            failed_requests,
            refused_frees,
        }
    }
}

/// A range of bytes to copy from another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// The address of the first byte.
    pub address: u64,
    /// The number of bytes.
    pub len_bytes: usize,
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// The addresses of this heap's metadata and counters. They are valid until the heap is moved
    /// or dropped. O(1).
    #[cfg_attr(docsrs, doc(cfg(target_pointer_width = "64")))]
    pub fn metadata_addresses(&self) -> MetadataAddresses {
        let blocks = &self.blocks;
        let [end, top, top_peak, rest, rest_end] = blocks.counter_words();
        let stats = self.stats();
        MetadataAddresses {
            layout_hash: layout_hash(),
            geometry: number::<G>(),
            region_bytes: (stats.pool_bytes + stats.metadata_bytes) as u64,
            slab_starts: self.slabs().map_or(0, |slabs| slabs.starts().addr() as u64),
            directory: blocks.directory.start().addr().get() as u64,
            map: blocks.map.start().addr().get() as u64,
            counters: [
                end.addr() as u64,
                top.addr() as u64,
                top_peak.addr() as u64,
                rest.addr() as u64,
                rest_end.addr() as u64,
                (&raw const blocks.counters.used_peak).addr() as u64,
                (&raw const blocks.counters.failed).addr() as u64,
                (&raw const blocks.counters.refused).addr() as u64,
            ],
        }
    }
}

impl MetadataAddresses {
    /// The granule of the pool in bytes, the unit of [`Counters`]. `None` if this library doesn't
    /// know the geometry.
    pub fn granule_bytes(&self) -> Option<u64> {
        Some(View::of(self)?.granule_bytes)
    }

    /// The metadata of the pool up to the top, to be copied one range after the other for [`walk`].
    /// `None`: no heap can have such counters.
    ///
    /// Whatever the counters say, the ranges together have less than a twentieth of
    /// [`region_bytes`](Self::region_bytes) plus 4 KiB.
    pub fn ranges(&self, counters: &Counters) -> Option<[MemoryRange; 3]> {
        let view = View::of(self)?;
        let is_possible = counters.top <= counters.end
            && counters.end <= view.granules_max
            && counters.end.saturating_mul(view.granule_bytes) <= self.region_bytes
            && (view.has_slabs || self.slab_starts == 0);
        if !is_possible {
            return None;
        }
        let [starts_bytes, directory_bytes, map_bytes] = (view.lengths)(counters.top as usize);
        let range = |address, len_bytes| MemoryRange { address, len_bytes };
        Some([
            range(self.slab_starts, if self.slab_starts == 0 { 0 } else { starts_bytes }),
            range(self.directory, directory_bytes),
            range(self.map, map_bytes),
        ])
    }
}

/// Walks a copy of [`MetadataAddresses::ranges`] and calls `visit` for each block in address order,
/// as [`Heap::blocks`] does. The walk is complete if the last block is the top, or ends where the
/// pool ends. It ends earlier if the heap was copied in the middle of an operation. False: the copy
/// is too short, or no heap can have such counters.
pub fn walk(
    addresses: &MetadataAddresses,
    counters: &Counters,
    copy: &[u32],
    visit: &mut dyn FnMut(Block),
) -> bool {
    let (Some(view), Some(ranges)) = (View::of(addresses), addresses.ranges(counters)) else {
        return false;
    };
    let lengths = ranges.map(|range| range.len_bytes);
    if lengths.iter().sum::<usize>() > size_of_val(copy) {
        return false;
    }
    (view.walk)(counters, copy, lengths, visit);
    true
}

/// What a reader needs to know of a geometry.
struct View {
    number: u64,
    granule_bytes: u64,
    granules_max: u64,
    has_slabs: bool,
    /// The lengths of the ranges that describe a number of granules, in bytes.
    lengths: fn(usize) -> [usize; 3],
    walk: WalkCopy,
}

/// Walks a copy of ranges of the given lengths.
type WalkCopy = fn(&Counters, &[u32], [usize; 3], &mut dyn FnMut(Block));

impl View {
    const fn new<G: Geometry>() -> Self {
        Self {
            number: number::<G>(),
            granule_bytes: G::GRANULE_BYTES as u64,
            granules_max: G::GRANULES_MAX as u64,
            has_slabs: G::HAS_SLABS,
            lengths: lengths::<G>,
            walk: walk_as::<G>,
        }
    }

    fn of(addresses: &MetadataAddresses) -> Option<&'static Self> {
        const ALL: [View; 4] = [
            View::new::<Standard>(),
            View::new::<Aligned>(),
            View::new::<Wide>(),
            View::new::<Compact>(),
        ];
        ALL.iter().find(|view| view.number == addresses.geometry)
    }
}

/// Identifies a geometry by its constants.
const fn number<G: Geometry>() -> u64 {
    let (granule, align) = (G::GRANULE_BYTES as u64, G::ALIGN_BYTES as u64);
    granule | align << 16 | (G::SHORT_END as u64) << 32 | (size_of::<G::Length>() as u64) << 48
}

fn lengths<G: Geometry>(granules: usize) -> [usize; 3] {
    [Slabs::<G>::starts_bytes(granules), Directory::<G>::bytes(granules), Map::bytes(granules)]
}

fn walk_as<G: Geometry>(
    counters: &Counters,
    copy: &[u32],
    [starts_bytes, directory_bytes, _]: [usize; 3],
    visit: &mut dyn FnMut(Block),
) {
    let [end, top] = [counters.end, counters.top].map(|word| word as usize);
    let [rest_start, rest_end] = counters.rest.map(|word| word as usize);
    let rest = Run { start: rest_start, end: rest_end };
    let slab_starts = NonNull::from(copy).cast::<u32>();
    // SAFETY: the ranges lie in the copy one after the other, each as long as `lengths` says for
    // `top` granules, and the copy is borrowed for the whole walk. The starts are whole words, so
    // the directory behind them is aligned; the map need not be. A walk reads no more than what
    // describes the pool up to the top, accepts any content, and writes nothing.
    let heap: Heap<'_, WithSlabs, G> = unsafe {
        let directory = slab_starts.byte_add(starts_bytes);
        let map = Map::new(directory.byte_add(directory_bytes).cast());
        let slabs = match starts_bytes {
            0 => Slabs::none(),
            _ => Slabs::replica(slab_starts, directory.cast(), top),
        };
        let directory = Directory::new(directory.cast());
        Heap::replica(Blocks::replica(map, directory, end, top, rest), slabs)
    };
    heap.blocks().for_each(visit);
}

/// Identifies the layout of the metadata by the package's version, the geometries and the classes
/// of slabs.
pub fn layout_hash() -> u64 {
    /// Raise it when the metadata changes in a way that the lengths don't show. Form 1 had the map
    /// in words.
    const FORM: u64 = 2;
    // There is no version in a build without Cargo.
    let version = option_env!("CARGO_PKG_VERSION").unwrap_or_default();
    let version = version.bytes().map(u64::from);
    let form = [FORM, Counters::COUNT as u64];
    // The hash is FNV-1a.
    (version.chain(form))
        .chain(lengths_of::<Standard>())
        .chain(lengths_of::<Aligned>())
        .chain(lengths_of::<Wide>())
        .chain(lengths_of::<Compact>())
        .fold(0xCBF2_9CE4_8422_2325, |hash, value| {
            (hash ^ value).wrapping_mul(0x0000_0100_0000_01B3)
        })
}

fn lengths_of<G: Geometry>() -> impl Iterator<Item = u64> {
    let slabs = Slabs::<G>::layout_constants().map(|length| length as u64);
    [number::<G>()].into_iter().chain(slabs)
}
