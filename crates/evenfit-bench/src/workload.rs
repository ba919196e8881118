//! What an allocator is measured with: a load that is known before, or an adversary that reacts to
//! the addresses that it gets.

use std::path::Path;
use std::time::Duration;

use crate::load::Load;
use crate::peers::{About, Class, Peer};
use crate::region::Region;
use crate::replay::replay_within;
use crate::{adversary, recorded, synthetic};

/// The time limit of one replay. An allocator that needs longer is linear in something, and isn't
/// measured.
pub const REPLAY_LIMIT: Duration = Duration::from_secs(4);

/// Why an allocator has no figure for a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// One replay took longer than [`REPLAY_LIMIT`].
    TooSlow,
    /// A pool of 64 times the peak doesn't serve the load.
    NeverServed,
    /// The measurement makes no sense for this load or an allocator of this kind.
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
            Self::NeverServed => "no memory",
            Self::NotMeasured => "-",
            Self::Valgrind => "no valgrind",
        }
    }

    /// The reason that a word in a table stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::TooSlow, Self::NeverServed, Self::NotMeasured, Self::Valgrind];
        all.into_iter().find(|missing| missing.as_str() == word)
    }
}

/// The kinds of workloads.
#[derive(Clone, Debug)]
pub enum Workload {
    /// The same operations for everyone.
    Fixed(Load),
    /// [`adversary::play`].
    Adversary,
}

impl Workload {
    /// By name of a synthetic load.
    #[must_use]
    pub fn synthetic(name: &str) -> Option<Self> {
        if name == adversary::NAME {
            return Some(Self::Adversary);
        }
        synthetic::load(name).map(Self::Fixed)
    }

    /// From a recording.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it.
    pub fn recorded(path: &Path) -> Result<Self, String> {
        recorded::read(path).map(Self::Fixed)
    }

    /// As shown in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Fixed(load) => &load.name,
            Self::Adversary => adversary::NAME,
        }
    }

    /// The operations, if they don't depend on the allocator.
    ///
    /// # Errors
    /// [`Missing::NotMeasured`] for the adversary.
    pub fn fixed(&self) -> Result<&Load, Missing> {
        match self {
            Self::Fixed(load) => Ok(load),
            Self::Adversary => Err(Missing::NotMeasured),
        }
    }

    /// The most bytes requested and not yet freed.
    #[must_use]
    pub fn peak_live_bytes(&self) -> usize {
        match self {
            Self::Fixed(load) => load.peak_live_bytes,
            Self::Adversary => adversary::PEAK_LIVE_BYTES,
        }
    }

    /// An empty table of live pointers.
    #[must_use]
    pub fn slots(&self) -> Vec<*mut u8> {
        let slots = match self {
            Self::Fixed(load) => load.slots,
            Self::Adversary => adversary::SLOTS_MAX,
        };
        vec![std::ptr::null_mut(); slots]
    }

    /// Whether a fresh allocator over the first `len_bytes` of `region` serves everything; `None`:
    /// not within `limit`.
    pub fn serves<P: Peer>(
        &self,
        region: &Region,
        len_bytes: usize,
        slots: &mut [*mut u8],
        limit: Duration,
    ) -> Option<bool> {
        assert!(len_bytes <= region.len_bytes());
        // SAFETY: the region outlives the allocator and serves it alone; the table is one of
        // `slots`.
        unsafe {
            let Some(mut peer) = P::over(region.base(), len_bytes) else {
                return Some(false);
            };
            match self {
                Self::Fixed(load) => replay_within(&mut *peer, &load.ops, slots, limit),
                Self::Adversary => {
                    Some(adversary::play(&mut *peer, region.base(), slots).is_some())
                }
            }
        }
    }

    /// A pool with room to spare, for measures other than its size: the smallest of 2, 4, 8.. times
    /// the peak (plus 64 KiB) that serves everything, in bytes.
    ///
    /// # Errors
    /// When none does, or not within `limit`.
    pub fn roomy<P: Peer>(&self, about: &About, limit: Duration) -> Result<usize, Missing> {
        if about.class != Class::Pool {
            return Ok(2 * self.peak_live_bytes() + (64 << 10));
        }
        for factor in [2, 4, 8, 16, 32, 64] {
            let len_bytes = factor * self.peak_live_bytes() + (64 << 10);
            let region = Region::untouched(len_bytes).map_err(|_| Missing::NeverServed)?;
            match self.serves::<P>(&region, len_bytes, &mut self.slots(), limit) {
                Some(true) => return Ok(len_bytes),
                Some(false) => {}
                None => return Err(Missing::TooSlow),
            }
        }
        Err(Missing::NeverServed)
    }
}
