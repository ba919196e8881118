//! Nanoseconds an operation: rounds over all allocators in turn, the median of each, the no-op's subtracted.

use std::time::Instant;

use crate::load::{Kind, Load};
use crate::peers::{self, About, Class, Peer, Visitor};
use crate::pool::{Missing, roomy, slots};
use crate::region::Region;
use crate::replay::{replay, step};
use crate::table::Cell;

/// Nanoseconds an operation of each of `names`, in their order, the no-op replay subtracted.
pub fn measure(names: &[&str], load: &Load, rounds: usize) -> Vec<Cell> {
    let mut pools = Vec::new();
    for name in std::iter::once(&"noop").chain(names) {
        pools.push((
            *name,
            peers::with(name, &mut Roomy { load }).expect("a known name"),
        ));
    }
    let longest = pools
        .iter()
        .filter_map(|(_, pool)| pool.ok())
        .max()
        .unwrap_or(0);
    let Ok(region) = Region::new(longest) else {
        return vec![Err(Missing::NeverServed); names.len()];
    };
    let mut times = vec![Vec::new(); pools.len()];
    // One round more than counted: it warms the caches and the operating system's allocators.
    for round in 0..=rounds {
        for (index, (name, pool)) in pools.iter().enumerate() {
            if let Ok(len_bytes) = *pool {
                let mut run = Run {
                    load,
                    region: &region,
                    len_bytes,
                };
                let ns = peers::with(name, &mut run).expect("a known name");
                if round > 0 {
                    times[index].push(ns);
                }
            }
        }
    }
    let noop = median(&mut times[0]);
    (1..pools.len())
        .map(|index| {
            pools[index]
                .1
                .map(|_| (median(&mut times[index]) - noop) / load.ops.len() as f64)
        })
        .collect()
}

/// The middle value; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

struct Roomy<'a> {
    load: &'a Load,
}

impl Visitor for Roomy<'_> {
    type Out = Result<usize, Missing>;

    fn visit<P: Peer>(&mut self, about: About) -> Self::Out {
        roomy::<P>(&about, self.load)
    }
}

struct Run<'a> {
    load: &'a Load,
    region: &'a Region,
    len_bytes: usize,
}

impl Visitor for Run<'_> {
    type Out = f64;

    fn visit<P: Peer>(&mut self, about: About) -> f64 {
        let mut slots = slots(self.load);
        // SAFETY: the region outlives the allocator and serves it alone; the load was made by a `LoadBuilder`.
        unsafe {
            let mut peer =
                P::over(self.region.base(), self.len_bytes).expect("it could be built before");
            let start = Instant::now();
            let served = replay(&mut *peer, &self.load.ops, &mut slots);
            let ns = start.elapsed().as_nanos() as f64;
            assert!(served, "{} served this load before", about.name);
            if about.class == Class::Os {
                free_rest(&mut *peer, self.load, &mut slots);
            }
            ns
        }
    }
}

/// Frees what a load leaves live, where leaving it would leak.
///
/// # Safety
/// The whole load was just replayed with `slots`.
unsafe fn free_rest<P: Peer>(peer: &mut P, load: &Load, slots: &mut [*mut u8]) {
    let mut last = vec![None; load.slots];
    for op in &load.ops {
        last[op.slot as usize] = Some(*op);
    }
    for mut op in last
        .into_iter()
        .flatten()
        .filter(|op| op.kind != Kind::Free)
    {
        op.kind = Kind::Free;
        // SAFETY: the slot's last operation left a block of this size and alignment in it.
        unsafe { step(peer, &op, slots) };
    }
}
