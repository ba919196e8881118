//! The most instructions in one operation, by stepping it: exact, and the same whatever else the
//! machine does.
//!
//! Stepping everything would take days. So all operations are stepped in windows spread over the
//! load, and everywhere the ones that took longest in several timed replays.

use std::time::{Duration, Instant};

use evenfit_verify::stepping::{Count, Stepper};

use crate::adversary;
use crate::latency::{free_rest, times};
use crate::load::{Kind, Load, Op};
use crate::peers::{self, About, Class, Peer, Visitor};
use crate::region::Region;
use crate::replay::step;
use crate::speed::Roomy;
use crate::workload::{Missing, Workload};
use std::alloc::Layout;

/// The most instructions of one operation of each kind, without the C library's copies of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worst {
    /// Of an allocation.
    pub alloc: u64,
    /// Of a free.
    pub free: u64,
    /// Of a change of size.
    pub realloc: u64,
    /// How many operations were stepped.
    pub stepped: usize,
}

impl Worst {
    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Alloc => &mut self.alloc,
            Kind::Free => &mut self.free,
            Kind::Realloc => &mut self.realloc,
        }
    }

    /// Keeps the larger of each.
    pub fn merge(&mut self, other: &Self) {
        for kind in [Kind::Alloc, Kind::Free, Kind::Realloc] {
            let mut other = *other;
            *self.of(kind) = (*self.of(kind)).max(*other.of(kind));
        }
        self.stepped += other.stepped;
    }
}

/// How much is stepped.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Windows spread evenly over the load.
    pub windows: usize,
    /// Operations in each.
    pub window: usize,
    /// The slowest operations of each kind.
    pub slowest: usize,
    /// Timed replays by which they are found.
    pub replays: usize,
    /// Stepping stops after this long; the slowest operation of each kind is stepped nevertheless.
    pub limit: Duration,
}

impl Sample {
    /// For figures to publish.
    pub const FULL: Self =
        Self { windows: 40, window: 100, slowest: 300, replays: 4, limit: Duration::from_secs(6) };
    /// For a quick look.
    pub const QUICK: Self =
        Self { windows: 10, window: 50, slowest: 60, replays: 2, limit: Duration::from_secs(1) };
}

/// The most instructions of each of `names`, in their order.
#[must_use]
pub fn measure(names: &[&str], workload: &Workload, sample: Sample) -> Vec<Result<Worst, Missing>> {
    names.iter().map(|name| one(name, workload, sample)).collect()
}

fn one(name: &str, workload: &Workload, sample: Sample) -> Result<Worst, Missing> {
    let len_bytes = peers::with(name, &mut Roomy::new(workload)).expect("a known name")?;
    let played;
    let load = match workload {
        Workload::Fixed(load) => load,
        Workload::Adversary => {
            played = peers::with(name, &mut Played { len_bytes }).expect("a known name")?;
            &played
        }
    };
    let ticks = times(name, workload, load, sample.replays)?.ticks;
    let chosen = chosen(load, &ticks, sample);
    let mut stepped = Stepped { load, len_bytes, chosen: &chosen, limit: sample.limit };
    peers::with(name, &mut stepped).expect("a known name")
}

/// A change of size that moves more payload isn't stepped. A copy by one repeated instruction would
/// be a step for each of its turns, and isn't part of the figure.
const COPY_BYTES_MAX: u32 = 4096;

/// The operations to step: `true` if the time limit doesn't apply.
fn chosen(load: &Load, ticks: &[u32], sample: Sample) -> Vec<Option<bool>> {
    let mut chosen = vec![None; load.ops.len()];
    let stride = (load.ops.len() / sample.windows).max(1);
    for start in (0..load.ops.len()).step_by(stride) {
        let end = load.ops.len().min(start + sample.window);
        chosen[start..end].fill(Some(false));
    }
    for (op, chosen) in load.ops.iter().zip(&mut chosen) {
        if copies_much(op) {
            *chosen = None;
        }
    }
    for kind in [Kind::Alloc, Kind::Free, Kind::Realloc] {
        let mut of_kind: Vec<usize> = (0..load.ops.len())
            .filter(|&index| load.ops[index].kind == kind && !copies_much(&load.ops[index]))
            .collect();
        of_kind.sort_by_key(|&index| std::cmp::Reverse(ticks[index]));
        for (rank, &index) in of_kind.iter().take(sample.slowest).enumerate() {
            chosen[index] = Some(rank == 0);
        }
    }
    chosen
}

fn copies_much(op: &Op) -> bool {
    op.kind == Kind::Realloc && op.size.min(op.old_size) > COPY_BYTES_MAX
}

/// The adversary's game against an allocator, as a load.
struct Played {
    len_bytes: usize,
}

impl Visitor for Played {
    type Out = Result<Load, Missing>;

    fn visit<P: Peer>(&mut self, _: About) -> Self::Out {
        let region = Region::untouched(self.len_bytes).map_err(|_| Missing::NeverServed)?;
        let mut slots = Workload::Adversary.slots();
        // SAFETY: the region outlives the allocator and serves it alone.
        unsafe {
            let mut peer = P::over(region.base(), self.len_bytes).ok_or(Missing::NeverServed)?;
            let load = adversary::play(&mut *peer, region.base(), &mut slots)
                .ok_or(Missing::NeverServed)?;
            Ok(load)
        }
    }
}

struct Stepped<'a> {
    load: &'a Load,
    len_bytes: usize,
    chosen: &'a [Option<bool>],
    limit: Duration,
}

impl Visitor for Stepped<'_> {
    type Out = Result<Worst, Missing>;

    fn visit<P: Peer>(&mut self, about: About) -> Self::Out {
        let region = Region::new(self.len_bytes).map_err(|_| Missing::NeverServed)?;
        let mut slots = vec![std::ptr::null_mut(); self.load.slots];
        let mut stepper = Stepper::new();
        let mut worst = Worst::default();
        let start = Instant::now();
        // SAFETY: the region outlives the allocator and serves it alone; the load was made by a
        // `LoadBuilder`.
        unsafe {
            let mut peer = P::over(region.base(), self.len_bytes).ok_or(Missing::NeverServed)?;
            for (op, chosen) in self.load.ops.iter().zip(self.chosen) {
                let wanted = chosen.is_some_and(|always| always || start.elapsed() < self.limit);
                if !wanted {
                    if !step(&mut *peer, op, &mut slots) {
                        return Err(Missing::NeverServed);
                    }
                    continue;
                }
                let count =
                    single(&mut stepper, &mut *peer, op, &mut slots).ok_or(Missing::NeverServed)?;
                // The C library's own allocator is all library; elsewhere that is only where
                // payload is copied.
                let instructions = if about.class == Class::Os { count.total() } else { count.own };
                let most = worst.of(op.kind);
                *most = (*most).max(instructions);
                worst.stepped += 1;
            }
            if about.class == Class::Os {
                drop(stepper);
                free_rest(&mut *peer, self.load, &mut slots);
            }
        }
        Ok(worst)
    }
}

/// Performs one operation and steps only the call; `None` if it wasn't served.
///
/// # Safety
/// As [`step`].
pub unsafe fn single<P: Peer>(
    stepper: &mut Stepper,
    peer: &mut P,
    op: &Op,
    slots: &mut [*mut u8],
) -> Option<Count> {
    let align = 1 << op.align_log2;
    let slot = &mut slots[op.slot as usize];
    let ptr = *slot;
    // SAFETY: sizes and alignments come from a `LoadBuilder`; the rest is passed on.
    unsafe {
        let layout = |size: u32| Layout::from_size_align_unchecked(size as usize, align);
        let (new, old) = (layout(op.size), layout(op.old_size.max(1)));
        let (ptr, count) = match op.kind {
            Kind::Alloc => stepper.count(|| peer.alloc(new)),
            Kind::Free => {
                let ((), count) = stepper.count(|| peer.dealloc(ptr, new));
                return Some(count);
            }
            Kind::Realloc => stepper.count(|| peer.realloc(ptr, old, new.size())),
        };
        if ptr.is_null() {
            return None;
        }
        ptr.write_volatile(1);
        *slot = ptr;
        Some(count)
    }
}
