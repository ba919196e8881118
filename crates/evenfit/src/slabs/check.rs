//! What a walk and the integrity check ask of the slab tier. Nothing here relies on what the region holds.

#[cfg(target_pointer_width = "64")]
use core::ptr::NonNull;

use super::classes::{CLASSES_MAX, WORDS};
use super::descriptor::{Class, Descriptor};
use super::{SlabId, Slabs};
use crate::geometry::Geometry;
use crate::{BlockState, CheckError};

/// What was counted of the slabs of each class.
#[derive(Default)]
pub(crate) struct SlabTally {
    used_slots: [usize; CLASSES_MAX],
    with_free: [usize; CLASSES_MAX],
    slabs: usize,
}

impl<G: Geometry> Slabs<G> {
    /// The slab that begins at granule `start` of the pool.
    fn slab_from(&self, start: usize) -> Option<SlabId> {
        let granule = start + Self::BIAS;
        if granule >> Self::SEGMENT_LOG2 >= self.segments {
            return None;
        }
        // SAFETY: the granule lies in a segment.
        let slab_start = unsafe { *self.start_word(granule) };
        (slab_start as usize == granule).then_some(Self::slab_at(slab_start))
    }

    /// The class of a slab in the pool, if it is one.
    fn class_number(&self, slab: SlabId) -> Option<usize> {
        // SAFETY: the caller's slab lies in the directory.
        let class = unsafe { (*self.descriptor(slab)).class };
        let number = class.number();
        (class == Class::new(number) && number > 0 && number < Self::TABLE.count).then_some(number)
    }

    fn free_slots(&self, slab: SlabId) -> usize {
        // SAFETY: the slab lies in the directory.
        let free = unsafe { (*self.descriptor(slab)).free };
        free.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// What the slab that begins at granule `start` holds; `None` if none does.
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

    /// Whether the descriptor of the slab at granule `start` makes sense. Counts it.
    pub(crate) fn check_slab(&self, start: usize, slab_tally: &mut SlabTally) -> bool {
        let Some((slab, number)) =
            self.slab_from(start).and_then(|slab| Some((slab, self.class_number(slab)?)))
        else {
            return false;
        };
        let info = Self::TABLE.classes[number];
        // SAFETY: the slab lies in the directory.
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
        // SAFETY: a head is a descriptor.
        let is_first = unsafe { (*self.descriptor(self.all_records()[number].head)).next } == slab;
        if free > 0 || is_first {
            slab_tally.with_free[number] += 1;
        }
        slab_tally.used_slots[number] += slots - free;
        slab_tally.slabs += 1;
        true
    }

    /// Whether the head of a class's list has no slots. That of class 0 is what is found where no slab begins.
    fn is_head(&self, number: usize) -> bool {
        // SAFETY: heads are descriptors.
        let head = unsafe { self.descriptor(self.all_records()[number].head).read_unaligned() };
        head.class == Class::NONE && { head.free } == [0; WORDS]
    }

    /// Whether the lists hold the slabs that were counted, and each record's word is one of its first slab.
    pub(crate) fn check_lists(&self, slab_tally: &SlabTally, top: usize) -> Result<(), CheckError> {
        if !self.are_in_use() {
            return Ok(());
        }
        // A slab lies in the pool, so its descriptor does in the directory.
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
            // SAFETY: heads are descriptors; what a list leads to is tested to lie in the directory.
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
            // SAFETY: there is a word more than segments.
            unsafe { *self.starts.wrapping_add(segment) != 0 }
        });
        if slab_tally.slabs != self.open || starts.count() != self.open {
            return Err(CheckError::SlabList { class: Self::TABLE.count });
        }
        Ok(())
    }
}

/// For readers in other processes.
#[cfg(target_pointer_width = "64")]
impl<G: Geometry> Slabs<G> {
    /// Slabs of a copy of what describes `granules` granules, without the heads: only good to be walked.
    pub(crate) fn replica(starts: NonNull<u32>, directory: NonNull<u8>, granules: usize) -> Self {
        Self {
            starts: starts.as_ptr(),
            segments: Self::segments(granules),
            descriptors: directory.as_ptr().wrapping_sub(Self::HEADS_BYTES),
            ..Self::none()
        }
    }

    /// Where the segments' words lie; null without slabs.
    pub(crate) fn starts(&self) -> *const u32 {
        self.starts
    }

    /// What decides where a slab's parts lie: lengths and sizes, and the slots of each class.
    pub(crate) fn layout_constants() -> impl Iterator<Item = usize> {
        let lengths = [Self::SLAB_GRANULES, Self::BIAS, size_of::<Descriptor>()];
        let classes = &const { Self::TABLE }.classes[..Self::TABLE.count];
        lengths.into_iter().chain(classes.iter().map(|info| info.slot_bytes as usize))
    }
}
