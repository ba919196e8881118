//! The memory that a pool is made from.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::InputError;
use crate::size;

/// The alignment of every region, so that a replay doesn't depend on its address.
pub const REGION_ALIGN: usize = 4096;

/// A region of memory, page-aligned.
pub struct Region {
    memory: Vec<u8>,
    len: usize,
}

impl Region {
    /// Reserves `len` bytes.
    ///
    /// # Errors
    /// The machine hasn't that much memory.
    pub fn new(len: usize) -> Result<Self, InputError> {
        let mut memory = Vec::new();
        len.checked_add(REGION_ALIGN - 1)
            .filter(|&room| memory.try_reserve_exact(room).is_ok())
            .map(|_| Self { memory, len })
            .ok_or_else(|| {
                let asked = size::both(len as u64);
                InputError(format!(
                    "this machine can't give a pool of {asked}: ask for less with --pool"
                ))
            })
    }

    /// The region itself.
    pub fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        let room = self.memory.spare_capacity_mut();
        let skip = room.as_ptr().addr().wrapping_neg() % REGION_ALIGN;
        &mut room[skip..skip + self.len]
    }

    /// The addresses it covers.
    pub fn addresses(&mut self) -> Range<usize> {
        let range = self.bytes().as_ptr_range();
        range.start.addr()..range.end.addr()
    }
}
