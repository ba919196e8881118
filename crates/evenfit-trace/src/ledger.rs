//! Which blocks are live: one bit for each allocation.

use crate::{Event, Fault, format};

/// Checks events one by one. Memory: one bit for each allocation.
#[derive(Default)]
pub(crate) struct Ledger {
    live: Vec<u64>,
    allocations: u32,
    events: u64,
}

impl Ledger {
    /// Allocations so far: the next allocation's id.
    pub fn allocations(&self) -> u32 {
        self.allocations
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The id `back` allocations before the newest.
    pub fn id_back(&self, back: u64) -> Result<u32, Fault> {
        let allocations = self.allocations;
        if back >= allocations as u64 {
            return Err(Fault::NeverAllocated { allocations });
        }
        Ok(allocations - 1 - back as u32)
    }

    /// Applies one event, or refuses it and doesn't change.
    pub fn apply(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Alloc { id, size, align_log2, .. } => {
                if size > format::SIZE_MAX {
                    return Err(Fault::Size(size));
                }
                if align_log2 > format::ALIGN_LOG2_MAX {
                    return Err(Fault::Align(align_log2));
                }
                if id != self.allocations {
                    return Err(Fault::NotDense { expected: self.allocations, found: id });
                }
                let next = id
                    .checked_add(1)
                    .ok_or(Fault::Limit { what: "allocations", most: u32::MAX as u64 })?;
                if id.is_multiple_of(64) {
                    self.live.push(0);
                }
                self.allocations = next;
                self.live[id as usize / 64] |= 1 << (id % 64);
            }
            Event::Free { id } => {
                self.check_live(id)?;
                self.live[id as usize / 64] &= !(1 << (id % 64));
            }
            Event::Realloc { id, new_size } => {
                if new_size > format::SIZE_MAX {
                    return Err(Fault::Size(new_size));
                }
                self.check_live(id)?;
            }
        }
        self.events += 1;
        Ok(())
    }

    fn check_live(&self, id: u32) -> Result<(), Fault> {
        if id >= self.allocations {
            return Err(Fault::NeverAllocated { allocations: self.allocations });
        }
        if self.live[id as usize / 64] >> (id % 64) & 1 == 0 {
            return Err(Fault::AlreadyFreed(id));
        }
        Ok(())
    }
}
