//! Wrong pointers and layouts. Each is refused with the error that the model predicts, and changes
//! nothing.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{FreeError, ReallocError};

use super::Driver;
use crate::model::{Live, Verdict};
use crate::op::{Misuse, Via, layout};
use crate::subject::Subject;

impl<S: Subject> Driver<S> {
    /// The wrong pointer and layout for `kind` at this moment; none if there is no such thing.
    fn wrong_argument(&self, kind: Misuse) -> Option<(usize, Layout)> {
        let base = self.region.base().as_ptr() as usize;
        let address_of = |live: &Live| self.model.pool_base() + live.offset;
        let some_layout = layout(S::GRANULE_BYTES, 1);
        Some(match kind {
            Misuse::Stale { pick } => *self.stale.get(pick % self.stale.len().max(1))?,
            Misuse::Interior { k, delta } => {
                let live = self.model.pick(k)?;
                (address_of(&live) + delta % live.len, live.layout)
            }
            Misuse::InFree { offset } => {
                let offset = offset % self.model.pool_bytes();
                let (start, end) = self.model.gap_from(offset)?;
                (self.model.pool_base() + offset.max(start), layout(end - start, 1))
            }
            Misuse::InRegion { offset } => (base + offset % self.region.len_bytes(), some_layout),
            Misuse::Foreign { address } => (address.max(1), some_layout),
            Misuse::OtherHeap => (self.other.0.as_ptr() as usize, self.other.1),
            Misuse::PastEnd { delta } => (base + self.region.len_bytes() + delta, some_layout),
            Misuse::WrongSize { k, size } => {
                let live = self.model.pick(k)?;
                (address_of(&live), layout(size, live.layout.align()))
            }
            Misuse::WrongAlign { k, doublings } => {
                let live = self.model.pick(k)?;
                let address = address_of(&live);
                let log2 = (address.trailing_zeros() + 1 + doublings).min(usize::BITS - 2);
                (address, layout(live.layout.size(), 1 << log2))
            }
        })
    }

    pub(super) fn misuse(&mut self, kind: Misuse, via: Via) {
        let Some((address, wrong)) = self.wrong_argument(kind) else {
            return;
        };
        let is_told = !matches!(via, Via::Free | Via::Realloc | Via::UsableSize);
        let told = is_told.then_some(wrong);
        let verdict = self.model.verdict(address, told);
        if matches!(verdict, Verdict::Valid | Verdict::Unknown) {
            return;
        }
        let ptr = NonNull::new(core::ptr::without_provenance_mut::<u8>(address))
            .expect("no kind of misuse makes a null pointer");
        self.take_snapshot();
        let answer = self.call_with(ptr, wrong, via);
        assert!(
            verdict.allows(answer),
            "{via:?} of {kind:?} at {address:#x} as {wrong:?} answered {answer:?}, \
             and the model {verdict:?}"
        );
        if via != Via::UsableSize {
            self.expected.refused_frees += 1;
        }
        self.assert_region_unchanged();
    }

    fn call_with(&mut self, ptr: NonNull<u8>, wrong: Layout, via: Via) -> Result<(), FreeError> {
        let new = match via {
            Via::InPlace | Via::Realloc => layout(wrong.size() / 2, wrong.align()),
            _ => layout(wrong.size().saturating_mul(2), wrong.align()),
        };
        match via {
            // SAFETY: a misuse: the heap promises to refuse it.
            Via::Deallocate => unsafe { self.subject.try_deallocate(ptr, wrong) },
            // SAFETY: as above.
            Via::Free => unsafe { self.subject.try_free(ptr) },
            Via::UsableSize => self.subject.usable_size(ptr).map(drop),
            Via::Realloc | Via::InPlace | Via::Reallocate => {
                match self.call_resize(ptr, wrong, new, via) {
                    Ok(_) => Ok(()),
                    Err(ReallocError::Free(error)) => Err(error),
                    Err(error) => panic!("{error:?}: a wrong pointer was not noticed first"),
                }
            }
        }
    }
}
