//! The live blocks and slabs between the free pieces of a pool, and their call sites.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;
use std::ptr::NonNull;

use evenfit::BlockState;
use evenfit_trace::replay::{self, Allocator};
use evenfit_trace::{Event, Trace};
use schemars::JsonSchema;
use serde::Serialize;

use crate::replay::Replay;
use crate::size::human;

/// Live blocks between free pieces that have something in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Group {
    /// The call site that allocated them, or a range of sizes where none was recorded.
    pub name: String,
    /// How many blocks.
    pub blocks: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Free bytes that they keep apart: for each run of live blocks that they are part of, the
    /// shorter of the free pieces on its two sides. Groups that share a run count it each.
    pub keeps_apart_bytes: u64,
}

/// What blocks have in common that [`group_name`] calls alike: the call site, or the power of two of
/// their size where it is unknown.
pub fn group_key(site: u32, size_bytes: u64) -> (u32, u32) {
    (site, if site == 0 { size_bytes.max(1).ilog2() } else { 0 })
}

/// What blocks of this call site are called; by their size where the site is unknown.
pub fn group_name(trace: &Trace, site: u32, size_bytes: u64) -> String {
    if site != 0 {
        return match trace.site(site) {
            Some(site) if !site.name.is_empty() => site.name.clone(),
            Some(site) if site.address != 0 => format!("{:#x}", site.address),
            _ => format!("site {site}"),
        };
    }
    let from = 1_u64 << size_bytes.max(1).ilog2();
    format!("{} up to {}", human(from), human(from.saturating_mul(2)))
}

/// A live block or a slab. Offsets are in bytes from the pool's start.
pub struct Obstacle {
    /// The offset of its first byte.
    pub start: usize,
    /// The offset behind its last byte.
    pub end: usize,
    /// The size of its slots, if it is a slab.
    pub slot_bytes: Option<usize>,
    /// Bytes that live blocks take of it.
    pub live_bytes: usize,
    /// The live blocks in it, as a range of [`Obstacles::live`].
    pub live: Range<usize>,
}

/// A block that the trace knows as live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveBlock {
    /// Its offset from the pool's start, in bytes.
    pub start: usize,
    /// Bytes asked for.
    pub size_bytes: u64,
    /// The event that allocated it.
    pub born: u64,
}

/// Everything that isn't free, in address order. Before each obstacle there is a gap, perhaps an
/// empty one; so the last obstacle is an empty one at the pool's end. A window is a range of
/// obstacles without that one.
pub struct Obstacles {
    /// The obstacles, and the end.
    pub list: Vec<Obstacle>,
    /// In address order.
    pub live: Vec<LiveBlock>,
    /// What the shortest request of the program needs, in bytes. Shorter free pieces serve no
    /// request, so they don't count as free.
    pub usable: usize,
}

impl Obstacles {
    /// The obstacles at the current moment of `replay`. O(n log n) in the live blocks, and one walk
    /// through the trace.
    pub fn of<A: Allocator>(replay: &Replay<A>) -> Self {
        let allocator = replay.allocator();
        let pool_start = allocator.pool_start().addr();
        let start = |block: NonNull<[u8]>| block.cast::<u8>().addr().get() - pool_start;
        let born = births(replay.trace(), replay.position());
        let mut live: Vec<LiveBlock> = replay
            .live()
            .map(|(id, it)| LiveBlock {
                start: start(it.block),
                size_bytes: it.layout.size() as u64,
                born: born[id as usize],
            })
            .collect();
        live.sort_unstable();
        let blocks: Vec<replay::Piece> = allocator.blocks().collect();
        let end = blocks.last().map_or(0, |last| last.offset_bytes + last.size_bytes);
        let mut list: Vec<Obstacle> =
            blocks.iter().filter_map(|block| Obstacle::of(block, &live)).collect();
        list.push(Obstacle { start: end, end, slot_bytes: None, live_bytes: 0, live: 0..0 });
        let requests = replay.trace().events().iter().filter_map(|event| match *event {
            Event::Alloc { size, .. } | Event::Realloc { new_size: size, .. } => Some(size),
            Event::Free { .. } => None,
        });
        let usable = (requests.min().unwrap_or(1).max(1) as usize).saturating_add(A::HEADER_BYTES);
        Self { list, live, usable }
    }

    /// Bytes in slabs that aren't in live blocks.
    pub fn free_in_slabs(&self) -> usize {
        let slabs = self.list.iter().filter(|it| it.slot_bytes.is_some());
        slabs.map(|it| it.end - it.start - it.live_bytes).sum()
    }

    /// Where the gap before the obstacle at `index` starts.
    fn gap_start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.list[before].end)
    }

    /// The length of the gap before the obstacle at `index`.
    pub fn gap(&self, index: usize) -> usize {
        self.list[index].start - self.gap_start(index)
    }

    /// The bytes that would be free in one piece if the obstacles of `window` were free.
    fn span(&self, window: &Range<usize>) -> usize {
        self.list[window.end].start - self.gap_start(window.start)
    }

    /// The window with the fewest live bytes without which `need` bytes would be free in one piece.
    /// `None` if not even the whole pool is long enough. O(obstacles).
    pub fn cheapest_window(&self, need: usize) -> Option<Range<usize>> {
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

    /// From the first free piece that serves a request to the last: everything that keeps free
    /// memory apart.
    pub fn between_holes(&self) -> Range<usize> {
        let is_hole = |&index: &usize| self.gap(index) >= self.usable;
        let first = (0..self.list.len()).find(is_hole).unwrap_or(0);
        let last = (first..self.list.len()).rfind(is_hole).unwrap_or(first);
        first..last
    }

    /// The runs of `window`, cut wherever a free piece serves a request, each with the length of
    /// the shorter free piece on its two sides.
    fn runs(&self, window: Range<usize>) -> Vec<(Range<usize>, usize)> {
        let is_cut = |&index: &usize| {
            index == window.start || index == window.end || self.gap(index) >= self.usable
        };
        let cuts: Vec<usize> = (window.start..=window.end).filter(is_cut).collect();
        let shorter = |pair: &[usize]| {
            let shorter = self.gap(pair[0]).min(self.gap(pair[1]));
            if shorter >= self.usable { shorter } else { 0 }
        };
        cuts.windows(2).map(|pair| (pair[0]..pair[1], shorter(pair))).collect()
    }

    /// All live blocks of `window`, grouped by what [`group_name`] calls them: first those that
    /// keep most free memory apart, then those that take most.
    pub fn groups(&self, trace: &Trace, window: Range<usize>) -> Vec<Group> {
        let mut groups: HashMap<(u32, u32), (Group, usize)> = HashMap::new();
        for (run, (obstacles, keeps_apart_bytes)) in self.runs(window).into_iter().enumerate() {
            for obstacle in &self.list[obstacles] {
                for block in &self.live[obstacle.live.clone()] {
                    let site = trace.record(block.born as usize).map_or(0, |record| record.site);
                    let key = group_key(site, block.size_bytes);
                    let (group, last_run) = groups.entry(key).or_insert_with(|| {
                        let name = group_name(trace, site, block.size_bytes);
                        let group = Group { name, blocks: 0, bytes: 0, keeps_apart_bytes: 0 };
                        (group, usize::MAX)
                    });
                    group.blocks += 1;
                    group.bytes += obstacle.slot_bytes.unwrap_or(obstacle.live_bytes) as u64;
                    if *last_run != run {
                        *last_run = run;
                        group.keeps_apart_bytes += keeps_apart_bytes as u64;
                    }
                }
            }
        }
        let mut groups: Vec<Group> = groups.into_values().map(|(group, _)| group).collect();
        groups.sort_unstable_by(|a, b| {
            let key = |group: &Group| Reverse((group.keeps_apart_bytes, group.bytes));
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        groups
    }
}

impl Obstacle {
    /// `None` for a free block. `live` is in address order.
    fn of(block: &replay::Piece, live: &[LiveBlock]) -> Option<Self> {
        let (start, end) = (block.offset_bytes, block.offset_bytes + block.size_bytes);
        let (slot_bytes, live_bytes) = match block.state {
            BlockState::Free | BlockState::Top => return None,
            BlockState::Slab { slot_bytes, used_slots } => {
                (Some(slot_bytes), slot_bytes * used_slots)
            }
            _ => (None, block.size_bytes),
        };
        let first = live.partition_point(|block| block.start < start);
        let last = live.partition_point(|block| block.start < end);
        Some(Self { start, end, slot_bytes, live_bytes, live: first..last })
    }
}

/// For each block allocated before the event `until`, the index of the event that did.
fn births(trace: &Trace, until: usize) -> Vec<u64> {
    let events = trace.events()[..until].iter().enumerate();
    let allocations = events.filter(|(_, event)| matches!(event, Event::Alloc { .. }));
    allocations.map(|(index, _)| index as u64).collect()
}

#[cfg(test)]
mod tests {
    use evenfit_trace::{Record, Site, TraceBuilder};

    use super::*;

    /// Obstacles without live blocks, from start, end and live bytes.
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
        Obstacles { list: list.collect(), live: Vec::new(), usable: 1 }
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

    /// Pools drawn by hand: `.` is free, a letter a live block of its call site, `[` and `]` around
    /// live slots of a slab; one column is 100 bytes. And which groups keep how much apart, if no
    /// request is shorter than 200 bytes.
    #[test]
    fn pools_with_known_answers() {
        type Answer = (&'static str, u64, u64, u64);
        let pools: [(&str, &[Answer]); 9] = [
            // Nothing stands between two free pieces.
            ("", &[]),
            ("....", &[]),
            ("aabb", &[]),
            ("..aabb", &[]),
            // A single block.
            ("..a....", &[("a", 1, 100, 200)]),
            // A run of blocks of two sites: all are named.
            ("..aab...", &[("a", 2, 200, 200), ("b", 1, 100, 200)]),
            // A hole that no request can use separates nothing.
            ("...a.b....a..", &[("a", 2, 200, 500), ("b", 1, 100, 300)]),
            // At the edges of the pool nothing is kept apart.
            ("a..b..b", &[("b", 1, 100, 200)]),
            // The live slots of a slab, not the free ones.
            ("..[a-bb]..c...", &[("c", 1, 100, 200), ("b", 2, 200, 200), ("a", 1, 100, 200)]),
        ];
        for (drawn, expected) in pools {
            let (obstacles, trace) = of_drawing(drawn);
            let found = obstacles.groups(&trace, obstacles.between_holes());
            let mut found: Vec<(&str, u64, u64, u64)> = found
                .iter()
                .map(|it| (&*it.name, it.blocks, it.bytes, it.keeps_apart_bytes))
                .collect();
            let mut expected = expected.to_vec();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{drawn:?}");
        }
    }

    fn of_drawing(drawn: &str) -> (Obstacles, Trace) {
        const BYTES: usize = 100;
        let mut builder = TraceBuilder::default();
        let (mut list, mut live) = (Vec::new(), Vec::new());
        let (mut at, mut slab) = (0, None);
        for letter in drawn.chars() {
            match letter {
                '[' => slab = Some((at, live.len())),
                ']' => {
                    let (start, first) = slab.take().expect("an opening bracket");
                    let live_bytes = (live.len() - first) * BYTES;
                    list.push(Obstacle {
                        start,
                        end: at,
                        slot_bytes: Some(BYTES),
                        live_bytes,
                        live: first..live.len(),
                    });
                }
                '.' | '-' => at += BYTES,
                site => {
                    let born = live.len() as u64;
                    let (id, size) = (born as u32, BYTES as u64);
                    let event = Event::Alloc { id, size, align_log2: 3, zeroed: false };
                    let record = Record { site: site as u32, ..Record::from(event) };
                    builder.push(record).expect("a request");
                    live.push(LiveBlock { start: at, size_bytes: BYTES as u64, born });
                    if slab.is_none() {
                        list.push(Obstacle {
                            start: at,
                            end: at + BYTES,
                            slot_bytes: None,
                            live_bytes: BYTES,
                            live: born as usize..live.len(),
                        });
                    }
                    at += BYTES;
                }
            }
        }
        list.push(Obstacle { start: at, end: at, slot_bytes: None, live_bytes: 0, live: 0..0 });
        let sites = ('a'..='c').map(|name| Site {
            id: name as u32,
            name: name.to_string(),
            ..Site::default()
        });
        builder.sites(sites);
        (Obstacles { list, live, usable: 2 * BYTES }, builder.finish())
    }
}
