//! Reallocation, by every call that does it.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{AllocError, ReallocError};
use evenfit_trace::replay::pattern;

use super::Driver;
use crate::model::Live;
use crate::op::{Via, layout, malloc_layout};
use crate::subject::Subject;

impl<S: Subject> Driver<S> {
    pub(super) fn resize_pick(&mut self, k: usize, new: Layout, via: Via) {
        if let Some(live) = self.model.pick(k) {
            self.resize(&live, new, via);
        }
    }

    pub(super) fn shrink(&mut self, k: usize, new: Layout) {
        if let Some(live) = self.model.pick(k) {
            let new = layout(new.size() % (live.layout.size() + 1), new.align());
            self.resize(&live, new, Via::Reallocate);
        }
    }

    pub(super) fn realloc(&mut self, k: usize, new_bytes: usize) {
        let Some(live) = self.model.pick(k) else {
            return;
        };
        if let Some(new) = malloc_layout(new_bytes) {
            self.resize(&live, new, Via::Realloc);
            return;
        }
        self.take_snapshot();
        let ptr = self.pointer(&live);
        // SAFETY: a live block.
        match unsafe { self.subject.realloc(ptr, new_bytes) } {
            Err(ReallocError::Alloc(error)) => self.no_layout(Err(error)),
            other => panic!("{other:?}: realloc of {live:?} to {new_bytes} bytes"),
        }
    }

    /// Where the block is now, if it was resized.
    pub(super) fn resize(&mut self, live: &Live, new: Layout, via: Via) -> Option<usize> {
        self.assert_contents(live);
        self.take_snapshot();
        match self.call_resize(self.pointer(live), live.layout, new, via) {
            Ok(block) => {
                let is_kept_whole = via == Via::Realloc;
                let content_bytes = if is_kept_whole { live.len } else { live.layout.size() };
                let offset = self.resized(live, block, new, content_bytes);
                assert!(via != Via::InPlace || offset == live.offset);
                Some(offset)
            }
            Err(ReallocError::Alloc(AllocError::OutOfMemory)) if via == Via::InPlace => {
                let fits = self.model.must_resize_in_place(live, new);
                assert!(!fits, "{live:?} to {new:?} fits in place");
                self.assert_region_unchanged();
                None
            }
            Err(ReallocError::Alloc(error)) => {
                assert!(!self.model.must_resize(live, new), "{error:?}: {live:?} to {new:?} fits");
                self.refused_request(new, error);
                None
            }
            Err(error) => panic!("{error:?}: {via:?} of {live:?} to {new:?}"),
        }
    }

    pub(super) fn call_resize(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
        via: Via,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: a live block with its layout, or a misuse, which must be refused.
        unsafe {
            match via {
                Via::Realloc => self.subject.realloc(ptr, new.size()),
                Via::InPlace => self.subject.resize_in_place(ptr, old, new),
                _ => self.subject.reallocate(ptr, old, new),
            }
        }
    }

    fn resized(
        &mut self,
        old: &Live,
        block: NonNull<[u8]>,
        new: Layout,
        content_bytes: usize,
    ) -> usize {
        let used_before = self.model.used_bytes();
        let old_address = self.model.pool_base() + old.offset;
        let stays = block.cast::<u8>().as_ptr() as usize == old_address;
        let live = if stays {
            self.stayed(old, block, new)
        } else {
            self.forget(old.offset);
            self.adopt(block, new)
        };
        let kept = content_bytes.min(new.size());
        let wrong = pattern::first_difference(&self.contents(&live)[..kept], old.seed);
        assert_eq!(wrong, None, "{old:?} lost contents on its way to {new:?}");
        self.fill(&live);
        self.expect_peak(used_before, &live, stays);
        self.expect_counts();
        live.offset
    }

    /// Records a block that was resized in place. It stays longer than necessary only if there is
    /// no other memory.
    fn stayed(&mut self, old: &Live, block: NonNull<[u8]>, new: Layout) -> Live {
        if self.usable(block, new) != old.len {
            self.model.remove(old.offset);
            return self.adopt(block, new);
        }
        if self.model.is_kept(new.size(), old.len) && self.search_credit >= self.model.live_count()
        {
            self.search_credit -= self.model.live_count();
            let fits = self.model.must_fit(new);
            assert!(!fits, "{old:?} was kept for {new:?}, which fits elsewhere");
        }
        self.seed += 1;
        self.model.keep(old, new, self.seed)
    }

    /// A block that moved may have been counted twice for a moment, so either peak is correct.
    fn expect_peak(&mut self, used_before: usize, live: &Live, stays: bool) {
        let peak = self.expected.peak_used_bytes;
        let least = peak.max(self.model.used_bytes());
        let both = peak.max(used_before + live.len);
        let said = self.subject.stats().peak_used_bytes;
        assert!(
            said == least || (said == both && !stays) || (S::HAS_SLABS && said > least),
            "peak {said} after a reallocation: {least}, or {both} if both blocks were live"
        );
        self.expected.peak_used_bytes = said;
    }
}
