//! Calls the C library as C code may: with any pointer and number, and null or garbage as handles.

use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use evenfit_c::{
    HeapInMemory, LockTable, OptionsV1, State, StatsV1, Status, TierChoice, evf_alloc,
    evf_alloc_aligned, evf_calloc, evf_check, evf_control_bytes, evf_free, evf_free_aligned_sized,
    evf_free_sized, evf_init, evf_init_with, evf_largest_free, evf_largest_free_aligned,
    evf_realloc, evf_reset, evf_set_lock, evf_set_misuse, evf_set_out_of_memory, evf_stats,
    evf_try_alloc, evf_try_realloc, evf_usable_size, evf_walk,
};

use crate::client::{Client, Interface};
use crate::{Bytes, Placement, Region};

/// The alignment of C's blocks, except those too small for a type that needs it.
const C_ALIGN: usize = 2 * size_of::<usize>();

/// What the callbacks were called with.
#[derive(Default)]
struct Seen {
    locked: Cell<bool>,
    misuses: Cell<usize>,
}

unsafe extern "C" fn acquire(context: *mut c_void) {
    // SAFETY: the context is the `Seen` of this run.
    let seen = unsafe { &*context.cast::<Seen>() };
    assert!(!seen.locked.replace(true), "the lock is acquired twice");
}

unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: as above.
    let seen = unsafe { &*context.cast::<Seen>() };
    assert!(seen.locked.replace(false), "the lock is released twice");
}

unsafe extern "C" fn misuse(
    context: *mut c_void,
    heap: *mut HeapInMemory,
    _: *mut c_void,
    status: Status,
) {
    // SAFETY: as above.
    let seen = unsafe { &*context.cast::<Seen>() };
    assert!(!seen.locked.get() && !heap.is_null() && status != Status::EVF_OK);
    seen.misuses.set(seen.misuses.get() + 1);
}

unsafe extern "C" fn out_of_memory(
    context: *mut c_void,
    _: *mut HeapInMemory,
    _: usize,
    retries: u32,
) -> bool {
    // SAFETY: as above.
    let seen = unsafe { &*context.cast::<Seen>() };
    assert!(!seen.locked.get(), "called with the lock held");
    retries < 2
}

/// A heap as C code sees it.
struct CHeap<'seen> {
    heap: *mut HeapInMemory,
    seen: &'seen Seen,
    is_told: bool,
}

impl CHeap<'_> {
    fn stats(&self) -> StatsV1 {
        let mut stats = StatsV1 { struct_bytes: size_of::<StatsV1>(), ..StatsV1::default() };
        // SAFETY: the heap is one, and the struct says its own length.
        let status = unsafe { evf_stats(self.heap, &raw mut stats) };
        assert_eq!(status, Status::EVF_OK);
        stats
    }

    /// Whether C may have asked for this layout by `evf_alloc`.
    fn is_plain(layout: Layout) -> bool {
        layout.align() == C_ALIGN || layout.align() == 8 && layout.size() <= 8
    }
}

impl Interface for CHeap<'_> {
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the heap is one.
        let block = unsafe {
            if Self::is_plain(layout) {
                evf_alloc(self.heap, layout.size())
            } else if layout.size().is_multiple_of(2) {
                evf_alloc_aligned(self.heap, layout.align(), layout.size())
            } else {
                let mut block = ptr::null_mut();
                let status =
                    evf_try_alloc(self.heap, layout.align(), layout.size(), &raw mut block);
                assert_eq!(status == Status::EVF_OK, !block.is_null());
                block
            }
        };
        NonNull::new(block.cast())
    }

    fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        if !Self::is_plain(layout) {
            let block = self.allocate(layout)?;
            // SAFETY: a new block of that many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
            return Some(block);
        }
        let count = if layout.size().is_multiple_of(2) { 2 } else { 1 };
        // SAFETY: the heap is one.
        NonNull::new(unsafe { evf_calloc(self.heap, count, layout.size() / count) }.cast())
    }

    unsafe fn free(&self, ptr: NonNull<u8>, layout: Layout) -> bool {
        let misuses = self.seen.misuses.get();
        let pointer = ptr.as_ptr().cast();
        // SAFETY: passed on to the caller.
        let status = unsafe {
            match ptr.addr().get() / 16 % 3 {
                0 => evf_free(self.heap, pointer),
                1 if layout.align() == C_ALIGN => evf_free_sized(self.heap, pointer, layout.size()),
                _ => evf_free_aligned_sized(self.heap, pointer, layout.align(), layout.size()),
            }
        };
        let is_told = self.seen.misuses.get() > misuses;
        assert_eq!(is_told, self.is_told && status != Status::EVF_OK);
        status == Status::EVF_OK
    }

    unsafe fn reallocate(&self, ptr: NonNull<u8>, _: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: passed on to the caller.
        NonNull::new(unsafe { evf_realloc(self.heap, ptr.as_ptr().cast(), new.size()) }.cast())
    }

    fn resized(&self, _: Layout, new_bytes: usize) -> Layout {
        let align = if new_bytes <= 8 { 8 } else { C_ALIGN };
        let largest = isize::MAX as usize - (align - 1);
        Layout::from_size_align(new_bytes.min(largest), align)
            .expect("the size is capped for the alignment")
    }

    fn usable_bytes(&self, ptr: NonNull<u8>) -> Option<usize> {
        // SAFETY: the heap is one.
        Some(unsafe { evf_usable_size(self.heap, ptr.as_ptr().cast()) }).filter(|&bytes| bytes > 0)
    }

    fn live_blocks(&self) -> usize {
        self.stats().live_blocks
    }

    fn largest_free(&self) -> Option<usize> {
        // SAFETY: the heap is one.
        let bytes = unsafe { evf_largest_free(self.heap) };
        // The client fills it: more would take most of the test's time. `exhaust` asks whatever the
        // size.
        Some(bytes).filter(|&bytes| bytes <= 64 << 10)
    }

    fn is_sound(&self) -> bool {
        unsafe extern "C" fn add(
            context: *mut c_void,
            offset: usize,
            bytes: usize,
            _: State,
        ) -> bool {
            // SAFETY: the context is the sum below.
            let sum = unsafe { &mut *context.cast::<usize>() };
            assert_eq!(offset, *sum, "the walk leaves a gap");
            *sum += bytes;
            true
        }
        let mut sum = 0usize;
        // SAFETY: the heap is one; the context is what `add` expects.
        let (walked, checked) = unsafe {
            (evf_walk(self.heap, Some(add), (&raw mut sum).cast()), evf_check(self.heap))
        };
        walked == Status::EVF_OK && checked == Status::EVF_OK && sum == self.stats().pool_bytes
    }
}

/// Calls that must be refused, whatever the heap.
fn refused_handles(memory: &Region, bytes: &mut Bytes<'_>) {
    let number = bytes.number(8);
    let elsewhere = [0u64; 8];
    let handles = [
        ptr::null_mut(),
        // Not aligned, so never looked at.
        memory.base().as_ptr().wrapping_add(1).cast(),
        elsewhere.as_ptr().cast_mut().cast::<HeapInMemory>(),
    ];
    let pointer = ptr::without_provenance_mut::<c_void>(number);
    for heap in handles.into_iter().filter(|heap| {
        !heap.is_aligned() || heap.is_null() || ptr::eq(*heap, elsewhere.as_ptr().cast())
    }) {
        // SAFETY: null, misaligned, or readable memory without a heap.
        unsafe {
            assert!(evf_alloc(heap, number).is_null());
            assert!(evf_calloc(heap, number, 3).is_null());
            assert!(evf_alloc_aligned(heap, number, number).is_null());
            assert!(evf_realloc(heap, pointer, number).is_null());
            let mut block = pointer;
            let status = evf_try_alloc(heap, 0, number, &raw mut block);
            assert!(status == Status::EVF_NOT_A_HEAP && block.is_null());
            let status = evf_try_realloc(heap, pointer, number, &raw mut block);
            assert!(status == Status::EVF_NOT_A_HEAP && block.is_null());
            assert_ne!(evf_free(heap, pointer), Status::EVF_OK);
            assert_ne!(evf_free_sized(heap, pointer, number), Status::EVF_OK);
            assert_eq!(evf_usable_size(heap, pointer), 0);
            assert_eq!(evf_largest_free(heap), 0);
            assert_eq!(evf_largest_free_aligned(heap, 64), 0);
            assert_eq!(evf_check(heap), Status::EVF_NOT_A_HEAP);
            assert_eq!(evf_reset(heap), Status::EVF_NOT_A_HEAP);
            assert_eq!(evf_walk(heap, None, ptr::null_mut()), Status::EVF_NOT_A_HEAP);
            assert_eq!(evf_stats(heap, ptr::null_mut()), Status::EVF_NOT_A_HEAP);
        }
    }
}

/// Arguments that a heap refuses, changing nothing.
fn refused_arguments(c: &CHeap<'_>, bytes: &mut Bytes<'_>) {
    let number = bytes.number(8);
    let before = c.stats();
    let mut short = StatsV1 { struct_bytes: bytes.byte() as usize % 8, ..before };
    let no_functions =
        LockTable { acquire: Some(acquire), release: None, context: ptr::null_mut() };
    // SAFETY: the heap is one.
    unsafe {
        assert_eq!(evf_free(c.heap, ptr::null_mut()), Status::EVF_OK, "null is fine");
        assert_eq!(evf_usable_size(c.heap, ptr::null_mut()), 0);
        assert!(evf_alloc_aligned(c.heap, number | 3, 8).is_null());
        assert!(evf_alloc_aligned(c.heap, 0, 8).is_null());
        assert!(evf_calloc(c.heap, usize::MAX / 2, 2 + number % 99).is_null());
        assert!(evf_calloc(c.heap, usize::MAX, usize::MAX - number % 99).is_null());
        assert_eq!(evf_stats(c.heap, ptr::null_mut()), Status::EVF_BAD_ARGUMENT);
        assert_eq!(evf_stats(c.heap, &raw mut short), Status::EVF_BAD_ARGUMENT);
        assert_eq!(evf_walk(c.heap, None, ptr::null_mut()), Status::EVF_BAD_ARGUMENT);
        assert_eq!(evf_set_lock(c.heap, &no_functions), Status::EVF_BAD_ARGUMENT);
    }
    let after = c.stats();
    assert_eq!((after.live_blocks, after.used_bytes), (before.live_blocks, before.used_bytes));
}

/// Runs the program that the bytes encode: its memory, its callbacks, its calls.
///
/// # Panics
/// If the library does something wrong.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let options = bytes.byte();
    let memory_bytes = match options % 4 {
        0 => bytes.number(2) % 4096,
        1 => 2500 + bytes.number(2),
        _ => 4096 + bytes.number(3) % (2 << 20),
    };
    let slack = bytes.byte() as usize % 64;
    let memory = Region::new(memory_bytes, Placement::BeforeGuard(slack));
    if options & 4 != 0 {
        // SAFETY: nothing else uses the memory yet.
        unsafe { memory.bytes_mut() }.fill(bytes.byte());
    }
    refused_handles(&memory, &mut bytes);
    let mut heap = ptr::null_mut();
    let tiers = i32::from(options >> 6) % 3;
    // SAFETY: the memory is this run's; null is allowed.
    let status = unsafe {
        assert_eq!(
            evf_init(ptr::null_mut(), memory_bytes, &raw mut heap),
            Status::EVF_BAD_ARGUMENT
        );
        assert_eq!(
            evf_init(memory.base().as_ptr().cast(), memory_bytes, ptr::null_mut()),
            Status::EVF_BAD_ARGUMENT
        );
        evf_init_with(
            memory.base().as_ptr().cast(),
            memory_bytes,
            &OptionsV1 { struct_bytes: size_of::<OptionsV1>(), tiers, max_bytes: 0 },
            &raw mut heap,
        )
    };
    if status != Status::EVF_OK {
        assert!(heap.is_null());
        let has_slabs = tiers == TierChoice::EVF_WITH_SLABS as i32;
        if has_slabs && usize::BITS < 64 {
            assert_eq!(status, Status::EVF_NO_SLABS);
            return;
        }
        assert_eq!(status, Status::EVF_REGION_TOO_SMALL);
        // What a large heap has, and the heads of its classes; or nearly nothing.
        let (like_bytes, metadata_bytes) =
            if has_slabs { (1 << 20, 1280) } else { (memory_bytes, 128) };
        assert!(memory_bytes < evf_control_bytes(like_bytes) + metadata_bytes);
        return;
    }
    let seen = Seen::default();
    let context = (&raw const seen).cast_mut().cast::<c_void>();
    let is_told = options & 8 != 0;
    let lock = LockTable { acquire: Some(acquire), release: Some(release), context };
    // SAFETY: the heap is one, and this thread's alone.
    unsafe {
        if is_told {
            assert_eq!(evf_set_misuse(heap, Some(misuse), context), Status::EVF_OK);
        }
        if options & 16 != 0 {
            assert_eq!(evf_set_out_of_memory(heap, Some(out_of_memory), context), Status::EVF_OK);
        }
        if options & 32 != 0 {
            assert_eq!(evf_set_lock(heap, &lock), Status::EVF_OK);
        }
    }
    let c = CHeap { heap, seen: &seen, is_told };
    refused_arguments(&c, &mut bytes);
    let start = memory.base().addr().get();
    Client::new(&c, start..start + memory_bytes, true, 1).run(&mut bytes);
    let alignment = 1 << (bytes.byte() % 13);
    exhaust(&c, alignment);
    // SAFETY: no block is used any more.
    assert_eq!(unsafe { evf_reset(heap) }, Status::EVF_OK);
    assert!(c.is_sound() && c.live_blocks() == 0 && !seen.locked.get());
    assert!(memory.surroundings_intact());
}

/// The largest request succeeds, plain and aligned; a larger one fails and changes nothing.
fn exhaust(c: &CHeap<'_>, alignment: usize) {
    // SAFETY: the heap is one.
    unsafe {
        assert!(evf_alloc(c.heap, evf_largest_free(c.heap) + 1).is_null());
        let largest = evf_largest_free(c.heap);
        let block = evf_alloc(c.heap, largest);
        assert!(!block.is_null());
        assert_eq!(evf_free_sized(c.heap, block, largest), Status::EVF_OK);

        let largest = evf_largest_free_aligned(c.heap, alignment);
        assert!(evf_alloc_aligned(c.heap, alignment, largest + 1).is_null());
        let largest_again = evf_largest_free_aligned(c.heap, alignment);
        assert_eq!(largest_again, largest, "a failed request changes nothing");
        if largest > 0 {
            assert!(!evf_alloc_aligned(c.heap, alignment, largest).is_null());
        }
        assert_eq!(evf_largest_free_aligned(c.heap, alignment + 2 * alignment), 0);
    }
}
