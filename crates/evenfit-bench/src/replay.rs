//! The replay loops, of which every allocator has a monomorphised copy.

use std::alloc::Layout;
use std::time::{Duration, Instant};

use crate::load::{Kind, Op};
use crate::peers::Peer;

/// Replays `ops`. Returns whether every request was served; stops at the first that wasn't.
///
/// The first byte of each new block is written, as a program would. Callgrind counts inside this
/// function only.
///
/// # Safety
/// `slots` has an entry for every slot in `ops`; `ops` are what [`crate::load::LoadBuilder`] makes;
/// `peer` is fresh.
#[inline(never)]
pub unsafe fn replay<P: Peer>(peer: &mut P, ops: &[Op], slots: &mut [*mut u8]) -> bool {
    // SAFETY: passed on.
    ops.iter().all(|op| unsafe { step(peer, op, slots) })
}

/// As [`replay`], but gives up after `limit`: `None` then.
///
/// # Safety
/// As [`replay`].
pub unsafe fn replay_within<P: Peer>(
    peer: &mut P,
    ops: &[Op],
    slots: &mut [*mut u8],
    limit: Duration,
) -> Option<bool> {
    let start = Instant::now();
    for part in ops.chunks(512) {
        // SAFETY: passed on; the parts are replayed in order.
        if !unsafe { part.iter().all(|op| step(peer, op, slots)) } {
            return Some(false);
        }
        if start.elapsed() > limit {
            return None;
        }
    }
    Some(true)
}

/// One operation of a replay; false when a request was not served.
///
/// # Safety
/// As [`replay`], with every operation before `op` done.
#[inline(always)]
pub unsafe fn step<P: Peer>(peer: &mut P, op: &Op, slots: &mut [*mut u8]) -> bool {
    // SAFETY: slots, sizes and alignments come from a `LoadBuilder`: in range, non-zero, powers of
    // two, and every pointer taken from a slot was put there by the allocation that the load pairs
    // it with.
    unsafe {
        let slot = slots.get_unchecked_mut(op.slot as usize);
        let align = 1usize << op.align_log2;
        let layout = |size: u32| Layout::from_size_align_unchecked(size as usize, align);
        match op.kind {
            Kind::Alloc => {
                let ptr = peer.alloc(layout(op.size));
                if ptr.is_null() {
                    return false;
                }
                ptr.write_volatile(1);
                *slot = ptr;
            }
            Kind::Free => peer.dealloc(*slot, layout(op.size)),
            Kind::Realloc => {
                let ptr = peer.realloc(*slot, layout(op.old_size), op.size as usize);
                if ptr.is_null() {
                    return false;
                }
                *slot = ptr;
            }
        }
        true
    }
}
