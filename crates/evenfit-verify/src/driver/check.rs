//! Full comparisons of heap and model.

use alloc::vec::Vec;
use core::alloc::Layout;

use evenfit::BlockState;

use super::Driver;
use crate::model::{Live, Model};
use crate::op::layout;
use crate::subject::{GRANULES_MIN, Piece, Subject};

impl<S: Subject> Driver<S> {
    /// Compares everything that can be seen of the heap with the model.
    ///
    /// # Panics
    /// Where they differ.
    pub fn check(&mut self) {
        assert_eq!(self.subject.check(), Ok(()));
        self.assert_blocks();
        for live in self.model.live() {
            self.assert_contents(live);
        }
        assert!(self.region.surroundings_intact(), "a byte outside the region was written");
    }

    /// `check`, and now and then the largest request, which raises the pool's peak to its maximum.
    pub(super) fn check_all(&mut self) {
        self.check();
        if self.ops.is_multiple_of(4) {
            self.assert_largest_free();
            self.assert_largest_free_aligned(S::RULES.align_bytes << (1 + self.ops / 4 % 12));
        }
    }

    /// The walk has the model's ranges: no two free neighbours, nothing lost, the tail at the end.
    fn assert_blocks(&self) {
        if S::HAS_SLABS {
            return assert_slab_walk(&self.subject, &self.model);
        }
        let pool_bytes = self.model.pool_bytes();
        let free_bytes_min = GRANULES_MIN * S::GRANULE_BYTES;
        for (start, end) in self.model.gaps() {
            let is_block = end - start >= free_bytes_min || end == pool_bytes;
            assert!(is_block, "{start} to {end} is too short for a block");
        }
        let used = self.model.live().map(|live| Piece {
            offset_bytes: live.offset,
            size_bytes: live.len,
            state: BlockState::Used,
        });
        let free = self.model.gaps().map(|(start, end)| Piece {
            offset_bytes: start,
            size_bytes: end - start,
            state: if end == pool_bytes { BlockState::Top } else { BlockState::Free },
        });
        let mut expected: Vec<_> = used.chain(free).collect();
        expected.sort_unstable_by_key(|block| block.offset_bytes);
        let mut walked = self.subject.blocks();
        for block in expected {
            assert_eq!(walked.next(), Some(block), "walk of the blocks");
        }
        assert_eq!(walked.next(), None, "the walk ends with the pool");
    }

    /// The largest request succeeds and one byte more does not.
    pub(super) fn assert_largest_free(&mut self) {
        let largest = self.subject.largest_free();
        let widest = self.model.gaps().map(|(start, end)| end - start).max().unwrap_or(0);
        assert!(largest <= widest, "largest_free {largest}, and the widest run is {widest}");
        assert!(!self.model.must_fit(layout(largest + 1, 1)), "more than {largest} must fit");
        if largest > 0 {
            self.allocate_and_free(layout(largest, 1));
        }
        let refused = self.subject.allocate(layout(largest + 1, 1));
        assert!(refused.is_err(), "largest_free said {largest}, and more was had");
        self.expected.failed_requests += 1;
    }

    /// The same at an alignment. The larger request comes first, since it changes nothing.
    fn assert_largest_free_aligned(&mut self, align: usize) {
        let largest = self.subject.largest_free_aligned(align);
        let more = layout(largest + 1, align);
        assert!(!self.model.must_fit(more), "more than {largest} aligned to {align} must fit");
        let refused = self.subject.allocate(more);
        assert!(refused.is_err(), "largest_free_aligned({align}) said {largest}, and more was had");
        self.expected.failed_requests += 1;
        if largest > 0 {
            self.allocate_and_free(layout(largest, align));
        }
    }

    /// A request that must succeed; the block is freed again.
    fn allocate_and_free(&mut self, layout: Layout) {
        let answer = self.subject.allocate(layout);
        let block =
            answer.unwrap_or_else(|error| panic!("{error:?}: largest_free said {layout:?}"));
        let address = block.cast::<u8>().as_ptr() as usize;
        let usable = self.usable(block, layout);
        self.model.insert(address, usable, layout, 0);
        self.expect_peak_of_now();
        // SAFETY: just allocated.
        let freed = unsafe { self.subject.try_deallocate(block.cast(), layout) };
        assert_eq!(freed, Ok(()));
        self.model.remove(address - self.model.pool_base());
    }
}

/// The walk has the model's blocks and no others, slot by slot, and omits no byte.
///
/// # Panics
/// Where they differ.
pub fn assert_slab_walk<S: Subject>(subject: &S, model: &Model) {
    let mut live = model.live().peekable();
    let (mut at, mut free_before) = (0, false);
    for piece in subject.blocks() {
        assert_eq!(piece.offset_bytes, at, "the walk leaves nothing out");
        at += piece.size_bytes;
        let mut within = Vec::new();
        while let Some(block) = live.next_if(|live| live.offset < at) {
            within.push(block);
        }
        let is_free = matches!(piece.state, BlockState::Free | BlockState::Top);
        assert!(!(is_free && free_before), "two free neighbours at {piece:?}");
        free_before = is_free;
        match piece.state {
            BlockState::Used => {
                assert!(within.len() == 1 && within[0].len == piece.size_bytes, "{piece:?}");
            }
            BlockState::Slab { slot_bytes, used_slots, .. } => {
                assert_eq!(within.len(), used_slots, "{piece:?}");
                assert_ne!(used_slots, 0, "an empty slab is open: {piece:?}");
                assert!(within.iter().all(|slot| slot.len == slot_bytes), "{piece:?}");
            }
            _ => assert_eq!(within, Vec::<&Live>::new(), "{piece:?}"),
        }
        assert_eq!(
            piece.state == BlockState::Top,
            is_free && at == model.pool_bytes(),
            "the tail is the top, and nothing else"
        );
    }
    assert_eq!((at, live.next()), (model.pool_bytes(), None), "the walk is whole");
}
