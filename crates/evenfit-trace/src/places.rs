//! From addresses to ids: for recordings that name a block by its address.

use std::collections::HashMap;
use std::hash::Hash;

use crate::{Event, Repairs};

/// Which block is live at which address.
///
/// If a recorder started late or missed a call, there are frees of unknown blocks, and blocks at
/// the address of a live one. The former are dropped; for the latter the old block counts as freed
/// just before. Both are counted.
pub(crate) struct Places<P> {
    live: HashMap<P, u32>,
    pub repairs: Repairs,
}

/// A free that must be assumed, and the event itself.
pub(crate) type Settled = (Option<Event>, Event);

impl<P> Default for Places<P> {
    fn default() -> Self {
        Places { live: HashMap::new(), repairs: Repairs::default() }
    }
}

impl<P: Eq + Hash> Places<P> {
    /// The block at `place` is freed; `None` if no block is known there.
    pub fn free(&mut self, place: &P) -> Option<Event> {
        let id = self.live.remove(place);
        self.repairs.unknown_frees += id.is_none() as u64;
        id.map(|id| Event::Free { id })
    }

    /// The block of `event` lives at `place` from now on.
    pub fn settle(&mut self, place: P, event: Event) -> Settled {
        let before = self.live.insert(place, event.id());
        self.repairs.assumed_frees += before.is_some() as u64;
        (before.map(|id| Event::Free { id }), event)
    }

    /// The block at `old` becomes one of `new_size` bytes at `new`. If no block is known at `old`,
    /// it is an allocation with the id `next` and this alignment.
    pub fn realloc(
        &mut self,
        old: &P,
        new: P,
        new_size: u64,
        next: u32,
        align_log2: u8,
    ) -> Settled {
        let event = match self.live.remove(old) {
            Some(id) => Event::Realloc { id, new_size },
            None => {
                self.repairs.unknown_reallocs += 1;
                Event::Alloc { id: next, size: new_size, align_log2, zeroed: false }
            }
        };
        self.settle(new, event)
    }
}
