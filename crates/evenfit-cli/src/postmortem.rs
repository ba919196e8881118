//! Why a request failed: how much was free, in which pieces, and which live blocks were between
//! them.

use std::fmt::{self, Write as _};
use std::ops::Range;

use evenfit_trace::replay::Allocator;
use evenfit_trace::{Event, Trace};
use schemars::JsonSchema;
use serde::Serialize;

use crate::obstacles::{Group, LiveBlock, Obstacle, Obstacles};
use crate::output::{FAINT, STRONG, Table};
use crate::replay::Replay;
use crate::size::{both, counted, grouped};

/// Blocks and slabs shown of those in the way; the rest are counted.
const SHOWN_MAX: usize = 8;

/// The state at the operation that failed. Sizes are in bytes, operations count from 1.
#[derive(Debug, Serialize, JsonSchema)]
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
    /// Live blocks between free pieces that in one piece would have served the request: of all such
    /// neighbours, those with the fewest bytes. 0 if a free block was long enough but could not be
    /// used, or if the whole pool is too small.
    pub in_the_way_blocks: u64,
    /// Bytes they take.
    pub in_the_way_bytes: u64,
    /// All of them, by call site or size: those that keep most free memory apart first.
    pub in_the_way: Vec<Group>,
    /// They and the free pieces beside them, in address order, up to 8 blocks or slabs.
    pub window: Vec<Piece>,
    /// How many of the blocks in the way `window` omits.
    pub more_in_the_way_blocks: u64,
}

/// A block to be resized.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Resized {
    /// Bytes it had asked for.
    pub bytes: u64,
    /// The operation that allocated it.
    pub allocated_at: u64,
}

/// A piece of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Piece {
    /// Free memory.
    Free {
        /// Its length, in bytes.
        bytes: u64,
    },
    /// A live block.
    Live {
        /// Its length, its header included.
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
    /// Examines a replay that stopped because a request failed. O(n log n) in the live blocks, and
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
        Self {
            operation: operation as u64 + 1,
            requested_bytes,
            align_bytes,
            resized_from: resized_from
                .map(|(born, bytes)| Resized { bytes, allocated_at: born + 1 }),
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
            in_the_way: obstacles.groups(trace, window.clone()),
            window: pieces(&obstacles, window, trace, operation),
        }
    }
}

/// What the event at which `replay` stopped asks for, and of the block that it resizes the event
/// that allocated it and its size.
fn request<A: Allocator>(replay: &Replay<A>) -> (u64, u64, Option<(u64, u64)>) {
    match replay.trace().events().get(replay.position()) {
        Some(&Event::Alloc { size, align_log2, .. }) => (size, 1 << align_log2, None),
        Some(&Event::Realloc { id, new_size }) => {
            let old = replay.live().find(|&(live, _)| live == id).map(|(_, live)| live.layout);
            let align = old.map_or(1, |old| old.align() as u64);
            let events = replay.trace().events().iter().enumerate();
            let mut born = events.filter(|(_, event)| matches!(event, Event::Alloc { .. }));
            let born = born.nth(id as usize).map_or(0, |(event, _)| event as u64);
            (new_size, align, Some((born, old.map_or(0, |old| old.size() as u64))))
        }
        Some(Event::Free { .. }) | None => (0, 1, None),
    }
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

/// The obstacles of `window` and the free pieces beside them, as far as they are shown.
fn pieces(obstacles: &Obstacles, window: Range<usize>, trace: &Trace, now: usize) -> Vec<Piece> {
    let free = |index: usize| {
        let bytes = obstacles.gap(index) as u64;
        (bytes > 0).then_some(Piece::Free { bytes })
    };
    let shown = window.start..window.end.min(window.start + SHOWN_MAX);
    let last_gap = (shown.end == window.end && !window.is_empty()).then(|| free(window.end));
    let pairs = shown.flat_map(|index| {
        let obstacle = &obstacles.list[index];
        let live = &obstacles.live[obstacle.live.clone()];
        free(index).into_iter().chain([piece(obstacle, live, trace, now)])
    });
    pairs.chain(last_gap.flatten()).collect()
}

fn piece(obstacle: &Obstacle, live: &[LiveBlock], trace: &Trace, now: usize) -> Piece {
    let bytes = (obstacle.end - obstacle.start) as u64;
    let oldest = live.iter().min_by_key(|block| block.born);
    let (event, requested_bytes) = oldest.map_or((0, 0), |block| (block.born, block.size_bytes));
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
        if count > 1 {
            self.write_groups(f)?;
        }
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

impl PostMortem {
    fn write_groups(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        for group in self.in_the_way.iter().take(SHOWN_MAX) {
            table.row(&group.name, counted(group.blocks, "block"), both(group.bytes));
        }
        if let Some(rest @ [_, ..]) = self.in_the_way.get(SHOWN_MAX..) {
            let blocks = rest.iter().map(|group| group.blocks).sum();
            let bytes = rest.iter().map(|group| group.bytes).sum();
            let label = format!("and {} more", grouped(rest.len() as u64));
            table.row(&label, counted(blocks, "block"), both(bytes));
        }
        writeln!(f, "{table}")
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
