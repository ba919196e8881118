//! Nanoseconds per operation: the allocators take turns in rounds; the median of each, less the
//! no-op's.

use std::time::{Duration, Instant};

use crate::latency::free_rest;
use crate::load::Load;
use crate::peers::{self, About, Class, Peer, Visitor};
use crate::region::Region;
use crate::replay::replay;
use crate::table::Cell;
use crate::workload::{Missing, REPLAY_LIMIT, Workload};

/// Nanoseconds per operation of each of `names`, in their order, less the no-op's.
#[must_use]
pub fn measure(names: &[&str], workload: &Workload, rounds: usize) -> Vec<Cell> {
    let load = match workload.fixed() {
        Ok(load) => load,
        Err(missing) => return vec![Err(missing); names.len()],
    };
    let mut pools = Vec::new();
    for name in std::iter::once(&"noop").chain(names) {
        pools.push((*name, peers::with(name, &mut Roomy::new(workload)).expect("a known name")));
    }
    let longest = pools.iter().filter_map(|(_, pool)| pool.ok()).max().unwrap_or(0);
    let Ok(region) = Region::new(longest) else {
        return vec![Err(Missing::NeverServed); names.len()];
    };
    let mut times = vec![Vec::new(); pools.len()];
    // One more round, not counted, warms the caches and the operating system's allocators.
    for round in 0..=rounds {
        for (index, (name, pool)) in pools.iter().enumerate() {
            if let Ok(len_bytes) = *pool {
                let mut run = Run { load, region: &region, len_bytes };
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
            pools[index].1.map(|_| (median(&mut times[index]) - noop) / load.ops.len() as f64)
        })
        .collect()
}

/// The middle value; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The pool that an allocator gets.
pub struct Roomy<'a> {
    /// The load that it must serve.
    pub workload: &'a Workload,
    /// The time limit.
    pub limit: Duration,
}

impl<'a> Roomy<'a> {
    /// A pool for a workload, with the usual time limit.
    #[must_use]
    pub fn new(workload: &'a Workload) -> Self {
        Self { workload, limit: REPLAY_LIMIT }
    }
}

impl Visitor for Roomy<'_> {
    type Out = Result<usize, Missing>;

    fn visit<P: Peer>(&mut self, about: About) -> Self::Out {
        self.workload.roomy::<P>(&about, self.limit)
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
        let mut slots = vec![std::ptr::null_mut(); self.load.slots];
        // SAFETY: the region outlives the allocator and serves it alone; the load was made by a
        // `LoadBuilder`.
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
