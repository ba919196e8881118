//! How large a pool an allocator gets where its size isn't what is measured.

use std::time::Duration;

use crate::load::Load;
use crate::peers::{About, Class, Peer};
use crate::region::Region;
use crate::replay::replay_within;

/// Longer than this for one replay, and an allocator is left out of a measurement: it is linear in something.
pub const REPLAY_LIMIT: Duration = Duration::from_secs(4);

/// Why an allocator has no figure for a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// One replay took longer than [`REPLAY_LIMIT`].
    TooSlow,
    /// Not even 64 times the peak served the load.
    NeverServed,
    /// The measurement makes no sense for an allocator of this kind.
    NotMeasured,
    /// It does not run under valgrind.
    Valgrind,
}

impl Missing {
    /// A word for tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooSlow => "too slow",
            Self::NeverServed => "out of memory",
            Self::NotMeasured => "-",
            Self::Valgrind => "no valgrind",
        }
    }
}

/// An empty table of live pointers for `load`.
#[must_use]
pub fn slots(load: &Load) -> Vec<*mut u8> {
    vec![std::ptr::null_mut(); load.slots]
}

/// The smallest of 2, 4, 8.. times the peak (plus 64 KiB) that serves the load, in bytes.
///
/// # Errors
/// When none does, or not in time.
pub fn roomy<P: Peer>(about: &About, load: &Load) -> Result<usize, Missing> {
    if about.class != Class::Pool {
        return Ok(2 * load.peak_live_bytes + (64 << 10));
    }
    for factor in [2, 4, 8, 16, 32, 64] {
        let len_bytes = factor * load.peak_live_bytes + (64 << 10);
        let region = Region::untouched(len_bytes).map_err(|_| Missing::NeverServed)?;
        match serves::<P>(load, &region, len_bytes, &mut slots(load)) {
            Some(true) => return Ok(len_bytes),
            Some(false) => {}
            None => return Err(Missing::TooSlow),
        }
    }
    Err(Missing::NeverServed)
}

/// Whether a fresh allocator over the first `len_bytes` of `region` serves the whole load; `None`: not in time.
pub fn serves<P: Peer>(
    load: &Load,
    region: &Region,
    len_bytes: usize,
    slots: &mut [*mut u8],
) -> Option<bool> {
    assert!(len_bytes <= region.len_bytes() && load.slots <= slots.len());
    // SAFETY: the region outlives the allocator and serves it alone; the load was made by a `LoadBuilder`.
    unsafe {
        match P::over(region.base(), len_bytes) {
            None => Some(false),
            Some(mut peer) => replay_within(&mut *peer, &load.ops, slots, REPLAY_LIMIT),
        }
    }
}
