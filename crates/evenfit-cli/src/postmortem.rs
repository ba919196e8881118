//! Why a request failed: what was free, in what pieces, and which live blocks stood between them.

use std::fmt::{self, Write as _};
use std::ops::Range;

use evenfit_trace::{Event, Trace};
use serde::Serialize;

use crate::allocator::Allocator;
use crate::output::{FAINT, STRONG};
use crate::replay::Replay;
use crate::size::{both, counted, grouped};

/// Blocks shown of those in the way; the rest are counted.
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
    /// The largest request that would have succeeded.
    pub largest_free_bytes: u64,
    /// Live blocks that stand between free parts which in one piece would have served the request:
    /// of all such neighbours, those that take the fewest bytes. 0 if a free block was long enough
    /// (its alignment was not), or the whole pool is too small.
    pub in_the_way_blocks: u64,
    /// Bytes they take.
    pub in_the_way_bytes: u64,
    /// They and the free parts beside them, in address order: at most 8 blocks, then it breaks off.
    pub window: Vec<Piece>,
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
}

impl PostMortem {
    /// Looks at a replay that stopped because a request failed. O(n log n) in the live blocks, and
    /// one walk through the trace.
    pub fn of<A: Allocator>(replay: &Replay<A>, region_end: usize) -> Self {
        let trace = replay.trace();
        let operation = replay.position();
        let allocator = replay.allocator();
        let stats = allocator.stats();
        let (requested_bytes, align_bytes, resized_from) = request(replay);
        let end = region_end - region_end % A::GRANULE_BYTES;
        let extents = Extents::of(replay, end - stats.pool_bytes, end);
        let need = requested_bytes as usize;
        let window = extents.cheapest_window(need).unwrap_or_default();
        let born = births(trace, operation);
        Self {
            operation: operation as u64 + 1,
            requested_bytes,
            align_bytes,
            resized_from: resized_from.map(|(id, bytes)| Resized {
                bytes,
                allocated_at: born[id as usize] + 1,
            }),
            site: site_name(trace, operation),
            live_bytes: replay.live_bytes(),
            live_blocks: replay.live_blocks(),
            free_bytes: stats.free_bytes as u64,
            largest_free_bytes: allocator.largest_free() as u64,
            in_the_way_blocks: window.len() as u64,
            in_the_way_bytes: extents.used(&window) as u64,
            window: extents.pieces(window, trace, &born, operation),
        }
    }
}

/// What the event at which `replay` stopped asks for, and the block it resizes.
fn request<A: Allocator>(replay: &Replay<A>) -> (u64, u64, Option<(u32, u64)>) {
    match replay.trace().events().get(replay.position()) {
        Some(&Event::Alloc {
            size, align_log2, ..
        }) => (size, 1 << align_log2, None),
        Some(&Event::Realloc { id, new_size }) => {
            let old = replay
                .live()
                .find(|&(live, _)| live == id)
                .map(|(_, live)| live.layout);
            let align = old.map_or(1, |old| old.align() as u64);
            (
                new_size,
                align,
                Some((id, old.map_or(0, |old| old.size() as u64))),
            )
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
    let named = trace
        .site(id)
        .map(|site| match (&*site.name, &*site.location) {
            ("", "") => format!("{:#x}", site.address),
            (name, "") => name.to_owned(),
            ("", location) => location.to_owned(),
            (name, location) => format!("{name} ({location})"),
        });
    named.or_else(|| (id != 0).then(|| format!("site {id}")))
}

/// A live block's place: addresses and its id.
struct Extent {
    start: usize,
    end: usize,
    id: u32,
    requested: u64,
}

/// The live blocks in address order, closed by an empty one at the pool's end, so that before
/// each there is a gap, perhaps an empty one. A window is a range of them without the last.
struct Extents {
    pool_start: usize,
    blocks: Vec<Extent>,
}

impl Extents {
    fn of<A: Allocator>(replay: &Replay<A>, pool_start: usize, pool_end: usize) -> Self {
        let mut blocks: Vec<Extent> = replay
            .live()
            .map(|(id, live)| {
                let start = live.block.cast::<u8>().addr().get();
                Extent {
                    start: start - A::HEADER_BYTES,
                    end: start + live.block.len(),
                    id,
                    requested: live.layout.size() as u64,
                }
            })
            .collect();
        blocks.sort_unstable_by_key(|block| block.start);
        blocks.push(Extent {
            start: pool_end,
            end: pool_end,
            id: u32::MAX,
            requested: 0,
        });
        Self { pool_start, blocks }
    }

    /// Where the gap before the block at `index` starts.
    fn gap_start(&self, index: usize) -> usize {
        let before = index.checked_sub(1);
        before.map_or(self.pool_start, |before| self.blocks[before].end)
    }

    /// The length of the gap before the block at `index`.
    fn gap(&self, index: usize) -> usize {
        self.blocks[index]
            .start
            .saturating_sub(self.gap_start(index))
    }

    /// What would be free in one piece if the blocks of `window` were.
    fn span(&self, window: &Range<usize>) -> usize {
        self.blocks[window.end]
            .start
            .saturating_sub(self.gap_start(window.start))
    }

    /// The bytes that the blocks of `window` take.
    fn used(&self, window: &Range<usize>) -> usize {
        self.blocks[window.clone()]
            .iter()
            .map(|block| block.end - block.start)
            .sum()
    }

    /// The neighbours that take the fewest bytes and without which `need` bytes would be free in
    /// one piece. Without end if not even the whole pool would do. O(blocks).
    fn cheapest_window(&self, need: usize) -> Option<Range<usize>> {
        let closing = self.blocks.len() - 1;
        let mut best: Option<(usize, Range<usize>)> = None;
        let mut window = 0..0;
        let mut used = 0;
        for start in 0..=closing {
            window.start = start;
            window.end = window.end.max(start);
            while window.end < closing && self.span(&window) < need {
                used += self.used(&(window.end..window.end + 1));
                window.end += 1;
            }
            if self.span(&window) < need {
                break;
            }
            if best.as_ref().is_none_or(|(least, _)| used < *least) {
                best = Some((used, window.clone()));
            }
            if window.start < window.end {
                used -= self.used(&(start..start + 1));
            }
        }
        best.map(|(_, window)| window)
    }

    fn pieces(&self, window: Range<usize>, trace: &Trace, born: &[u64], now: usize) -> Vec<Piece> {
        let free = |index: usize| {
            let bytes = self.gap(index) as u64;
            (bytes > 0).then_some(Piece::Free { bytes })
        };
        let live = |index: usize| {
            let block = &self.blocks[index];
            let event = born[block.id as usize];
            Piece::Live {
                bytes: (block.end - block.start) as u64,
                requested_bytes: block.requested,
                allocated_at: event + 1,
                age: now as u64 - event,
                site: site_name(trace, event as usize),
            }
        };
        let shown = window.start..window.end.min(window.start + SHOWN_MAX);
        let last_gap = (shown.end == window.end && !window.is_empty()).then(|| free(window.end));
        let pairs = shown.flat_map(|index| free(index).into_iter().chain([live(index)]));
        pairs.chain(last_gap.flatten()).collect()
    }
}

impl fmt::Display for PostMortem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = grouped(self.operation);
        let asked = both(self.requested_bytes);
        write!(
            f,
            "{STRONG}Operation {operation} failed:{STRONG:#} it asked for {asked}"
        )?;
        if self.align_bytes > 16 {
            write!(f, " at a multiple of {}", grouped(self.align_bytes))?;
        }
        if let Some(Resized {
            bytes,
            allocated_at,
        }) = &self.resized_from
        {
            let (bytes, at) = (grouped(*bytes), grouped(*allocated_at));
            write!(
                f,
                ", to resize a block of {bytes} bytes allocated at operation {at}"
            )?;
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
        self.verdict(f)
    }
}

impl PostMortem {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = (self.in_the_way_blocks, self.in_the_way_bytes);
        f.write_str(if self.free_bytes < self.requested_bytes {
            "The pool was full: even in one piece, what was free would not have done.\n"
        } else if count == 0 {
            "A free block was long enough, but not where its alignment could be met.\n"
        } else {
            "The pool was fragmented: in one piece, what was free would have done.\n"
        })?;
        if count == 0 {
            return Ok(());
        }
        let blocks = counted(count, "live block");
        let bytes = both(bytes);
        writeln!(
            f,
            "Without the {blocks} between these free parts, {bytes}, it would have fitted:\n"
        )?;
        for piece in &self.window {
            write_piece(f, piece)?;
        }
        let more = count.saturating_sub(SHOWN_MAX as u64);
        if more > 0 {
            writeln!(
                f,
                "    {FAINT}and {} more{FAINT:#}",
                counted(more, "live block")
            )?;
        }
        Ok(())
    }
}

fn write_piece(f: &mut fmt::Formatter<'_>, piece: &Piece) -> fmt::Result {
    match piece {
        Piece::Free { bytes } => {
            writeln!(
                f,
                "    {FAINT}░░{:>13} bytes free{FAINT:#}",
                grouped(*bytes)
            )
        }
        Piece::Live {
            bytes,
            requested_bytes,
            allocated_at,
            age,
            site,
        } => {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(pool: std::ops::Range<usize>, blocks: &[(usize, usize)]) -> Extents {
        let mut blocks: Vec<Extent> = blocks
            .iter()
            .enumerate()
            .map(|(id, &(start, end))| Extent {
                start,
                end,
                id: id as u32,
                requested: 1,
            })
            .collect();
        blocks.push(Extent {
            start: pool.end,
            end: pool.end,
            id: u32::MAX,
            requested: 0,
        });
        Extents {
            pool_start: pool.start,
            blocks,
        }
    }

    /// The bytes in the cheapest window, by trying all windows.
    fn by_trying_all(extents: &Extents, need: usize) -> Option<usize> {
        let closing = extents.blocks.len() - 1;
        let windows = (0..=closing).flat_map(|start| (start..=closing).map(move |end| start..end));
        let enough = windows.filter(|window| extents.span(window) >= need);
        enough.map(|window| extents.used(&window)).min()
    }

    #[test]
    fn the_cheapest_window_is_the_one_found_by_trying_all() {
        let mut random = 12345u64;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % below
        };
        for _ in 0..500 {
            let (mut at, mut blocks) = (0, Vec::new());
            for _ in 0..next(12) {
                let start = at + 16 * next(5);
                at = start + 16 * (1 + next(6));
                blocks.push((start, at));
            }
            let extents = extents(0..at + 16 * next(5), &blocks);
            for need in [1, 64, 160, 400, 2000] {
                let found = extents.cheapest_window(need).map(|window| {
                    assert!(extents.span(&window) >= need);
                    extents.used(&window)
                });
                assert_eq!(
                    found,
                    by_trying_all(&extents, need),
                    "{blocks:?} need {need}"
                );
            }
        }
    }
}
