//! Why a request failed: what was free, in what pieces, and which live blocks stood between them.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::ptr::NonNull;

use evenfit::BlockState;
use evenfit_trace::replay::{self, Allocator};
use evenfit_trace::{Event, Trace};
use serde::Serialize;

use crate::output::{FAINT, STRONG};
use crate::replay::Replay;
use crate::size::{both, counted, grouped};

/// Blocks and slabs shown of those in the way; the rest are counted.
const SHOWN_MAX: usize = 8;

/// What was found at the operation that failed. Sizes are in bytes, operations count from 1.
#[derive(Debug, Serialize)]
pub struct PostMortem {
    /// The operation that failed.
    pub operation: u64,
    /// What it asked for.
    pub requested_bytes: u64,
    /// The alignment it asked for.
    pub align_bytes: u64,
    /// Of the block that was to be resized: its size and the operation that allocated it.
    pub resized_from: Option<Resized>,
    /// Where in the program it happened, if recorded.
    pub site: Option<String>,
    /// Requested bytes live then.
    pub live_bytes: u64,
    /// Blocks live then.
    pub live_blocks: u64,
    /// Free bytes in all.
    pub free_bytes: u64,
    /// Of these, bytes in slabs: free slots, which serve requests of their size only.
    pub free_in_slabs_bytes: u64,
    /// The largest request that would have succeeded.
    pub largest_free_bytes: u64,
    /// Live blocks that stand between free parts which in one piece would have served the request:
    /// of all such neighbours, those that take the fewest bytes. 0 if a free block was long enough
    /// all the same, or the whole pool is too small.
    pub in_the_way_blocks: u64,
    /// Bytes they take.
    pub in_the_way_bytes: u64,
    /// They and the free parts beside them, in address order: at most 8 blocks or slabs, then it
    /// breaks off.
    pub window: Vec<Piece>,
    /// How many of the blocks in the way `window` leaves out.
    pub more_in_the_way_blocks: u64,
}

/// A block to be resized.
#[derive(Debug, Serialize)]
pub struct Resized {
    /// Bytes it had asked for.
    pub bytes: u64,
    /// The operation that allocated it.
    pub allocated_at: u64,
}

/// A piece of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Piece {
    /// Free memory.
    Free {
        /// Its length, in bytes.
        bytes: u64,
    },
    /// A live block.
    Live {
        /// Bytes it takes, with what belongs to it.
        bytes: u64,
        /// Bytes it asked for.
        requested_bytes: u64,
        /// The operation that allocated it.
        allocated_at: u64,
        /// Operations since then.
        age: u64,
        /// Where in the program it was allocated, if recorded.
        site: Option<String>,
    },
    /// A block cut into slots for small requests, some of them live.
    Slab {
        /// Its length, in bytes.
        bytes: u64,
        /// The size of a slot.
        slot_bytes: u64,
        /// Live slots.
        live_slots: u64,
        /// The operation that allocated the oldest of them.
        oldest_allocated_at: u64,
    },
}

impl PostMortem {
    /// Looks at a replay that stopped because a request failed. O(n log n) in the live blocks, and
    /// one walk through the trace.
    pub fn of<A: Allocator>(replay: &Replay<A>) -> Self {
        let trace = replay.trace();
        let operation = replay.position();
        let allocator = replay.allocator();
        let (requested_bytes, align_bytes, resized_from) = request(replay);
        let need = (requested_bytes.max(1) as usize).saturating_add(A::HEADER_BYTES);
        let obstacles = Obstacles::of(replay);
        let window = obstacles.cheapest_window(need).unwrap_or_default();
        let in_the_way = &obstacles.list[window.clone()];
        let born = births(trace, operation);
        Self {
            operation: operation as u64 + 1,
            requested_bytes,
            align_bytes,
            resized_from: resized_from
                .map(|(id, bytes)| Resized { bytes, allocated_at: born[id as usize] + 1 }),
            site: site_name(trace, operation),
            live_bytes: replay.live_bytes(),
            live_blocks: replay.live_blocks(),
            free_bytes: allocator.stats().free_bytes as u64,
            free_in_slabs_bytes: obstacles.free_in_slabs() as u64,
            largest_free_bytes: allocator.largest_free() as u64,
            in_the_way_blocks: in_the_way.iter().map(|it| it.live.len() as u64).sum(),
            in_the_way_bytes: in_the_way.iter().map(|it| it.live_bytes as u64).sum(),
            more_in_the_way_blocks: in_the_way
                .iter()
                .skip(SHOWN_MAX)
                .map(|it| it.live.len() as u64)
                .sum(),
            window: obstacles.pieces(window, trace, &born, operation),
        }
    }
}

/// What the event at which `replay` stopped asks for, and the block it resizes.
fn request<A: Allocator>(replay: &Replay<A>) -> (u64, u64, Option<(u32, u64)>) {
    match replay.trace().events().get(replay.position()) {
        Some(&Event::Alloc { size, align_log2, .. }) => (size, 1 << align_log2, None),
        Some(&Event::Realloc { id, new_size }) => {
            let old = replay.live().find(|&(live, _)| live == id).map(|(_, live)| live.layout);
            let align = old.map_or(1, |old| old.align() as u64);
            (new_size, align, Some((id, old.map_or(0, |old| old.size() as u64))))
        }
        Some(Event::Free { .. }) | None => (0, 1, None),
    }
}

/// For each block allocated before the event `until`, the index of the event that did.
fn births(trace: &Trace, until: usize) -> Vec<u64> {
    let events = trace.events()[..until].iter().enumerate();
    let allocations = events.filter(|(_, event)| matches!(event, Event::Alloc { .. }));
    allocations.map(|(index, _)| index as u64).collect()
}

fn site_name(trace: &Trace, event: usize) -> Option<String> {
    let id = trace.record(event)?.site;
    let named = trace.site(id).map(|site| match (&*site.name, &*site.location) {
        ("", "") => format!("{:#x}", site.address),
        (name, "") => name.to_owned(),
        ("", location) => location.to_owned(),
        (name, location) => format!("{name} ({location})"),
    });
    named.or_else(|| (id != 0).then(|| format!("site {id}")))
}

/// What stands between free parts: a live block, or a slab. Places are in bytes from the pool's
/// start.
struct Obstacle {
    start: usize,
    end: usize,
    /// The size of its slots, if it is a slab.
    slot_bytes: Option<usize>,
    /// Bytes that live blocks take of it.
    live_bytes: usize,
    /// The live blocks in it, as a range of [`Obstacles::live`].
    live: Range<usize>,
}

/// What is not free, in address order, closed by something empty at the pool's end, so that before
/// each there is a gap, perhaps an empty one. A window is a range of them without the last.
struct Obstacles {
    list: Vec<Obstacle>,
    /// The blocks that the trace knows as live, in address order: place, id, bytes asked for.
    live: Vec<(usize, u32, u64)>,
}

impl Obstacles {
    fn of<A: Allocator>(replay: &Replay<A>) -> Self {
        let allocator = replay.allocator();
        let pool_start = allocator.pool_start().addr();
        let place = |block: NonNull<[u8]>| block.cast::<u8>().addr().get() - pool_start;
        let live = replay.live();
        let mut live: Vec<(usize, u32, u64)> =
            live.map(|(id, it)| (place(it.block), id, it.layout.size() as u64)).collect();
        live.sort_unstable();
        let blocks: Vec<replay::Piece> = allocator.blocks().collect();
        let end = blocks.last().map_or(0, |last| last.offset_bytes + last.size_bytes);
        let mut list: Vec<Obstacle> =
            blocks.iter().filter_map(|block| Obstacle::of(block, &live)).collect();
        list.push(Obstacle { start: end, end, slot_bytes: None, live_bytes: 0, live: 0..0 });
        Self { list, live }
    }

    /// Bytes in slabs that no live block takes.
    fn free_in_slabs(&self) -> usize {
        let slabs = self.list.iter().filter(|it| it.slot_bytes.is_some());
        slabs.map(|it| it.end - it.start - it.live_bytes).sum()
    }

    /// Where the gap before the obstacle at `index` starts.
    fn gap_start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.list[before].end)
    }

    /// The length of the gap before the obstacle at `index`.
    fn gap(&self, index: usize) -> usize {
        self.list[index].start - self.gap_start(index)
    }

    /// What would be free in one piece if the obstacles of `window` were.
    fn span(&self, window: &Range<usize>) -> usize {
        self.list[window.end].start - self.gap_start(window.start)
    }

    /// The neighbours in which live blocks take the fewest bytes, and without which `need` bytes
    /// would be free in one piece. `None` if not even the whole pool would do. O(obstacles).
    fn cheapest_window(&self, need: usize) -> Option<Range<usize>> {
        let closing = self.list.len() - 1;
        let mut best: Option<(usize, Range<usize>)> = None;
        let mut window = 0..0;
        let mut live_bytes = 0;
        for start in 0..=closing {
            window.start = start;
            window.end = window.end.max(start);
            while window.end < closing && self.span(&window) < need {
                live_bytes += self.list[window.end].live_bytes;
                window.end += 1;
            }
            if self.span(&window) < need {
                break;
            }
            if best.as_ref().is_none_or(|(least, _)| live_bytes < *least) {
                best = Some((live_bytes, window.clone()));
            }
            if window.start < window.end {
                live_bytes -= self.list[start].live_bytes;
            }
        }
        best.map(|(_, window)| window)
    }

    fn pieces(&self, window: Range<usize>, trace: &Trace, born: &[u64], now: usize) -> Vec<Piece> {
        let free = |index: usize| {
            let bytes = self.gap(index) as u64;
            (bytes > 0).then_some(Piece::Free { bytes })
        };
        let shown = window.start..window.end.min(window.start + SHOWN_MAX);
        let last_gap = (shown.end == window.end && !window.is_empty()).then(|| free(window.end));
        let pairs = shown.flat_map(|index| {
            let piece = self.piece(&self.list[index], trace, born, now);
            free(index).into_iter().chain([piece])
        });
        pairs.chain(last_gap.flatten()).collect()
    }

    fn piece(&self, obstacle: &Obstacle, trace: &Trace, born: &[u64], now: usize) -> Piece {
        let bytes = (obstacle.end - obstacle.start) as u64;
        let live = &self.live[obstacle.live.clone()];
        let oldest = live.iter().map(|&(_, id, requested)| (born[id as usize], requested)).min();
        let (event, requested_bytes) = oldest.unwrap_or_default();
        match obstacle.slot_bytes {
            Some(slot_bytes) => Piece::Slab {
                bytes,
                slot_bytes: slot_bytes as u64,
                live_slots: live.len() as u64,
                oldest_allocated_at: event + 1,
            },
            None => Piece::Live {
                bytes,
                requested_bytes,
                allocated_at: event + 1,
                age: now as u64 - event,
                site: site_name(trace, event as usize),
            },
        }
    }
}

impl Obstacle {
    /// `None` for a free block. `live` is sorted by place.
    fn of(block: &replay::Piece, live: &[(usize, u32, u64)]) -> Option<Self> {
        let (start, end) = (block.offset_bytes, block.offset_bytes + block.size_bytes);
        let (slot_bytes, live_bytes) = match block.state {
            BlockState::Free | BlockState::Top => return None,
            BlockState::Slab { slot_bytes, used_slots } => {
                (Some(slot_bytes), slot_bytes * used_slots)
            }
            _ => (None, block.size_bytes),
        };
        let first = live.partition_point(|&(place, ..)| place < start);
        let last = live.partition_point(|&(place, ..)| place < end);
        Some(Self { start, end, slot_bytes, live_bytes, live: first..last })
    }
}

impl fmt::Display for PostMortem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = grouped(self.operation);
        let asked = both(self.requested_bytes);
        write!(f, "{STRONG}Operation {operation} failed:{STRONG:#} it asked for {asked}")?;
        if self.align_bytes > 16 {
            write!(f, " at a multiple of {}", grouped(self.align_bytes))?;
        }
        if let Some(Resized { bytes, allocated_at }) = &self.resized_from {
            let (bytes, at) = (grouped(*bytes), grouped(*allocated_at));
            write!(f, ", to resize a block of {bytes} bytes allocated at operation {at}")?;
        }
        if let Some(site) = &self.site {
            write!(f, ", in {site}")?;
        }
        writeln!(f, ".")?;
        writeln!(
            f,
            "Live then were {} in {}. Free in all: {}; the largest free block: {}.",
            both(self.live_bytes),
            counted(self.live_blocks, "block"),
            both(self.free_bytes),
            both(self.largest_free_bytes)
        )?;
        if self.free_in_slabs_bytes > 0 {
            let bytes = both(self.free_in_slabs_bytes);
            writeln!(f, "Of the free bytes, {bytes} are in slabs, for requests of other sizes.")?;
        }
        self.verdict(f)
    }
}

impl PostMortem {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = (self.in_the_way_blocks, self.in_the_way_bytes);
        f.write_str(if self.free_bytes < self.requested_bytes {
            "The pool was full: even in one piece, what was free would not have done.\n"
        } else if self.window.is_empty() && self.align_bytes > 16 {
            "A free block was long enough, but not where its alignment could be met.\n"
        } else if self.window.is_empty() {
            "A free block was long enough, but not the first of its bin: good fit looks no further.\n"
        } else {
            "The pool was fragmented: in one piece, what was free would have done.\n"
        })?;
        if self.window.is_empty() {
            return Ok(());
        }
        let blocks = counted(count, "live block");
        let bytes = both(bytes);
        writeln!(f, "Without the {blocks} here, {bytes} of the pool, it would have fitted:\n")?;
        for piece in &self.window {
            write_piece(f, piece)?;
        }
        let more = self.more_in_the_way_blocks;
        if more > 0 {
            writeln!(f, "    {FAINT}and {} more{FAINT:#}", counted(more, "live block"))?;
        }
        Ok(())
    }
}

fn write_piece(f: &mut fmt::Formatter<'_>, piece: &Piece) -> fmt::Result {
    match piece {
        Piece::Free { bytes } => {
            writeln!(f, "    {FAINT}░░{:>13} bytes free{FAINT:#}", grouped(*bytes))
        }
        Piece::Live { bytes, requested_bytes, allocated_at, age, site } => {
            let (bytes, asked) = (grouped(*bytes), grouped(*requested_bytes));
            let (at, age) = (grouped(*allocated_at), grouped(*age));
            write!(
                f,
                "    ██{bytes:>13} bytes live: {asked} asked for at operation {at}, {age} earlier"
            )?;
            if let Some(site) = site {
                write!(f, ", in {site}")?;
            }
            f.write_char('\n')
        }
        Piece::Slab { bytes, slot_bytes, live_slots, oldest_allocated_at } => {
            let (bytes, at) = (grouped(*bytes), grouped(*oldest_allocated_at));
            let live = counted(*live_slots, "live block");
            writeln!(
                f,
                "    ▓▓{bytes:>13} bytes slab: {live} in slots of {slot_bytes}, the oldest from operation {at}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacles(pool_bytes: usize, blocks: &[(usize, usize, usize)]) -> Obstacles {
        let closing = [(pool_bytes, pool_bytes, 0)];
        let all = blocks.iter().chain(&closing);
        let list = all.map(|&(start, end, live_bytes)| Obstacle {
            start,
            end,
            slot_bytes: None,
            live_bytes,
            live: 0..0,
        });
        Obstacles { list: list.collect(), live: Vec::new() }
    }

    fn live_bytes(obstacles: &Obstacles, window: Range<usize>) -> usize {
        obstacles.list[window].iter().map(|it| it.live_bytes).sum()
    }

    /// The live bytes in the cheapest window, by trying all windows.
    fn by_trying_all(obstacles: &Obstacles, need: usize) -> Option<usize> {
        let closing = obstacles.list.len() - 1;
        let windows = (0..=closing).flat_map(|start| (start..=closing).map(move |end| start..end));
        let enough = windows.filter(|window| obstacles.span(window) >= need);
        enough.map(|window| live_bytes(obstacles, window)).min()
    }

    #[test]
    fn the_cheapest_window_is_the_one_found_by_trying_all() {
        let mut random = fastrand::Rng::with_seed(12345);
        let mut next = |below: usize| random.usize(..below);
        for _ in 0..500 {
            let (mut at, mut blocks) = (0, Vec::new());
            for _ in 0..next(12) {
                let start = at + 16 * next(5);
                at = start + 16 * (1 + next(6));
                blocks.push((start, at, next(at - start + 1)));
            }
            let obstacles = obstacles(at + 16 * next(5), &blocks);
            for need in [1, 64, 160, 400, 2000] {
                let found = obstacles.cheapest_window(need).map(|window| {
                    assert!(obstacles.span(&window) >= need);
                    live_bytes(&obstacles, window)
                });
                assert_eq!(found, by_trying_all(&obstacles, need), "{blocks:?} need {need}");
            }
        }
    }
}
