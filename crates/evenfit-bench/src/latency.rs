//! How long single operations take: the least time of each operation over several replays of the
//! same load.
//!
//! An interruption hits other operations in each replay. If an operation is slow in all of them,
//! the allocator is the cause.

use std::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::load::{Kind, Load};
use crate::peers::{self, About, Class, Peer, Visitor};
use crate::region::Region;
use crate::replay::step;
use crate::speed::Roomy;
use crate::workload::{Missing, Workload};

/// Time stamps of single operations.
pub struct Times {
    /// For each operation its least time in ticks, including that of measuring.
    pub ticks: Vec<u32>,
}

/// Nanoseconds that a part of the operations doesn't exceed.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles {
    /// Of the parts in [`PARTS`].
    pub ns: [f64; PARTS.len()],
}

/// The parts of operations in [`Percentiles`]: half, .. all.
pub const PARTS: [f64; 5] = [0.5, 0.99, 0.999, 0.9999, 1.0];

/// Names of [`PARTS`].
pub const PART_NAMES: [&str; PARTS.len()] = ["p50", "p99", "p99.9", "p99.99", "max"];

/// Percentiles of each of `names`, in their order, the no-op's median subtracted.
#[must_use]
pub fn measure(
    names: &[&str],
    workload: &Workload,
    replays: usize,
) -> Vec<Result<Percentiles, Missing>> {
    let load = match workload.fixed() {
        Ok(load) => load,
        Err(missing) => return vec![Err(missing); names.len()],
    };
    let noop =
        times("noop", workload, load, replays).map_or(0, |times| percentile(&times.sorted(), 0.5));
    names
        .iter()
        .map(|name| {
            let sorted = times(name, workload, load, replays)?.sorted();
            let ns = PARTS.map(|part| {
                f64::from(percentile(&sorted, part).saturating_sub(noop)) / ticks_per_ns()
            });
            Ok(Percentiles { ns })
        })
        .collect()
}

/// The least time of each operation of `load` over `replays` replays.
///
/// # Errors
/// When the allocator can't serve the load.
pub fn times(
    name: &str,
    workload: &Workload,
    load: &Load,
    replays: usize,
) -> Result<Times, Missing> {
    let len_bytes = peers::with(name, &mut Roomy::new(workload)).expect("a known name")?;
    let mut times = Times { ticks: vec![u32::MAX; load.ops.len()] };
    for _ in 0..replays {
        peers::with(name, &mut Timed { load, len_bytes, times: &mut times })
            .expect("a known name")?;
    }
    Ok(times)
}

impl Times {
    fn sorted(self) -> Vec<u32> {
        let mut ticks = self.ticks;
        ticks.sort_unstable();
        ticks
    }
}

fn percentile(sorted: &[u32], part: f64) -> u32 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

struct Timed<'a> {
    load: &'a Load,
    len_bytes: usize,
    times: &'a mut Times,
}

impl Visitor for Timed<'_> {
    type Out = Result<(), Missing>;

    fn visit<P: Peer>(&mut self, about: About) -> Self::Out {
        let region = Region::new(self.len_bytes).map_err(|_| Missing::NeverServed)?;
        let mut slots = vec![std::ptr::null_mut(); self.load.slots];
        // SAFETY: the region outlives the allocator and serves it alone; the load was made by a
        // `LoadBuilder`.
        unsafe {
            let mut peer = P::over(region.base(), self.len_bytes).ok_or(Missing::NeverServed)?;
            for (op, least) in self.load.ops.iter().zip(&mut self.times.ticks) {
                let start = before();
                let served = step(&mut *peer, op, &mut slots);
                let ticks = after() - start;
                if !served {
                    return Err(Missing::NeverServed);
                }
                *least = (*least).min(u32::try_from(ticks).unwrap_or(u32::MAX));
            }
            if about.class == Class::Os {
                free_rest(&mut *peer, self.load, &mut slots);
            }
        }
        Ok(())
    }
}

/// Frees the blocks that a load leaves live, if they would leak.
///
/// # Safety
/// The whole load was just replayed with `slots`.
pub unsafe fn free_rest<P: Peer>(peer: &mut P, load: &Load, slots: &mut [*mut u8]) {
    let mut last = vec![None; load.slots];
    for op in &load.ops {
        last[op.slot as usize] = Some(*op);
    }
    for mut op in last.into_iter().flatten().filter(|op| op.kind != Kind::Free) {
        op.kind = Kind::Free;
        // SAFETY: the slot's last operation left a block of this size and alignment in it.
        unsafe { step(peer, &op, slots) };
    }
}

/// The time stamp, after everything before it is done and before anything after it begins.
#[inline(always)]
fn before() -> u64 {
    // SAFETY: every x86-64 has these instructions.
    unsafe {
        _mm_lfence();
        let ticks = _rdtsc();
        _mm_lfence();
        ticks
    }
}

/// As [`before`]; waits for the measured operation.
#[inline(always)]
fn after() -> u64 {
    let mut cpu = 0;
    // SAFETY: every x86-64 that Linux runs on has these instructions.
    unsafe {
        let ticks = __rdtscp(&mut cpu);
        _mm_lfence();
        ticks
    }
}

/// The rate of the time stamp counter, measured once.
fn ticks_per_ns() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (start, ticks) = (Instant::now(), before());
        while start.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        (after() - ticks) as f64 / start.elapsed().as_nanos() as f64
    })
}
