//! What another process needs to see a heap: where its metadata and counters lie, and how to walk a copy of them.
//!
//! Nothing here costs the heap anything: a reader copies the metadata out of the process's memory whenever it likes. The
//! heap goes on meanwhile, so what a copy says may never have been true at one moment; every walk over it ends all the same.
//!
//! A reader copies the counters first; [`MetadataAddresses::ranges`] then says what else to copy, and [`walk`] walks it.

use core::ptr::NonNull;

use crate::Block;
use crate::blocks::{Blocks, Directory, Map, Run};
use crate::geometry::{Aligned, Compact, Geometry, Standard, Wide};
use crate::heap::Heap;
use crate::slabs::Slabs;
use crate::tiers::{Tiers, WithSlabs};

/// Where in its process's memory a heap keeps what describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MetadataAddresses {
    /// How this build of the library lays out its metadata: [`layout_hash`]. A reader needs the same.
    pub layout_hash: u64,
    /// Which geometry the pool has.
    pub geometry: u64,
    /// How long the region is, in bytes.
    pub region_bytes: u64,
    /// The address of the words that say where slabs begin; 0 for a heap without slabs.
    pub slab_starts: u64,
    /// The address of the directory, where slabs have their descriptors too.
    pub directory: u64,
    /// The address of the map.
    pub map: u64,
    /// The addresses of [`Counters`], in their order, each of 64 bits.
    pub counters: [u64; Counters::COUNT],
}

/// What the heap counts, in granules where not said otherwise: see [`MetadataAddresses::counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// The pool's length.
    pub end: u64,
    /// Where the never-used tail begins now.
    pub top: u64,
    /// The highest it ever was.
    pub top_peak: u64,
    /// Where the free block begins that short requests are cut from, which the directory doesn't know; and where it ends.
    pub rest: [u64; 2],
    /// The most in used blocks at once.
    pub used_peak: u64,
    /// Requests that failed.
    pub failed_requests: u64,
    /// Frees and reallocations refused.
    pub refused_frees: u64,
}

impl Counters {
    /// How many words they are.
    pub const COUNT: usize = 8;

    /// From what was read at the addresses.
    pub fn from_words(words: [u64; Self::COUNT]) -> Self {
        let [end, top, lowered_from, rest, rest_end, used_peak, failed_requests, refused_frees] =
            words;
        Self {
            end,
            top,
            // The heap keeps the peak only when it lowers the top.
            top_peak: lowered_from.max(top),
            rest: [rest, rest_end],
            used_peak,
            failed_requests,
            refused_frees,
        }
    }
}

/// Bytes to copy from another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Where they lie.
    pub address: u64,
    /// How many they are.
    pub len_bytes: usize,
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Where this heap lies: good until it is moved or dropped. O(1).
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
    /// The unit of [`Counters`]; `None` for a geometry that this library doesn't know.
    pub fn granule_bytes(&self) -> Option<u64> {
        Some(View::of(self)?.granule_bytes)
    }

    /// What describes the pool up to the top: to be copied one after the other for [`walk`]. `None`: no heap has such counters.
    ///
    /// In all less than a twentieth of [`region_bytes`](Self::region_bytes) and 4 KiB, whatever the counters say.
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

/// Walks what a copy of [`MetadataAddresses::ranges`] says, in address order, as [`Heap::blocks`] does. Whole where the last block is the
/// top, or ends with the pool; ends early where the heap was in the midst of an operation. False: the copy is shorter than that, or no
/// heap has such counters.
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

/// What a reader needs of a geometry.
struct View {
    number: u64,
    granule_bytes: u64,
    granules_max: u64,
    has_slabs: bool,
    /// Of the ranges that describe so many granules.
    lengths: fn(usize) -> [usize; 3],
    walk: WalkCopy,
}

/// Walks the copy of ranges of such lengths.
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

/// Names a geometry by its constants.
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
    // SAFETY: the ranges lie in the copy one after the other, as long as `lengths` says for `top`, and it is borrowed as long as the
    // walk takes. The begins are whole words, so what follows them is aligned for a directory; a map need not be. The replica is only
    // walked: that reads no more than what describes the pool up to the top, bears whatever is there, and writes nothing.
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

/// Names how the metadata is laid out: the package's version, and what the geometries and classes of slabs are.
pub fn layout_hash() -> u64 {
    /// To be raised where the metadata changes in a way that the lengths don't show. 1 had the map in words.
    const FORM: u64 = 2;
    // Without Cargo there is none.
    let version = option_env!("CARGO_PKG_VERSION").unwrap_or_default();
    let version = version.bytes().map(u64::from);
    let form = [FORM, Counters::COUNT as u64];
    // FNV-1a.
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
