//! What a walk and the integrity check need to know of the slab tier. Nothing here relies on the
//! content of the region.

#[cfg(target_pointer_width = "64")]
use core::ptr::NonNull;

use super::classes::{CLASSES_MAX, WORDS};
use super::descriptor::{Class, Descriptor};
use super::{SlabId, Slabs};
use crate::geometry::Geometry;
use crate::{BlockState, CheckError};

/// What the check has counted of the slabs of each class.
#[derive(Default)]
pub(crate) struct SlabTally {
    used_slots: [usize; CLASSES_MAX],
    with_free: [usize; CLASSES_MAX],
    slabs: usize,
}

impl<G: Geometry> Slabs<G> {
    /// The slab that starts at granule `start` of the pool, if one does.
    fn slab_from(&self, start: usize) -> Option<SlabId> {
        let granule = start + Self::BIAS;
        if granule >> Self::SEGMENT_LOG2 >= self.segments {
            return None;
        }
        // SAFETY: the granule lies in a segment, so there is a word for it (S9).
        let slab_start = unsafe { *self.start_word(granule) };
        (slab_start as usize == granule).then_some(Self::slab_at(slab_start))
    }

    /// The number of a slab's class, if its descriptor names one.
    fn class_number(&self, slab: SlabId) -> Option<usize> {
        // SAFETY: the callers' slabs start in a segment, so they have descriptors (S9).
        let class = unsafe { (*self.descriptor(slab)).class };
        let number = class.number();
        (class == Class::new(number) && number > 0 && number < Self::TABLE.count).then_some(number)
    }

    fn free_slots(&self, slab: SlabId) -> usize {
        // SAFETY: the callers' slabs start in a segment, so they have descriptors (S9).
        let free = unsafe { (*self.descriptor(slab)).free };
        free.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// What the slab that starts at granule `start` holds; `None` if none starts there.
    pub(crate) fn state_at(&self, start: usize, top: usize) -> Option<BlockState> {
        if start + Self::SLAB_GRANULES > top {
            return None;
        }
        let slab = self.slab_from(start)?;
        let info = Self::TABLE.classes[self.class_number(slab)?];
        let slots = info.slots as usize;
        Some(BlockState::Slab {
            slot_bytes: info.slot_bytes as usize,
            used_slots: slots.saturating_sub(self.free_slots(slab)),
        })
    }

    /// Whether the descriptor of the slab at granule `start` is consistent. Counts the slab.
    pub(crate) fn check_slab(&self, start: usize, slab_tally: &mut SlabTally) -> bool {
        let Some((slab, number)) =
            self.slab_from(start).and_then(|slab| Some((slab, self.class_number(slab)?)))
        else {
            return false;
        };
        let info = Self::TABLE.classes[number];
        // SAFETY: the slab starts in a segment, so it has a descriptor (S9).
        let descriptor: Descriptor = unsafe { self.descriptor(slab).read_unaligned() };
        let bits = descriptor.free;
        let beyond = (0..WORDS).any(|word| bits[word] & !info.all_free[word] != 0);
        let starts_there = descriptor.start_low as usize == (start + Self::BIAS) % G::SHORT_END;
        if beyond
            || !starts_there
            || descriptor.least > descriptor.class
            || descriptor.least == Class::NONE
        {
            return false;
        }
        let free = self.free_slots(slab);
        let slots = info.slots as usize;
        // SAFETY: each head has a descriptor (S9).
        let is_first = unsafe { (*self.descriptor(self.all_records()[number].head)).next } == slab;
        if free > 0 || is_first {
            slab_tally.with_free[number] += 1;
        }
        slab_tally.used_slots[number] += slots - free;
        slab_tally.slabs += 1;
        true
    }

    /// Whether the descriptor of a class's head has no slots. The head of class 0 is what a lookup
    /// finds where no slab starts.
    fn is_head(&self, number: usize) -> bool {
        // SAFETY: each head has a descriptor (S9).
        let head = unsafe { self.descriptor(self.all_records()[number].head).read_unaligned() };
        head.class == Class::NONE && { head.free } == [0; WORDS]
    }

    /// Whether the rings hold the slabs that were counted, and each record's word is one of its
    /// first slab.
    pub(crate) fn check_lists(&self, slab_tally: &SlabTally, top: usize) -> Result<(), CheckError> {
        if !self.are_in_use() {
            return Ok(());
        }
        // The last slab that can lie below the top. All up to it have descriptors (S9).
        let last = (top + Self::BIAS - Self::SLAB_GRANULES) >> Self::ENTRY_LOG2;
        for number in 0..Self::TABLE.count {
            if !self.is_head(number) {
                return Err(CheckError::SlabList { class: number });
            }
        }
        for number in 1..Self::TABLE.count {
            let wrong = Err(CheckError::SlabList { class: number });
            let record = &self.all_records()[number];
            let mut listed = 0;
            let mut prev = record.head;
            // SAFETY: heads have descriptors, and so have slabs up to `last`. No other link is
            // followed.
            unsafe {
                let first = (*self.descriptor(prev)).next;
                loop {
                    let slab = (*self.descriptor(prev)).next;
                    let is_head = slab == record.head;
                    if !is_head && (slab as usize > last || self.class_number(slab) != Some(number))
                    {
                        return wrong;
                    }
                    if (*self.descriptor(slab)).prev != prev {
                        return wrong;
                    }
                    if is_head {
                        break;
                    }
                    listed += 1;
                    if listed > slab_tally.with_free[number] {
                        return wrong;
                    }
                    prev = slab;
                }
                let has_word = (0..WORDS).any(|word| {
                    [first, record.head].into_iter().any(|slab| {
                        core::ptr::eq(record.word, Descriptor::word(self.descriptor(slab), word))
                    })
                });
                if !has_word
                    || listed != slab_tally.with_free[number]
                    || record.live as usize != slab_tally.used_slots[number]
                {
                    return wrong;
                }
            }
        }
        let starts = (0..=self.segments).filter(|&segment| {
            // SAFETY: there is one word more than segments (S9).
            unsafe { *self.starts.wrapping_add(segment) != 0 }
        });
        if slab_tally.slabs != self.open || starts.count() != self.open {
            return Err(CheckError::SlabList { class: Self::TABLE.count });
        }
        Ok(())
    }
}

/// What readers in other processes need.
#[cfg(target_pointer_width = "64")]
impl<G: Geometry> Slabs<G> {
    /// A slab tier over copies of the words and the directory of `granules` granules, without the
    /// heads. It is only for walking.
    pub(crate) fn replica(starts: NonNull<u32>, directory: NonNull<u8>, granules: usize) -> Self {
        Self {
            starts: starts.as_ptr(),
            segments: Self::segments(granules),
            descriptors: directory.as_ptr().wrapping_sub(Self::HEADS_BYTES),
            ..Self::none()
        }
    }

    /// The address of the segments' words; null without slabs.
    pub(crate) fn starts(&self) -> *const u32 {
        self.starts
    }

    /// The constants that decide where the parts of a slab lie: lengths, sizes, and the slots of
    /// each class.
    pub(crate) fn layout_constants() -> impl Iterator<Item = usize> {
        let lengths = [Self::SLAB_GRANULES, Self::BIAS, size_of::<Descriptor>()];
        let classes = &const { Self::TABLE }.classes[..Self::TABLE.count];
        lengths.into_iter().chain(classes.iter().map(|info| info.slot_bytes as usize))
    }
}
