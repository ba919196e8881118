//! The pool of a running process.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use evenfit::BlockState;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::draw::{self, Cell, Cells, Header, Holder, Screen};
use crate::commands::report::picture::doublings_up_to;
use crate::live::{Process, Sample, Unseen};
use crate::output::{Answer, InputError, STRONG};
use crate::size::{counted, grouped, human};

/// The least time between two copies of the process's pool. Copying takes at most a tenth of the
/// time.
const LOOK: Duration = Duration::from_millis(100);
/// Most moments that are kept, to go back to. If there are more, every other one is dropped.
const MOMENTS_MAX: usize = 2_000;
/// Pieces of the map kept for each of them.
const PIECES: usize = 4_096;
/// The least part of the pool that the map shows.
const MAP_BYTES_MIN: u64 = 64 << 10;

/// The answer to `--list`.
pub(super) fn list(json: bool) -> Result<Answer, InputError> {
    let pools: Vec<Now> = Process::all()
        .iter()
        .filter_map(|process| Some(Now::of(process, &process.sample().ok()?)))
        .collect();
    if json {
        return Answer::json("top-list", &List { pools }, true);
    }
    if pools.is_empty() {
        return Ok(Answer::yes(
            "no process shows its pool; start one with `evenfit run -- PROGRAM`\n",
        ));
    }
    let mut text = format!(
        "{STRONG}{:>8}  {:<16} {:>10} {:>10} {:>10} {:>10} {:>9}{STRONG:#}\n",
        "process", "program", "used", "most ever", "region", "failed", "refused"
    );
    for pool in pools {
        let _ = writeln!(
            text,
            "{:>8}  {:<16} {:>10} {:>10} {:>10} {:>10} {:>9}",
            pool.process_id,
            pool.program,
            human(pool.used_bytes),
            human(pool.peak_used_bytes),
            human(pool.region_bytes),
            grouped(pool.failed_requests),
            grouped(pool.refused_frees),
        );
    }
    Ok(Answer::yes(text))
}

/// Watches a process, or answers for this moment.
pub(super) fn watch(process_id: u32, at: Option<&str>, json: bool) -> Result<Answer, InputError> {
    let unseen = |error: Unseen| InputError(error.say(process_id));
    if let Some(moment) = at.filter(|&moment| moment != "now") {
        return Err(InputError(format!(
            "--at {moment} is of a recording; a running process has `--at now`"
        )));
    }
    let process = Process::find(process_id).map_err(unseen)?;
    let sample = process.sample().map_err(unseen)?;
    if json {
        return Answer::json("top-process", &Now::of(&process, &sample), true);
    }
    let mut watcher = Watcher::new(process);
    watcher.take(&sample);
    if at.is_some() {
        return Ok(Answer::yes(draw::plain(&watcher)));
    }
    draw::show(&mut watcher).map(|()| Answer::yes(""))
}

/// The answer to `--list`.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct List {
    /// One for each process whose pool can be seen.
    pools: Vec<Now>,
}

/// A moment in numbers.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct Now {
    process_id: u32,
    program: String,
    /// Pool and metadata.
    region_bytes: u64,
    pool_bytes: u64,
    /// In live blocks, as rounded.
    used_bytes: u64,
    live_blocks: u64,
    /// The most bytes in used blocks at once, as rounded.
    peak_used_bytes: u64,
    free_bytes: u64,
    /// In how many pieces that is.
    free_pieces: u64,
    largest_free_bytes: u64,
    never_used_bytes: u64,
    failed_requests: u64,
    refused_frees: u64,
    /// False if the heap was changing during every copy: some of its blocks may be missing here.
    whole: bool,
    holders: Vec<Holder>,
}

impl Now {
    fn of(process: &Process, sample: &Sample) -> Self {
        let granule = process.granule_bytes();
        let counters = &sample.counters;
        let pool_bytes = counters.end.saturating_mul(granule);
        let mut now = Self {
            process_id: process.id,
            program: process.name.clone(),
            region_bytes: process.region_bytes(),
            pool_bytes,
            used_bytes: 0,
            live_blocks: 0,
            peak_used_bytes: counters.used_peak.saturating_mul(granule),
            free_bytes: 0,
            free_pieces: 0,
            largest_free_bytes: 0,
            never_used_bytes: counters
                .end
                .saturating_sub(counters.top_peak)
                .saturating_mul(granule),
            failed_requests: counters.failed_requests,
            refused_frees: counters.refused_frees,
            whole: sample.is_whole,
            holders: Vec::new(),
        };
        let mut holders: HashMap<String, (u64, u64)> = HashMap::new();
        for block in &sample.blocks {
            let (name, blocks, bytes) = match block.state {
                BlockState::Used => {
                    let from = 1_u64 << block.size_bytes.max(1).ilog2();
                    let name = format!("{} to {}", human(from), human(2 * from));
                    (name, 1, block.size_bytes as u64)
                }
                BlockState::Slab { slot_bytes, used_slots } => {
                    let bytes = (slot_bytes * used_slots) as u64;
                    (format!("slots of {slot_bytes}"), used_slots as u64, bytes)
                }
                _ => {
                    now.free_pieces += 1;
                    now.largest_free_bytes = now.largest_free_bytes.max(block.size_bytes as u64);
                    continue;
                }
            };
            now.used_bytes += bytes;
            now.live_blocks += blocks;
            let holder = holders.entry(name).or_insert((0, 0));
            holder.0 += blocks;
            holder.1 += bytes;
        }
        now.free_bytes = pool_bytes.saturating_sub(now.used_bytes);
        let holders = holders.into_iter().filter(|(_, (blocks, _))| *blocks > 0);
        now.holders = draw::largest(
            holders.map(|(name, (blocks, bytes))| Holder { name, blocks, bytes }).collect(),
        );
        now
    }

    /// The part of what is free that is in one piece, in thousandths.
    fn in_one_piece(&self) -> u64 {
        match self.free_bytes {
            0 => 1000,
            free => (self.largest_free_bytes as u128 * 1000 / free as u128) as u64,
        }
    }
}

/// A cell in two bytes: how full, and eighths of doublings of the largest block.
#[derive(Clone, Copy, Default)]
struct Piece {
    share: u8,
    size: u8,
}

impl From<Cell> for Piece {
    fn from(cell: Cell) -> Self {
        // A cell that is used a little must not become an empty one.
        let share = (cell.share.min(1.0) * 255.0).ceil() as u8;
        let size = ((cell.largest_bytes.max(1) as f64).log2() * 8.0) as u8;
        Self { share, size }
    }
}

/// The pool at one moment.
struct Moment {
    after: Duration,
    now: Now,
    /// The part of the pool that the pieces are of, from its start.
    map_bytes: u64,
    pieces: Box<[Piece]>,
}

struct Watcher {
    process: Process,
    begun: Instant,
    next_look: Instant,
    moments: Vec<Moment>,
    /// The moment shown; the newest if none is chosen.
    chosen: Option<usize>,
    largest_bytes: usize,
    has_ended: bool,
}

impl Watcher {
    fn new(process: Process) -> Self {
        let now = Instant::now();
        Self {
            process,
            begun: now,
            next_look: now,
            moments: Vec::new(),
            chosen: None,
            largest_bytes: 16,
            has_ended: false,
        }
    }

    fn look(&mut self) {
        let begun = Instant::now();
        match self.process.sample() {
            Ok(sample) => self.take(&sample),
            // The program may have been replaced by another one.
            Err(_) => match Process::find(self.process.id) {
                Ok(process) => self.process = process,
                Err(_) => self.has_ended = true,
            },
        }
        self.next_look = begun + LOOK.max(begun.elapsed() * 10);
    }

    fn take(&mut self, sample: &Sample) {
        let now = Now::of(&self.process, sample);
        let ever_used = now.pool_bytes - now.never_used_bytes.min(now.pool_bytes);
        let map_bytes = ever_used.next_power_of_two().max(MAP_BYTES_MIN).min(now.pool_bytes.max(1));
        let mut cells = Cells::new(PIECES, map_bytes as f64);
        for block in &sample.blocks {
            let (share, block_bytes) = match block.state {
                BlockState::Used => (1.0, block.size_bytes),
                BlockState::Slab { slot_bytes, used_slots } => {
                    ((slot_bytes * used_slots) as f64 / block.size_bytes as f64, slot_bytes)
                }
                _ => continue,
            };
            self.largest_bytes = self.largest_bytes.max(block_bytes);
            cells.lay(block.offset_bytes, block.size_bytes, share, block_bytes);
        }
        if self.moments.len() == MOMENTS_MAX {
            self.thin_out();
        }
        self.moments.push(Moment {
            after: self.begun.elapsed(),
            now,
            map_bytes,
            pieces: cells.finish().into_iter().map(Piece::from).collect(),
        });
    }

    /// Drops every other moment, except those that a key leads to.
    fn thin_out(&mut self) {
        let keep = [
            self.chosen,
            self.extreme(|now| now.used_bytes),
            self.extreme(|now| 1000 - now.in_one_piece().min(1000)),
        ];
        let mut at = 0;
        let mut chosen = None;
        let mut kept = 0;
        self.moments.retain(|_| {
            let stays = at % 2 == 0 || keep.contains(&Some(at));
            if stays && self.chosen == Some(at) {
                chosen = Some(kept);
            }
            kept += usize::from(stays);
            at += 1;
            stays
        });
        self.chosen = chosen;
    }

    /// The first moment at which this was most.
    fn extreme(&self, value: impl Fn(&Now) -> u64) -> Option<usize> {
        (0..self.moments.len()).rev().max_by_key(|&at| value(&self.moments[at].now))
    }

    fn at(&self) -> usize {
        let last = self.moments.len().saturating_sub(1);
        self.chosen.unwrap_or(last).min(last)
    }

    fn header(&self, moment: &Moment) -> Header {
        let Now { program, process_id, region_bytes, .. } = &moment.now;
        let now = &moment.now;
        let state = match self.chosen {
            Some(_) => format!("paused at {:.1} s", moment.after.as_secs_f64()),
            None if self.has_ended => "ended".to_owned(),
            None => format!("live, {:.0} s", moment.after.as_secs_f64()),
        };
        Header {
            title: format!("{program}, process {process_id}"),
            pool: format!("in a pool of {}", human(*region_bytes)),
            state,
            is_bad: now.failed_requests > 0 || now.refused_frees > 0,
            lines: [
                format!(
                    "used {} in {}, most ever used {}   largest free {} of {}",
                    human(now.used_bytes),
                    counted(now.live_blocks, "block"),
                    human(now.peak_used_bytes),
                    human(now.largest_free_bytes),
                    counted(now.free_pieces, "piece"),
                ),
                format!(
                    "failed requests {}   refused frees {}{}",
                    grouped(now.failed_requests),
                    grouped(now.refused_frees),
                    if now.whole { "" } else { "   (too busy to be seen whole)" },
                ),
            ],
        }
    }

    fn curves(&self, area: Rect, buffer: &mut Buffer) {
        let [used, piece] = draw::two(area);
        let shown = &self.moments[..=self.at()];
        let bars = |value: &dyn Fn(&Now) -> u64, width: usize| -> Vec<u64> {
            let width = width.min(shown.len());
            (0..width)
                .map(|x| {
                    let (from, to) = (x * shown.len() / width, (x + 1) * shown.len() / width);
                    let values = shown[from..to].iter().map(|moment| value(&moment.now));
                    values.max().unwrap_or(0)
                })
                .collect()
        };
        let most = self.moments.iter().map(|moment| moment.now.used_bytes).max();
        let most = most.unwrap_or(0);
        draw::curve(
            format!("used bytes, up to {}", human(most)),
            Color::Blue,
            most,
            |width| bars(&|now| now.used_bytes, width),
            used,
            buffer,
        );
        draw::curve(
            "free memory that is in one piece".into(),
            Color::Green,
            1000,
            |width| bars(&Now::in_one_piece, width),
            piece,
            buffer,
        );
    }
}

impl Screen for Watcher {
    fn render(&self, area: Rect, buffer: &mut Buffer) {
        let [top, map, side, curves, keys] = draw::areas(area);
        let Some(moment) = self.moments.get(self.at()) else {
            return;
        };
        self.header(moment).render(top, buffer);
        let title = if moment.map_bytes < moment.now.pool_bytes {
            format!(
                "the first {} of {}: all ever used",
                human(moment.map_bytes),
                human(moment.now.pool_bytes)
            )
        } else {
            "pool".to_owned()
        };
        let cells = |count: usize| {
            let piece_bytes = moment.map_bytes as f64 / PIECES as f64;
            let mut cells = Cells::new(count, moment.map_bytes as f64);
            for (at, piece) in moment.pieces.iter().enumerate().filter(|(_, p)| p.share > 0) {
                let (from, to) = (at as f64 * piece_bytes, (at + 1) as f64 * piece_bytes);
                let share = f64::from(piece.share) / 255.0;
                let block_bytes = (f64::from(piece.size) / 8.0).exp2().ceil() as usize;
                cells.lay(from as usize, to as usize - from as usize, share, block_bytes);
            }
            cells.finish()
        };
        draw::map(title, doublings_up_to(self.largest_bytes), cells, map, buffer);
        draw::holders(&moment.now.holders, side, buffer);
        self.curves(curves, buffer);
        draw::keys(
            "space pause  ←→ step  p fullest seen  w most in pieces  Home first  End live  q quit",
            keys,
            buffer,
        );
    }

    fn press(&mut self, key: KeyCode, with: KeyModifiers) -> bool {
        let stride = if with.contains(KeyModifiers::SHIFT) { 100 } else { 1 };
        let last = self.moments.len().saturating_sub(1);
        let at = self.at();
        self.chosen = match key {
            KeyCode::Char(' ') if self.chosen.is_none() => Some(at),
            KeyCode::Char(' ') | KeyCode::End => None,
            KeyCode::Right => Some((at + stride).min(last)),
            KeyCode::Left => Some(at.saturating_sub(stride)),
            KeyCode::Home => Some(0),
            KeyCode::Char('p') => self.extreme(|now| now.used_bytes),
            KeyCode::Char('w') => self.extreme(|now| 1000 - now.in_one_piece().min(1000)),
            _ => self.chosen,
        };
        true
    }

    fn advance(&mut self, _by: Duration) {
        if !self.has_ended && Instant::now() >= self.next_look {
            self.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::alloc::Layout;
    use core::mem::MaybeUninit;

    /// A heap of this very process, seen through its page.
    #[test]
    fn keys_go_back_to_what_was_seen_and_to_the_fullest_moment() {
        let mut region = vec![MaybeUninit::uninit(); 4 << 20];
        let mut heap: evenfit::Heap = evenfit::Heap::from_region(&mut region).unwrap();
        assert!(evenfit_trace::live::publish(&heap));
        let process = Process::find(std::process::id()).unwrap();
        let mut watcher = Watcher::new(process);
        let layout = Layout::from_size_align(1000, 8).unwrap();
        let mut blocks = Vec::new();
        let mut most = 0;
        for look in 0..3 * MOMENTS_MAX {
            if look < 2_000 {
                blocks.push(heap.allocate(layout).unwrap());
                most = heap.stats().used_bytes as u64;
            } else if let Some(block) = blocks.pop() {
                // SAFETY: live, and not used again.
                unsafe { heap.try_deallocate(block.cast(), layout).unwrap() };
            }
            if look % 7 == 0 || look == 1_999 {
                let sample = watcher.process.sample().unwrap();
                assert!(sample.is_whole);
                watcher.take(&sample);
                let now = &watcher.moments.last().unwrap().now;
                assert_eq!(now.used_bytes, heap.stats().used_bytes as u64);
                assert_eq!(now.largest_free_bytes, heap.largest_free() as u64);
                assert_eq!(now.live_blocks, heap.stats().live_blocks as u64);
            }
        }
        let press = |watcher: &mut Watcher, key| watcher.press(key, KeyModifiers::NONE);
        press(&mut watcher, KeyCode::Char('p'));
        assert_eq!(watcher.moments[watcher.at()].now.used_bytes, most);
        watcher.thin_out();
        watcher.thin_out();
        assert_eq!(watcher.moments[watcher.at()].now.used_bytes, most);
        let fullest = watcher.at();
        press(&mut watcher, KeyCode::Left);
        assert_eq!(watcher.at(), fullest - 1);
        press(&mut watcher, KeyCode::Home);
        assert_eq!(watcher.at(), 0);
        press(&mut watcher, KeyCode::End);
        assert_eq!(watcher.at(), watcher.moments.len() - 1);
        press(&mut watcher, KeyCode::Char(' '));
        assert!(watcher.chosen.is_some());
        press(&mut watcher, KeyCode::Char(' '));
        assert!(watcher.chosen.is_none());
        for (width, height) in [(1, 1), (5, 3), (20, 10), (80, 24), (300, 100)] {
            let area = Rect::new(0, 0, width, height);
            watcher.render(area, &mut Buffer::empty(area));
        }
    }

    #[test]
    fn moments_kept_are_bounded() {
        let mut region = vec![MaybeUninit::uninit(); 1 << 16];
        let heap: evenfit::Heap = evenfit::Heap::from_region(&mut region).unwrap();
        assert!(evenfit_trace::live::publish(&heap));
        let sample = || Sample {
            counters: evenfit::observe::Counters::default(),
            blocks: heap.blocks().collect(),
            is_whole: true,
        };
        let mut watcher = Watcher::new(Process::find(std::process::id()).unwrap());
        for _ in 0..2 * MOMENTS_MAX {
            watcher.take(&sample());
            assert!(watcher.moments.len() <= MOMENTS_MAX);
        }
    }
}
