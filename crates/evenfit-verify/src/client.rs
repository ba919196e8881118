//! A client that allocates and frees through one of a heap's interfaces: a program, a thread, a C
//! caller.
//!
//! These interfaces return less than [`Heap`](evenfit::Heap) itself, so the oracle is smaller than
//! [`Model`](crate::Model). Blocks are aligned, don't overlap, lie in the memory, and keep their
//! content. A pointer that is no block is refused and changes nothing.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

use evenfit_trace::replay::pattern;

use crate::op::{Bytes, layout};

/// An interface of a heap. `None` and `false` are refusals, after which everything is as before.
pub trait Interface {
    /// A block for `layout`.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;
    /// The same, its bytes zero.
    fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>>;
    /// Frees a block.
    ///
    /// # Safety
    /// If a live block starts at `ptr`, the caller owns it, and doesn't use it after success.
    unsafe fn free(&self, ptr: NonNull<u8>, layout: Layout) -> bool;
    /// Changes a block's size; the alignment stays what [`resized`](Self::resized) says.
    ///
    /// # Safety
    /// As for `free`.
    unsafe fn reallocate(&self, ptr: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>>;
    /// The layout that a block has after a reallocation for `new_bytes`.
    fn resized(&self, old: Layout, new_bytes: usize) -> Layout {
        layout(new_bytes, old.align())
    }
    /// How many bytes may be used at `ptr`.
    fn usable_bytes(&self, ptr: NonNull<u8>) -> Option<usize>;
    /// How many blocks are live.
    fn live_blocks(&self) -> usize;
    /// The largest request that succeeds now, in bytes, if the interface knows it exactly.
    fn largest_free(&self) -> Option<usize>;
    /// Whether the interface's own check finds nothing wrong.
    fn is_sound(&self) -> bool;
}

/// A block that the client has.
#[derive(Clone, Copy)]
struct Live {
    ptr: NonNull<u8>,
    layout: Layout,
    seed: u64,
}

impl Live {
    fn range(self) -> Range<usize> {
        let start = self.ptr.addr().get();
        start..start + self.layout.size().max(1)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: a live block of this client, of which that many bytes were written when it was
        // allocated.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.layout.size()) }
    }
}

/// One user of an interface.
pub struct Client<'heap, I: Interface> {
    heap: &'heap I,
    /// Where all blocks must lie.
    memory: Range<usize>,
    /// Whether nobody else uses the heap. Only then its counters and stale pointers are
    /// predictable.
    is_alone: bool,
    live: Vec<Live>,
    stale: Vec<(NonNull<u8>, Layout)>,
    seed: u64,
}

impl<'heap, I: Interface> Client<'heap, I> {
    /// `seed` makes the contents of its blocks differ from those of others.
    pub fn new(heap: &'heap I, memory: Range<usize>, is_alone: bool, seed: u64) -> Self {
        Self { heap, memory, is_alone, live: Vec::new(), stale: Vec::new(), seed: seed << 32 }
    }

    /// Performs the operations that the bytes encode, and at the end frees everything.
    ///
    /// # Panics
    /// If the heap does something wrong.
    pub fn run(mut self, bytes: &mut Bytes<'_>) {
        while !bytes.is_empty() {
            self.step(bytes);
        }
        self.verify_all();
        while !self.live.is_empty() {
            self.free(0);
        }
        self.expect_count();
        if self.is_alone {
            assert!(self.heap.is_sound());
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 16 {
            0..5 => self.allocate(bytes, false),
            5 => self.allocate(bytes, true),
            6..9 => self.with_pick(bytes, |client, pick, _| client.free(pick)),
            9..12 => self.with_pick(bytes, Self::reallocate),
            12 => self.with_pick(bytes, |client, pick, _| {
                let Live { ptr, layout, .. } = client.live[pick];
                let usable = client.heap.usable_bytes(ptr);
                assert!(usable.is_some_and(|usable| usable >= layout.size()));
            }),
            13 => self.misuse(bytes),
            14 => self.exhaust(),
            _ => {
                self.verify_all();
                assert!(self.heap.is_sound());
            }
        }
        self.expect_count();
    }

    fn with_pick(
        &mut self,
        bytes: &mut Bytes<'_>,
        f: impl FnOnce(&mut Self, usize, &mut Bytes<'_>),
    ) {
        let pick = bytes.number(2);
        if !self.live.is_empty() {
            f(self, pick % self.live.len(), bytes);
        }
    }

    fn size(&self, bytes: &mut Bytes<'_>) -> usize {
        match bytes.byte() {
            0..=159 => bytes.number(1),
            160..=229 => bytes.number(2) % (self.memory.len() / 4 + 2),
            230..=249 => bytes.number(3) % (self.memory.len() + 99),
            _ => isize::MAX as usize - bytes.number(1),
        }
    }

    fn allocate(&mut self, bytes: &mut Bytes<'_>, zeroed: bool) {
        let align = match bytes.byte() {
            choice @ 0..=199 => 8 << (choice % 2),
            choice => 1 << (choice % 14),
        };
        let layout = layout(self.size(bytes), align);
        let answer =
            if zeroed { self.heap.allocate_zeroed(layout) } else { self.heap.allocate(layout) };
        if let Some(ptr) = answer {
            self.adopt(ptr, layout, zeroed);
        }
    }

    fn adopt(&mut self, ptr: NonNull<u8>, layout: Layout, zeroed: bool) {
        self.seed += 1;
        let mut block = Live { ptr, layout, seed: self.seed };
        self.expect_apart(block);
        if zeroed {
            // SAFETY: a new block of that many bytes, and they were written.
            let bytes = unsafe { core::slice::from_raw_parts(ptr.as_ptr(), layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == 0), "not zeroed");
        }
        // SAFETY: a new block of that many bytes.
        unsafe { ptr.write_bytes(0, layout.size()) };
        let seed = block.seed;
        pattern::fill(block.bytes(), seed);
        self.live.push(block);
    }

    fn expect_apart(&self, block: Live) {
        let range = block.range();
        let align = block.layout.align();
        assert!(range.start.is_multiple_of(align), "not aligned to {align}");
        assert!(
            self.memory.start <= range.start && range.end <= self.memory.end,
            "outside of the memory"
        );
        for other in &self.live {
            let other = other.range();
            assert!(range.end <= other.start || other.end <= range.start, "overlaps a live block");
        }
    }

    fn verify(&mut self, pick: usize, bytes: usize) {
        let seed = self.live[pick].seed;
        let content = &self.live[pick].bytes()[..bytes];
        assert_eq!(pattern::first_difference(content, seed), None, "overwritten");
    }

    fn verify_all(&mut self) {
        for pick in 0..self.live.len() {
            self.verify(pick, self.live[pick].layout.size());
        }
    }

    fn free(&mut self, pick: usize) {
        self.verify(pick, self.live[pick].layout.size());
        let Live { ptr, layout, .. } = self.live.swap_remove(pick);
        // SAFETY: this client's block, forgotten by now.
        let is_freed = unsafe { self.heap.free(ptr, layout) };
        assert!(is_freed, "a live block is refused");
        self.stale.push((ptr, layout));
    }

    fn reallocate(&mut self, pick: usize, bytes: &mut Bytes<'_>) {
        let Live { ptr, layout: old, seed } = self.live[pick];
        let new = self.heap.resized(old, self.size(bytes));
        // SAFETY: this client's block.
        let moved = unsafe { self.heap.reallocate(ptr, old, new) };
        let Some(moved) = moved else {
            self.verify(pick, old.size());
            return;
        };
        self.live.swap_remove(pick);
        let mut block = Live { ptr: moved, layout: new, seed };
        self.expect_apart(block);
        let kept = old.size().min(new.size());
        // SAFETY: the block is live and has that length. Moved bytes are initialised, the others
        // are written here.
        unsafe { moved.add(kept).write_bytes(0, new.size() - kept) };
        assert_eq!(
            pattern::first_difference(&block.bytes()[..kept], seed),
            None,
            "a reallocation lost content"
        );
        pattern::fill(block.bytes(), seed);
        self.live.push(block);
    }

    /// Passes a pointer that is no block: every call refuses it.
    fn misuse(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.byte() % 4;
        let number = bytes.number(4);
        let wrong = match choice {
            0 if !self.live.is_empty() => {
                let block = self.live[number % self.live.len()];
                let inside = 1 + (number >> 8) % block.layout.size().max(2);
                if inside >= block.layout.size() {
                    return;
                }
                block.ptr.as_ptr().wrapping_add(inside)
            }
            1 if self.is_alone && !self.stale.is_empty() => {
                self.stale[number % self.stale.len()].0.as_ptr()
            }
            2 => core::ptr::without_provenance_mut(self.memory.end.wrapping_add(number)),
            _ => core::ptr::without_provenance_mut(number.wrapping_mul(bytes.number(5))),
        };
        let Some(wrong) = NonNull::new(wrong) else {
            return;
        };
        let address = wrong.addr().get();
        // Of others' blocks nothing is known.
        let may_be_a_block = self.live.iter().any(|block| block.ptr == wrong)
            || !self.is_alone && choice != 0 && self.memory.contains(&address);
        if may_be_a_block {
            return;
        }
        let layout = layout(self.size(bytes) % 4096, 8);
        let before = self.heap.live_blocks();
        // SAFETY: no live block starts there.
        unsafe {
            assert!(!self.heap.free(wrong, layout), "freed what is no block");
            let resized = self.heap.reallocate(wrong, layout, layout);
            assert_eq!(resized, None, "resized what is no block");
        }
        assert_eq!(self.heap.usable_bytes(wrong), None);
        if self.is_alone {
            assert_eq!(self.heap.live_blocks(), before);
        }
    }

    /// The largest request succeeds, and no larger one does.
    fn exhaust(&mut self) {
        if !self.is_alone {
            return;
        }
        let Some(bytes) = self.heap.largest_free() else {
            return;
        };
        assert_eq!(self.heap.allocate(layout(bytes + 1, 8)), None);
        if bytes > 0 {
            let layout = layout(bytes, 8);
            let block = self.heap.allocate(layout).expect("the largest request");
            self.adopt(block, layout, false);
            self.free(self.live.len() - 1);
        }
    }

    fn expect_count(&self) {
        if self.is_alone {
            assert_eq!(self.heap.live_blocks(), self.live.len());
        }
    }
}
