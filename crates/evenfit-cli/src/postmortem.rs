//! Why a request failed: what was free, in what pieces, and which live blocks stood between them.

use std::fmt::{self, Write as _};

use evenfit_trace::{Event, Trace};
use serde::Serialize;

use crate::allocator::Allocator;
use crate::output::{FAINT, STRONG};
use crate::replay::Replay;
use crate::size::{both, grouped};

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
    /// The pieces of the pool, in address order, that would have to be one; empty if the request
    /// is larger than the whole pool.
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
        let window = extents.cheapest_window(need, A::GRANULE_BYTES);
        let born = births(trace, operation);
        let pieces = window.map(|window| extents.pieces(window, trace, &born, operation));
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
            window: pieces.unwrap_or_default(),
        }
    }

    /// Live blocks in the window and the bytes they take.
    pub fn in_the_way(&self) -> (u64, u64) {
        self.window
            .iter()
            .fold((0, 0), |(count, sum), piece| match piece {
                Piece::Free { .. } => (count, sum),
                Piece::Live { bytes, .. } => (count + 1, sum + bytes),
            })
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
/// each there is a gap, perhaps an empty one.
struct Extents {
    pool_start: usize,
    blocks: Vec<Extent>,
}

/// Consecutive gaps: the first one's index in [`Extents::blocks`] and the last one's.
#[derive(Clone, Copy)]
struct Window {
    first: usize,
    last: usize,
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

    /// Start and length of the gap before the block at `index`.
    fn gap(&self, index: usize) -> (usize, usize) {
        let start = index
            .checked_sub(1)
            .map_or(self.pool_start, |before| self.blocks[before].end);
        (start, self.blocks[index].start.saturating_sub(start))
    }

    /// The window of `need` bytes in which live blocks take the fewest bytes. O(blocks).
    fn cheapest_window(&self, need: usize, granule: usize) -> Option<Window> {
        let gaps: Vec<usize> = (0..self.blocks.len())
            .filter(|&index| self.gap(index).1 >= granule)
            .collect();
        let mut best: Option<(usize, Window)> = None;
        let (mut right, mut free) = (0, 0);
        for (left, &first) in gaps.iter().enumerate() {
            let start = self.gap(first).0;
            let span = |right: usize| self.blocks[gaps[right]].start - start;
            while right < gaps.len() && (right <= left || span(right - 1) < need) {
                free += self.gap(gaps[right]).1;
                right += 1;
            }
            if span(right - 1) < need {
                break;
            }
            let window = Window {
                first,
                last: gaps[right - 1],
            };
            let used = span(right - 1) - free;
            if best.is_none_or(|(least, _)| used < least) {
                best = Some((used, window));
            }
            free -= self.gap(first).1;
        }
        best.map(|(_, window)| window)
    }

    fn pieces(&self, window: Window, trace: &Trace, born: &[u64], now: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for index in window.first..=window.last {
            if index > window.first {
                let block = &self.blocks[index - 1];
                let event = born[block.id as usize];
                pieces.push(Piece::Live {
                    bytes: (block.end - block.start) as u64,
                    requested_bytes: block.requested,
                    allocated_at: event + 1,
                    age: now as u64 - event,
                    site: site_name(trace, event as usize),
                });
            }
            let (_, bytes) = self.gap(index);
            if bytes > 0 {
                pieces.push(Piece::Free {
                    bytes: bytes as u64,
                });
            }
        }
        pieces
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
            "Live then were {} in {} blocks. Free in all: {}; the largest free block: {}.",
            both(self.live_bytes),
            grouped(self.live_blocks),
            both(self.free_bytes),
            both(self.largest_free_bytes)
        )?;
        self.verdict(f)
    }
}

impl PostMortem {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = self.in_the_way();
        if self.free_bytes < self.requested_bytes {
            f.write_str(
                "The pool was full: even in one piece, what was free would not have done.\n",
            )?;
        } else if count == 0 {
            f.write_str(
                "A free block was long enough, but not where its alignment could be met.\n",
            )?;
        } else {
            f.write_str("The pool was fragmented: in one piece, what was free would have done.\n")?;
        }
        if count == 0 {
            return Ok(());
        }
        let (blocks, them) = if count == 1 {
            ("block", "it stands")
        } else {
            ("blocks", "they stand")
        };
        writeln!(
            f,
            "Without {} live {blocks} of {} bytes it would have fitted; {them} here:\n",
            grouped(count),
            grouped(bytes),
        )?;
        let shown = shown(&self.window);
        for piece in &self.window[..shown] {
            write_piece(f, piece)?;
        }
        if shown < self.window.len() {
            let rest = self.window[shown..].iter();
            let live = rest
                .filter(|piece| matches!(piece, Piece::Live { .. }))
                .count();
            writeln!(
                f,
                "    {FAINT}and {} more live blocks{FAINT:#}",
                grouped(live as u64)
            )?;
        }
        Ok(())
    }
}

/// How many pieces to show: all, or so many that [`SHOWN_MAX`] live blocks are among them.
fn shown(window: &[Piece]) -> usize {
    let mut live = (0..window.len()).filter(|&at| matches!(window[at], Piece::Live { .. }));
    live.nth(SHOWN_MAX).unwrap_or(window.len())
}

fn write_piece(f: &mut fmt::Formatter<'_>, piece: &Piece) -> fmt::Result {
    match piece {
        Piece::Free { bytes } => {
            let bytes = grouped(*bytes);
            writeln!(f, "    {FAINT}░░ {bytes:>13} bytes free{FAINT:#}")
        }
        Piece::Live {
            bytes,
            requested_bytes,
            allocated_at,
            age,
            site,
        } => {
            write!(
                f,
                "    ██ {:>13} bytes live, asked for {}",
                grouped(*bytes),
                grouped(*requested_bytes)
            )?;
            write!(
                f,
                " at operation {}, {} ago",
                grouped(*allocated_at),
                grouped(*age)
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

    /// The blocks of the cheapest window, by trying all windows.
    fn by_trying_all(extents: &Extents, need: usize) -> Option<usize> {
        let count = extents.blocks.len();
        let windows = (0..count).flat_map(|first| (first..count).map(move |last| (first, last)));
        windows
            .filter(|&(first, last)| {
                extents.gap(first).1 >= 16
                    && extents.gap(last).1 >= 16
                    && extents.blocks[last].start - extents.gap(first).0 >= need
            })
            .map(|(first, last)| {
                (first..last)
                    .map(|at| extents.blocks[at].end - extents.blocks[at].start)
                    .sum()
            })
            .min()
    }

    #[test]
    fn the_cheapest_window_is_the_one_found_by_trying_all() {
        let mut random = 12345u64;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
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
                let found = extents.cheapest_window(need, 16).map(|window| {
                    (window.first..window.last)
                        .map(|at| extents.blocks[at].end - extents.blocks[at].start)
                        .sum::<usize>()
                });
                assert_eq!(
                    found,
                    by_trying_all(&extents, need),
                    "{blocks:?} need {need}"
                );
            }
        }
    }

    #[test]
    fn at_most_eight_live_blocks_are_shown() {
        let live = Piece::Live {
            bytes: 16,
            requested_bytes: 1,
            allocated_at: 1,
            age: 1,
            site: None,
        };
        let free = Piece::Free { bytes: 16 };
        let window: Vec<Piece> = (0..20).flat_map(|_| [free.clone(), live.clone()]).collect();
        let seen = &window[..shown(&window)];
        assert_eq!(
            seen.iter().filter(|&piece| *piece == live).count(),
            SHOWN_MAX
        );
        assert_eq!(shown(&window[..6]), 6);
    }
}
