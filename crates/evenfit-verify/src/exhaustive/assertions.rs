//! What must be true in every state.

use alloc::vec;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{AllocError, BlockState, FreeError, ReallocError};

use super::{Explorer, Plan, Saved};
use crate::driver::assert_slab_walk;
use crate::model::Verdict;
use crate::op::layout;
use crate::subject::Subject;

/// A pointer that must be refused, and the layout it comes with, if any.
type Wrong = (usize, Option<Layout>);

impl<S: Subject> Explorer<S> {
    pub(super) fn assert_rightly_refused(&self, layout: Layout, error: AllocError) {
        assert!(!self.model.must_fit(layout), "{error:?} to {layout:?} in {:?}", self.model);
        let expected = if self.model.never_fits(layout) {
            AllocError::TooLarge
        } else {
            AllocError::OutOfMemory
        };
        assert_eq!(error, expected);
    }

    /// Everything that can be seen of the state agrees with the model.
    pub(super) fn assert_sound(&mut self) {
        assert_eq!(self.heap_ref().check(), Ok(()), "{:?}", self.model);
        self.assert_walk();
        let saved = self.save();
        let largest = self.heap_ref().largest_free();
        self.assert_largest(largest, 1);
        self.restore(&saved);
        for log2 in 1..=self.model.pool_bytes().ilog2() {
            let largest = self.heap().largest_free_aligned(1 << log2);
            self.assert_largest(largest, 1 << log2);
            self.restore(&saved);
        }
    }

    /// A request for `largest` succeeds in this state, and none for more.
    fn assert_largest(&mut self, largest: usize, align: usize) {
        let saved = self.save();
        if largest > 0 {
            let answer = self.heap().allocate(layout(largest, align));
            assert!(answer.is_ok(), "largest_free {largest} at {align} in {:?}", self.model);
            self.restore(&saved);
        }
        let mores = (largest + 1..=self.model.pool_bytes() + 1).step_by(S::GRANULE_BYTES);
        for more in mores {
            let answer = self.heap().allocate(layout(more, align));
            assert!(answer.is_err(), "{more} > {largest} was had at {align} in {:?}", self.model);
        }
        self.restore(&saved);
    }

    /// The walk is the model's ranges and the counters are their sums.
    pub(super) fn assert_walk(&self) {
        if S::HAS_SLABS {
            assert_slab_walk(self.heap_ref(), &self.model);
            return self.assert_counters();
        }
        let mut live = self.model.live().peekable();
        let mut at = 0;
        let mut free_before = false;
        for block in self.heap_ref().blocks() {
            assert_eq!(block.offset_bytes, at, "the walk leaves nothing out");
            at += block.size_bytes;
            let used = live.next_if(|live| live.offset == block.offset_bytes);
            assert_eq!(used.is_some(), block.state == BlockState::Used, "{block:?}");
            if let Some(live) = used {
                assert_eq!(live.len, block.size_bytes);
            } else {
                assert!(!free_before, "two free neighbours at {block:?} in {:?}", self.model);
                let tail = at == self.model.pool_bytes();
                assert_eq!(tail, block.state == BlockState::Top, "{block:?}");
            }
            free_before = used.is_none();
        }
        assert_eq!((at, live.next()), (self.model.pool_bytes(), None), "the walk is whole");
        self.assert_counters();
    }

    fn assert_counters(&self) {
        let stats = self.heap_ref().stats();
        assert_eq!(stats.used_bytes, self.model.used_bytes());
        assert_eq!(stats.used_bytes + stats.free_bytes, stats.pool_bytes);
        assert_eq!(stats.pool_bytes, self.model.pool_bytes());
        assert_eq!(stats.live_blocks, self.model.live_count());
    }

    /// The region is as it was, and so is every counter but those of refusals.
    pub(super) fn assert_unchanged(&self, saved: &Saved<S>) {
        // SAFETY: no operation runs meanwhile.
        let bytes = unsafe { self.region.bytes() };
        assert!(bytes == saved.bytes, "a refusal changed the region");
        let mut stats = self.heap_ref().stats();
        stats.failed_requests = saved.stats.failed_requests;
        stats.refused_frees = saved.stats.refused_frees;
        assert_eq!(stats, saved.stats, "a refusal changed a counter");
    }

    /// Every granule's address, and one off it, with right and wrong sizes and alignments.
    pub(super) fn misuses(&mut self, plan: &Plan, saved: &Saved<S>) {
        let granule = S::GRANULE_BYTES;
        let pool_bytes = self.model.pool_bytes();
        let base = self.model.pool_base();
        for offset in (0..=pool_bytes).step_by(granule) {
            let mut tries: Vec<Wrong> = vec![
                (base + offset, None),
                (base + offset + 1, None),
                (base + offset + granule / 2, Some(layout(granule, 1))),
            ];
            let sizes = plan.sizes.iter().map(|size| Some(layout(size * granule, 1)));
            tries.extend(sizes.map(|layout| (base + offset, layout)));
            if let Some(live) = self.model.at(offset) {
                let beyond = 2 << (base + offset).trailing_zeros();
                let told = Layout::from_size_align(live.layout.size(), beyond).ok();
                tries.push((base + offset, told));
            }
            for (address, told) in tries {
                let verdict = self.model.verdict(address, told);
                if !matches!(verdict, Verdict::Valid | Verdict::Unknown) {
                    self.refused(address, told, verdict);
                }
            }
        }
        self.assert_unchanged(saved);
        let stats = self.heap_ref().stats();
        assert_eq!(stats.failed_requests, saved.stats.failed_requests);
    }

    fn refused(&mut self, address: usize, told: Option<Layout>, verdict: Verdict) {
        let ptr = NonNull::new(core::ptr::without_provenance_mut::<u8>(address))
            .expect("addresses of a pool are not null");
        let new = layout(S::GRANULE_BYTES, 1);
        let before = self.heap_ref().stats().refused_frees;
        // SAFETY: misuses, which the heap promises to refuse.
        let answers: [Result<(), FreeError>; 2] = unsafe {
            match told {
                Some(told) => [
                    self.heap().try_deallocate(ptr, told),
                    match self.heap().reallocate(ptr, told, new) {
                        Ok(_) => Ok(()),
                        Err(ReallocError::Free(error)) => Err(error),
                        Err(error) => panic!("{error:?} before the pointer was looked at"),
                    },
                ],
                None => [self.heap().try_free(ptr), self.heap().usable_size(ptr).map(drop)],
            }
        };
        for answer in answers {
            assert!(
                verdict.allows(answer),
                "{address:#x} as {told:?} answered {answer:?}, and the model {verdict:?}: {:?}",
                self.model
            );
        }
        let counted = 1 + u64::from(told.is_some());
        assert_eq!(self.heap_ref().stats().refused_frees, before + counted);
        self.report.transitions += 2;
        self.report.refusals += 2;
    }
}
