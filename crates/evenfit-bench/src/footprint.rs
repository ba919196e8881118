//! Footprint: the smallest pool that serves a load, metadata inside and outside of it counted, over
//! the peak of requested bytes.

use crate::peers::{self, About, Class, Peer, Visitor};
use crate::region::Region;
use crate::table::Cell;
use crate::workload::{Missing, REPLAY_LIMIT, Workload};

/// The precision of the bisection, as a part of the peak.
const RESOLUTION: f64 = 0.002;

/// A measured footprint.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// The smallest pool found that serves the load, in bytes.
    pub pool_bytes: usize,
    /// The control structure outside of the pool, in bytes.
    pub outside_bytes: usize,
    /// Both together over the peak of requested bytes.
    pub ratio: f64,
}

/// Footprints of each of `names`, in their order.
#[must_use]
pub fn measure(names: &[&str], workload: &Workload) -> Vec<Cell> {
    let measured = names
        .iter()
        .map(|name| peers::with(name, &mut Measure { workload }).expect("a known name"));
    measured.map(|footprint| footprint.map(|footprint| footprint.ratio)).collect()
}

/// Bisects the footprint of one load.
pub struct Measure<'a> {
    /// What is replayed.
    pub workload: &'a Workload,
}

impl Visitor for Measure<'_> {
    type Out = Result<Footprint, Missing>;

    fn visit<P: Peer>(&mut self, about: About) -> Self::Out {
        if about.class != Class::Pool {
            return Err(Missing::NotMeasured);
        }
        let pool_bytes = smallest_pool::<P>(self.workload)?;
        let total_bytes = pool_bytes + about.outside_bytes;
        Ok(Footprint {
            pool_bytes,
            outside_bytes: about.outside_bytes,
            ratio: total_bytes as f64 / self.workload.peak_live_bytes() as f64,
        })
    }
}

fn smallest_pool<P: Peer>(workload: &Workload) -> Result<usize, Missing> {
    let peak = workload.peak_live_bytes();
    let step = ((peak as f64 * RESOLUTION) as usize).max(16);
    let region = Region::untouched(64 * peak + (128 << 10)).map_err(|_| Missing::NeverServed)?;
    let mut slots = workload.slots();
    let mut fits = |len_bytes: usize| {
        workload.serves::<P>(&region, len_bytes, &mut slots, REPLAY_LIMIT).ok_or(Missing::TooSlow)
    };
    // Up from the peak in growing steps, so that most trials are near the result.
    let mut too_small = peak.saturating_sub(1);
    let mut excess = peak / 16 + 1024;
    let mut large_enough = loop {
        let len_bytes = peak + excess;
        if len_bytes > region.len_bytes() {
            return Err(Missing::NeverServed);
        }
        if fits(len_bytes)? {
            break len_bytes;
        }
        too_small = len_bytes;
        excess *= 2;
    };
    while large_enough - too_small > step {
        let middle = too_small + (large_enough - too_small) / 2;
        if fits(middle)? {
            large_enough = middle;
        } else {
            too_small = middle;
        }
    }
    Ok(large_enough)
}
