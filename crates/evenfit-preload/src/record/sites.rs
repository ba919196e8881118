//! Numbers call sites, in the table that is shared with the command.

use core::sync::atomic::Ordering;

use evenfit_trace::session::{Recording, SITES};

use super::modules::Modules;

/// The number of a return address, from 1 in the order in which they come; 0 for all that come once
/// three quarters of the places are taken.
#[inline(always)]
pub(super) fn number(recording: &Recording, site: usize, modules: &mut Modules) -> u32 {
    let key = (site as u64) << Recording::NUMBER_BITS;
    let mut at = first(site);
    // A quarter of the places stays free, so every search ends.
    loop {
        let place = recording.sites[at % SITES].load(Ordering::Relaxed);
        if (place ^ key) >> Recording::NUMBER_BITS == 0 && place != 0 {
            return place as u32 & ((1 << Recording::NUMBER_BITS) - 1);
        }
        if place == 0 {
            return insert(recording, at % SITES, site, modules);
        }
        at += 1;
    }
}

/// The place where the search for a key begins.
#[inline(always)]
pub(super) fn first(key: usize) -> usize {
    ((key as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize
}

#[cold]
#[inline(never)]
fn insert(recording: &Recording, at: usize, site: usize, modules: &mut Modules) -> u32 {
    let number = recording.sites_used.load(Ordering::Relaxed) + 1;
    if number as usize > SITES / 4 * 3 {
        return 0;
    }
    modules.note_that_of(recording, site);
    recording.sites_used.store(number, Ordering::Relaxed);
    let key = (site as u64) << Recording::NUMBER_BITS;
    recording.sites[at].store(key | u64::from(number), Ordering::Release);
    number
}
