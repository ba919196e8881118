//! A pool that is written to behind the heap's back.
//!
//! There are two kinds. A *late writer* writes only to free memory, as a program does that uses a
//! block after freeing it. Then no block may overlap another, leave the pool or lose its contents.
//! *Garbage* is written anywhere in the region, the map included. Then every method that doesn't
//! change the heap must return, without a panic and without an access outside the region. (The heap
//! relies on its map, so allocating after the map was overwritten isn't tested.)

use alloc::vec;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{FreeError, ReallocError};
use evenfit_trace::replay::pattern;

use crate::driver::{Config, build};
use crate::model::{Live, Model, Verdict};
use crate::op::{Bytes, layout};
use crate::region::Region;
use crate::subject::Subject;

/// A heap, the model beside it, and the memory that is overwritten.
pub struct Hostile<S: Subject> {
    subject: S,
    model: Model,
    region: Region,
    seed: u64,
    corrupted: bool,
    /// How often `Corrupt` was returned so far.
    pub noticed: u64,
}

impl<S: Subject> Hostile<S> {
    /// Builds a heap as `config` says; none if the region is refused.
    pub fn new(config: Config) -> Option<Self> {
        let region = Region::new(config.len_bytes, config.placement);
        let (subject, base, pool_bytes) = build::<S>(&region).ok()?;
        let model = Model::of::<S>(base, pool_bytes);
        Some(Self { subject, model, region, seed: 0, corrupted: false, noticed: 0 })
    }

    /// A late writer's run: operations decoded from `bytes`, mixed with writes to free memory.
    ///
    /// # Panics
    /// If a live block is harmed or a misuse accepted.
    pub fn late_writer(config: Config, bytes: &mut Bytes) {
        let Some(mut hostile) = Self::new(config) else {
            return;
        };
        while !bytes.is_empty() {
            match bytes.byte() % 16 {
                0..=5 => hostile.allocate(size(bytes), 1 << (bytes.byte() % 6)),
                6..=10 => hostile.free(bytes.number(2)),
                11 => hostile.reallocate(bytes.number(2), size(bytes)),
                12 => hostile.wrong_free(bytes.number(3)),
                13 => hostile.write_free(bytes.number(3), &bytes.number(8).to_le_bytes()),
                14 if bytes.byte().is_multiple_of(2) => {
                    hostile.forge_footer(bytes.number(1), bytes.number(2));
                }
                14 => hostile.forge(bytes.number(3), bytes.number(1), bytes.number(1)),
                _ => hostile.zero_free(bytes.number(3)),
            }
            hostile.assert_unharmed();
        }
    }

    /// Garbage over a heap in use: `bytes` first make blocks, then overwrite the region.
    ///
    /// # Panics
    /// If the heap does.
    pub fn garbage(config: Config, bytes: &mut Bytes) {
        let Some(mut hostile) = Self::new(config) else {
            return;
        };
        for _ in 0..bytes.byte() % 32 {
            match bytes.byte() % 3 {
                0 => hostile.free(bytes.number(1)),
                _ => hostile.allocate(size(bytes), 8),
            }
        }
        hostile.overwrite(bytes);
        hostile.ask_everything();
        let intact = hostile.region.surroundings_intact();
        assert!(intact, "a byte outside the region was written");
    }

    fn allocate(&mut self, size: usize, align: usize) {
        let layout = layout(size, align);
        match self.subject.allocate(layout) {
            Ok(block) => self.adopt(block, layout),
            Err(evenfit::AllocError::Corrupt) => self.note_corrupt(),
            Err(_) => {}
        }
    }

    fn adopt(&mut self, block: NonNull<[u8]>, layout: Layout) {
        self.seed += 1;
        let address = block.cast::<u8>().as_ptr() as usize;
        let usable = self.subject.usable_size(block.cast()).expect("a live block");
        let live = self.model.insert(address, usable, layout, self.seed);
        pattern::fill(self.contents(&live), live.seed);
    }

    fn note_corrupt(&mut self) {
        assert!(self.corrupted, "a sound pool was called corrupt");
        self.noticed += 1;
    }

    /// A live block's bytes.
    #[allow(clippy::mut_from_ref)]
    fn contents(&self, live: &Live) -> &mut [u8] {
        let len = live.len;
        // SAFETY: a live block within the region, which only this driver accesses, one slice at
        // a time.
        unsafe { core::slice::from_raw_parts_mut(self.pointer(live.offset).as_ptr(), len) }
    }

    fn pointer(&self, offset: usize) -> NonNull<u8> {
        let from_base = self.model.pool_base() - self.region.base().as_ptr() as usize + offset;
        // SAFETY: an offset within the pool, which is in the region.
        unsafe { self.region.base().add(from_base) }
    }

    fn free(&mut self, k: usize) {
        let Some(live) = self.model.pick(k) else {
            return;
        };
        // SAFETY: a live block with its layout.
        match unsafe { self.subject.try_deallocate(self.pointer(live.offset), live.layout) } {
            Ok(()) => {
                self.model.remove(live.offset);
            }
            Err(FreeError::Corrupt) => self.note_corrupt(),
            Err(error) => panic!("{error:?}: free of {live:?}"),
        }
    }

    fn reallocate(&mut self, k: usize, size: usize) {
        let Some(live) = self.model.pick(k) else {
            return;
        };
        let new = layout(size, live.layout.align());
        let ptr = self.pointer(live.offset);
        // SAFETY: a live block with its layout.
        match unsafe { self.subject.reallocate(ptr, live.layout, new) } {
            Ok(block) => {
                let usable = self.subject.usable_size(block.cast());
                if block.cast() == ptr && usable == Ok(live.len) {
                    let kept = self.model.keep(&live, new, live.seed);
                    pattern::fill(self.contents(&kept), kept.seed);
                } else {
                    self.model.remove(live.offset);
                    self.adopt(block, new);
                }
            }
            Err(
                ReallocError::Free(FreeError::Corrupt)
                | ReallocError::Alloc(evenfit::AllocError::Corrupt),
            ) => self.note_corrupt(),
            Err(ReallocError::Alloc(_)) => {}
            Err(error) => panic!("{error:?}: reallocation of {live:?}"),
        }
    }

    fn wrong_free(&mut self, offset: usize) {
        let address = self.model.pool_base() + offset % self.model.pool_bytes();
        if self.model.verdict(address, None) != Verdict::Valid {
            let ptr = self.pointer(address - self.model.pool_base());
            // SAFETY: a misuse, which the heap promises to refuse.
            let answer = unsafe { self.subject.try_free(ptr) };
            assert!(answer.is_err(), "offset {offset} is no live block");
        }
    }

    /// The free run at or after `offset`.
    fn free_run(&self, offset: usize) -> Option<(usize, usize)> {
        let offset = offset % self.model.pool_bytes();
        let (start, end) = self.model.gap_from(offset)?;
        Some((offset.max(start), end))
    }

    /// Writes `bytes` to free memory at or after `offset`, as far as it is free.
    pub fn write_free(&mut self, offset: usize, bytes: &[u8]) {
        let Some((start, end)) = self.free_run(offset) else {
            return;
        };
        let len = bytes.len().min(end - start);
        self.write(start, &bytes[..len]);
    }

    /// Writes to free memory, except if that forges a pair of links, which the heap would follow.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let at = self.pointer(offset);
        let before = self.pairs();
        let mut saved = vec![0; bytes.len()];
        // SAFETY: free memory of the pool, and no call is running.
        unsafe { at.copy_to_nonoverlapping(NonNull::from(&mut saved[..]).cast(), bytes.len()) };
        self.write_at(at, bytes);
        if self.pairs().iter().any(|pair| !before.contains(pair)) {
            self.write_at(at, &saved);
        }
    }

    fn write_at(&mut self, at: NonNull<u8>, bytes: &[u8]) {
        // SAFETY: free memory of the pool: the heap alone reads it, and no call is running.
        unsafe { at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        self.corrupted = true;
    }

    /// Zeroes a whole free run but the top, as a late `memset` does.
    fn zero_free(&mut self, offset: usize) {
        if let Some((start, end)) = self.free_run(offset)
            && end < self.model.pool_bytes()
        {
            let run = self.model.gap_at(start).expect("a free run");
            self.write(run.0, &vec![0; end - run.0]);
        }
    }

    /// Overwrites a free block's links with numbers of other free blocks.
    fn forge(&mut self, at: usize, next: usize, prev: usize) {
        let gaps: Vec<_> = self.model.gaps().map(|(start, _)| start).collect();
        let Some(start) = gaps.get(at % gaps.len().max(1)).copied() else {
            return;
        };
        let number = |pick: usize| gaps[pick % gaps.len()] / S::GRANULE_BYTES;
        let (next, prev) = (number(next), number(prev));
        let links = [(next as u32).to_le_bytes(), (prev as u32).to_le_bytes()];
        self.write(start, links.as_flattened());
    }

    /// The pairs of free blocks whose links point to each other, one as the next and one as the
    /// previous block.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let link = |of: usize, place: usize| {
            let link = self.pointer(of * S::GRANULE_BYTES + place).cast::<u32>();
            // SAFETY: within the pool, whose blocks have two links at least.
            (unsafe { link.read() }) as usize
        };
        let end = self.model.pool_bytes() / S::GRANULE_BYTES;
        let blocks = self.subject.blocks();
        let starts = blocks.map(|block| block.offset_bytes / S::GRANULE_BYTES);
        let pairs = starts.filter_map(|start| {
            let next = link(start, 0);
            (next < end && link(next, 4) == start).then_some((start, next))
        });
        pairs.filter(|(start, next)| start != next).collect()
    }

    /// Overwrites the end of a free run as if a free block of another length ended there: one that
    /// begins `distance` before, rounded.
    fn forge_footer(&mut self, at: usize, distance: usize) {
        let gaps: Vec<_> = self.model.gaps().collect();
        let Some((start, end)) = gaps.get(at % gaps.len().max(1)).copied() else {
            return;
        };
        let earlier = gaps[distance % gaps.len()].0;
        let granules = match distance % 4 {
            0 => (end - start) / S::GRANULE_BYTES,
            1 if earlier < end => (end - earlier) / S::GRANULE_BYTES,
            _ => distance,
        };
        self.write(end - 8, &(granules as u32).to_le_bytes());
    }

    /// Every live block still has its content, whatever was written to free memory.
    fn assert_unharmed(&self) {
        for live in self.model.live() {
            let wrong = pattern::first_difference(self.contents(live), live.seed);
            assert_eq!(wrong, None, "{live:?} was written to");
        }
        let sound = self.subject.check();
        assert!(self.corrupted || sound.is_ok(), "{sound:?} in a sound pool");
        assert!(self.region.surroundings_intact(), "a byte outside the region was written");
    }

    /// Overwrites parts of the region, at offsets and of lengths that `bytes` give, then all of it.
    fn overwrite(&mut self, bytes: &mut Bytes) {
        self.corrupted = true;
        // SAFETY: no call is running, and no block is used any more.
        let region = unsafe { self.region.bytes_mut() };
        if bytes.byte().is_multiple_of(4) {
            let rest = bytes.rest();
            for (to, from) in region.iter_mut().zip(rest.iter().cycle()) {
                *to = *from;
            }
            return;
        }
        while !bytes.is_empty() {
            let at = bytes.number(2) % region.len();
            let len = (usize::from(bytes.byte() % 20)).min(region.len() - at);
            for byte in &mut region[at..at + len] {
                *byte = bytes.byte();
            }
        }
    }

    /// Calls everything that doesn't change the heap; any result is accepted.
    fn ask_everything(&self) {
        let _ = self.subject.check();
        assert!(self.subject.blocks().count() <= self.model.pool_bytes());
        let _ = self.subject.stats();
        let _ = self.subject.largest_free();
        for offset in (0..self.model.pool_bytes()).step_by(S::GRANULE_BYTES) {
            let _ = self.subject.usable_size(self.pointer(offset));
        }
    }
}

fn size(bytes: &mut Bytes) -> usize {
    match bytes.byte() {
        0..=199 => bytes.number(1),
        _ => bytes.number(2) % 2048,
    }
}
