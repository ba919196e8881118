//! Does a request cost more when there are more holes? Instructions of one request among 100, 8,000
//! and 100,000 equal holes, each a little too small for it, in a pool that is otherwise full. That
//! is when a real-time program can least afford a search.

use std::alloc::Layout;
use std::time::Instant;

use evenfit_verify::stepping::Stepper;

use crate::peers::{self, About, Class, Peer, Visitor};
use crate::region::Region;
use crate::workload::{Missing, REPLAY_LIMIT};

/// How many holes.
pub const HOLES: [usize; 3] = [100, 8_000, 100_000];

/// A hole, the live block between two holes, and the request, in bytes.
const HOLE_BYTES: usize = 1040;
const SEPARATOR_BYTES: usize = 24;
const REQUEST_BYTES: usize = 1100;
/// Sizes that fill the rest of the pool.
const FILL_BYTES: [usize; 5] = [1 << 20, 64 << 10, 8 << 10, 2 << 10, REQUEST_BYTES];

/// The instructions of a request among [`HOLES`], for each of `names`.
#[must_use]
pub fn measure(names: &[&str]) -> Vec<[Result<f64, Missing>; HOLES.len()]> {
    names
        .iter()
        .map(|name| {
            HOLES.map(|holes| peers::with(name, &mut Among { holes }).expect("a known name"))
        })
        .collect()
}

struct Among {
    holes: usize,
}

impl Visitor for Among {
    type Out = Result<f64, Missing>;

    fn visit<P: Peer>(&mut self, about: About) -> Self::Out {
        if about.class != Class::Pool {
            return Err(Missing::NotMeasured);
        }
        let layout = |size| Layout::from_size_align(size, 8).expect("8 is a power of two");
        let len_bytes = self.holes * 4096 + (1 << 20);
        let region = Region::untouched(len_bytes).map_err(|_| Missing::NeverServed)?;
        // SAFETY: the region outlives the allocator and serves it alone; each block is freed at
        // most once.
        unsafe {
            let mut peer = P::over(region.base(), len_bytes).ok_or(Missing::NeverServed)?;
            let start = Instant::now();
            let mut to_free = Vec::with_capacity(self.holes);
            for _ in 0..self.holes {
                let hole = peer.alloc(layout(HOLE_BYTES));
                let separator = peer.alloc(layout(SEPARATOR_BYTES));
                if hole.is_null() || separator.is_null() {
                    return Err(Missing::NeverServed);
                }
                if start.elapsed() > REPLAY_LIMIT {
                    return Err(Missing::TooSlow);
                }
                to_free.push(hole);
            }
            // From the last to the first: the order that is cheapest for lists in order of address.
            for hole in to_free.into_iter().rev() {
                peer.dealloc(hole, layout(HOLE_BYTES));
                if start.elapsed() > REPLAY_LIMIT {
                    return Err(Missing::TooSlow);
                }
            }
            let request = layout(REQUEST_BYTES);
            for size in FILL_BYTES {
                while !peer.alloc(layout(size)).is_null() {
                    if start.elapsed() > REPLAY_LIMIT {
                        return Err(Missing::TooSlow);
                    }
                }
            }
            let mut stepper = Stepper::new();
            let (ptr, count) = stepper.count(|| peer.alloc(request));
            assert!(ptr.is_null(), "{}: a request as large failed just before", about.name);
            Ok(count.total() as f64)
        }
    }
}
