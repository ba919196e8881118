//! Built by `tests/sanitizers.rs` with AddressSanitizer or for Valgrind. It commits the fault that
//! its argument names, or none.
//!
//! Before a fault it prints the address that a report must name. Its unsafe blocks are either such
//! a fault or the use of a live block that the same function allocated.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use evenfit::{
    BlocksOnly, Builder, Compact, Geometry, Heap, LockedHeap, SpinLock, Standard, StaticHeap,
    Tiers, WithSlabs,
};

/// The size that the faulty programs allocate. It is no multiple of a granule, so that an overrun
/// can stay within the rounding.
const BLOCK_BYTES: usize = 1001;
const SLOT_BYTES: usize = 100;

fn main() {
    let fault = std::env::args().nth(1).unwrap_or_default();
    match fault.as_str() {
        "none" => correct(),
        "block-after-free" => after_free(BLOCK_BYTES),
        "slot-after-free" => after_free(SLOT_BYTES),
        "block-after-free-without-size" => after_free_without_size(BLOCK_BYTES),
        "slot-after-free-without-size" => after_free_without_size(SLOT_BYTES),
        "block-overrun" => overrun(BLOCK_BYTES),
        "slot-overrun" => overrun(SLOT_BYTES),
        "zeroed-overrun" => zeroed_overrun(),
        "rounding-of-a-request-of-zero" => overrun(0),
        "cut-tail" => cut_tail(),
        "after-growing" => after_growing(),
        "after-moving" => after_moving(),
        "after-moving-backwards" => after_moving_backwards(),
        "never-allocated" => never_allocated(),
        "after-reset" => after_reset(),
        "extension" => extension(),
        "compact-after-free" => compact_after_free(),
        "static-after-free" => static_after_free(),
        "locked-after-free" => locked_after_free(),
        "undefined" => undefined(),
        "leak" => leak(),
        other => panic!("no such fault: {other}"),
    }
    println!("silent");
}

fn layout(bytes: usize, align: usize) -> Layout {
    Layout::from_size_align(bytes, align).expect("a layout")
}

fn region(bytes: usize) -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); bytes]
}

/// Announces the fault, and reads the byte.
fn touch(block: NonNull<u8>, offset: usize) {
    let at = black_box(block.as_ptr().wrapping_add(offset));
    println!("at {at:p}");
    black_box(unsafe { at.read_volatile() });
}

fn with_slabs(test: impl FnOnce(&mut Heap<WithSlabs>)) {
    let mut region = region(1 << 20);
    test(&mut Heap::builder().with_slabs().build(&mut region).expect("a heap"));
}

fn after_free(bytes: usize) {
    with_slabs(|heap| {
        let block = heap.allocate(layout(bytes, 8)).unwrap().cast();
        let _behind = heap.allocate(layout(bytes, 8)).unwrap();
        unsafe { heap.deallocate(block, layout(bytes, 8)) };
        // A free block's links lie there.
        touch(block, 3);
    });
}

fn after_free_without_size(bytes: usize) {
    with_slabs(|heap| {
        let block = heap.malloc(bytes).unwrap().cast();
        let _behind = heap.malloc(bytes).unwrap();
        unsafe { heap.try_free(block).unwrap() };
        touch(block, bytes - 1);
    });
}

fn overrun(bytes: usize) {
    with_slabs(|heap| {
        let block = heap.allocate(layout(bytes, 8)).unwrap();
        assert_eq!(block.len(), bytes, "what was not asked for may not be used");
        assert_eq!(heap.usable_size(block.cast()), Ok(bytes));
        let _behind = heap.allocate(layout(bytes, 8)).unwrap();
        touch(block.cast(), bytes);
    });
}

fn zeroed_overrun() {
    with_slabs(|heap| {
        let block = heap.allocate_zeroed(layout(BLOCK_BYTES, 8)).unwrap().cast();
        touch(block, BLOCK_BYTES);
    });
}

fn cut_tail() {
    with_slabs(|heap| {
        let (old, new) = (layout(BLOCK_BYTES, 8), layout(600, 8));
        let block = heap.allocate(old).unwrap().cast();
        let _behind = heap.allocate(old).unwrap();
        let cut = unsafe { heap.reallocate(block, old, new) }.unwrap().cast();
        assert_eq!(cut, block);
        touch(block, 600);
    });
}

fn after_growing() {
    with_slabs(|heap| {
        let (old, new) = (layout(600, 8), layout(BLOCK_BYTES, 8));
        let block = heap.allocate(old).unwrap().cast();
        let grown = unsafe { heap.reallocate(block, old, new) }.unwrap().cast();
        assert_eq!(grown, block);
        unsafe { block.write_bytes(7, BLOCK_BYTES) };
        touch(block, BLOCK_BYTES);
    });
}

fn after_moving() {
    with_slabs(|heap| {
        let (old, new) = (layout(SLOT_BYTES, 8), layout(BLOCK_BYTES, 8));
        let block = heap.allocate(old).unwrap().cast();
        let moved = unsafe { heap.reallocate(block, old, new) }.unwrap().cast();
        assert_ne!(moved, block);
        touch(block, 0);
    });
}

/// A full pool in which a block can only grow over the free one before it. Checks the new block and
/// the tail that is left behind it.
fn moved_backwards(heap: &mut Heap<'_>) -> (NonNull<u8>, NonNull<u8>) {
    let (small, large) = (layout(1024, 8), layout(1536, 8));
    let before = heap.allocate(small).unwrap().cast::<u8>();
    let block = heap.allocate(small).unwrap().cast::<u8>();
    while heap.allocate(small).is_ok() {}
    while heap.allocate(layout(16, 8)).is_ok() {}
    unsafe {
        for offset in 0..1024 {
            block.add(offset).write(offset as u8);
        }
        heap.deallocate(before, small);
        let moved = heap.reallocate(block, small, large).unwrap().cast::<u8>();
        assert_eq!(moved, before);
        for offset in 0..1024 {
            assert_eq!(moved.add(offset).read(), offset as u8);
        }
        moved.write_bytes(1, 1536);
        (moved, moved.add(1536))
    }
}

fn after_moving_backwards() {
    let mut region = region(1 << 16);
    let mut heap: Heap = Heap::from_region(&mut region).expect("a heap");
    let (_, tail) = moved_backwards(&mut heap);
    touch(tail, 0);
}

fn never_allocated() {
    with_slabs(|heap| {
        let block = heap.allocate(layout(BLOCK_BYTES, 8)).unwrap().cast();
        touch(block, 100_000);
    });
}

fn after_reset() {
    with_slabs(|heap| {
        let block = heap.allocate(layout(SLOT_BYTES, 8)).unwrap().cast();
        heap.reset();
        touch(block, 5);
    });
}

fn extension() {
    let mut region = region(1 << 17);
    let base = NonNull::from(region.as_mut_slice()).cast::<u8>();
    let mut heap: Heap =
        unsafe { Heap::builder().max_bytes(1 << 17).build_raw(base, 1 << 16) }.expect("a heap");
    unsafe { base.add(1 << 16).write(1) };
    assert!(unsafe { heap.extend(1 << 16) } > 0);
    touch(base, 1 << 16);
}

fn compact_after_free() {
    let mut region = region(1 << 14);
    let builder = Builder::<BlocksOnly, Compact>::new();
    let mut heap = builder.build(&mut region).expect("a heap");
    let layout = layout(17, 8);
    let block = heap.allocate(layout).unwrap().cast();
    let _behind = heap.allocate(layout).unwrap();
    unsafe { heap.deallocate(block, layout) };
    touch(block, 16);
}

static STATIC: StaticHeap<{ 1 << 20 }> = StaticHeap::new();

fn static_after_free() {
    let layout = layout(SLOT_BYTES, 8);
    let block = STATIC.allocate(layout).unwrap().cast();
    unsafe { STATIC.deallocate(block, layout) };
    touch(block, 99);
}

fn locked_after_free() {
    let mut region = region(1 << 16);
    let heap: LockedHeap = LockedHeap::from_region(&mut region).expect("a heap");
    let layout = layout(BLOCK_BYTES, 8);
    let block = heap.allocate(layout).unwrap().cast();
    unsafe { heap.deallocate(block, layout) };
    touch(block, 0);
}

/// The bytes that a block has gained by growing were never written.
fn undefined() {
    with_slabs(|heap| {
        let (old, new) = (layout(600, 8), layout(BLOCK_BYTES, 8));
        let block = heap.allocate_zeroed(old).unwrap().cast::<u8>();
        let grown = unsafe { heap.reallocate(block, old, new) }.unwrap().cast::<u8>();
        if unsafe { black_box(grown.as_ptr().wrapping_add(599)).read_volatile() } == 1 {
            println!("defined");
        }
        println!("undefined from here");
        if unsafe { black_box(grown.as_ptr().wrapping_add(600)).read_volatile() } == 1 {
            println!("undefined");
        }
    });
}

/// Leaks a block and a slot.
fn leak() {
    // Memcheck takes the pool's first block for the pool itself.
    let first = STATIC.allocate(layout(BLOCK_BYTES, 8)).unwrap().cast();
    lose();
    unsafe { STATIC.deallocate(first, layout(BLOCK_BYTES, 8)) };
    overwrite_stack(64);
}

#[inline(never)]
fn lose() {
    for bytes in [BLOCK_BYTES, SLOT_BYTES] {
        let block = STATIC.allocate(layout(bytes, 8)).unwrap().cast::<u8>();
        unsafe { black_box(block).write_bytes(9, bytes) };
    }
}

/// Overwrites the copies of a leaked pointer that may be left on the stack.
#[inline(never)]
fn overwrite_stack(depth: usize) {
    let frame = black_box([depth; 64]);
    if depth > 0 {
        overwrite_stack(depth - 1);
    }
    black_box(frame);
}

/// Every operation, with every byte of every block written and read. Nothing may be reported.
fn correct() {
    correct_with::<BlocksOnly>();
    correct_with::<WithSlabs>();
    let mut small = [MaybeUninit::uninit(); 1 << 15];
    let builder = Builder::<BlocksOnly, Compact>::new();
    let mut heap = builder.build(&mut small).expect("a heap");
    work(&mut heap);
    drop(heap);
    black_box(&mut small).fill(MaybeUninit::new(1));
    let mut backwards = region(1 << 16);
    moved_backwards(&mut Heap::from_region(&mut backwards).expect("a heap"));
    extended();
    shared();
    owned_by_value();
}

fn correct_with<T: Tiers>() {
    for skew in [0, 1, 7] {
        let mut region = region((1 << 18) + 8);
        for _ in 0..2 {
            let region = &mut region[skew..(1 << 18) - 5];
            let builder = Builder::<T, Standard>::new();
            let mut heap = builder.build(region).expect("a heap");
            work(&mut heap);
            heap.check().expect("a sound heap");
            heap.reset();
            work(&mut heap);
            drop(heap);
            // The region belongs to its owner again.
            region.fill(MaybeUninit::new(0xAA));
        }
    }
}

fn extended() {
    let mut region = region(1 << 17);
    let base = NonNull::from(region.as_mut_slice()).cast::<u8>();
    let mut heap: Heap =
        unsafe { Heap::builder().max_bytes(1 << 17).build_raw(base, 1 << 16) }.expect("a heap");
    let _first = heap.allocate(layout(40_000, 8)).unwrap();
    assert!(heap.allocate(layout(60_000, 8)).is_err());
    unsafe { base.add(1 << 16).write_bytes(3, 1 << 16) };
    assert!(unsafe { heap.extend(1 << 16) } > 0);
    let second = heap.allocate(layout(60_000, 8)).unwrap().cast::<u8>();
    unsafe { second.write_bytes(4, 60_000) };
    work(&mut heap);
}

fn shared() {
    let mut region = region(1 << 18);
    let locked: LockedHeap = LockedHeap::from_region(&mut region).expect("a heap");
    std::thread::scope(|threads| {
        for thread in 0..3usize {
            let locked = &locked;
            threads.spawn(move || {
                concurrent(&STATIC, thread);
                concurrent(locked, thread);
            });
        }
    });
    let budget = locked.budget("a", 10_000);
    let (old, new) = (layout(1003, 8), layout(3001, 8));
    for _ in 0..20 {
        let block = budget.allocate(old).unwrap().cast();
        let block = unsafe { budget.reallocate(block, old, new) }
            .unwrap()
            .cast::<u8>();
        unsafe { block.write_bytes(5, 3001) };
        unsafe { budget.deallocate(block, new) };
    }
    assert_eq!(budget.stats().used_bytes, 0);
    assert_eq!(locked.stats().live_blocks, 0);
}

fn concurrent(heap: &impl GlobalAlloc, thread: usize) {
    let mut random = Random(thread as u64 + 1);
    for _ in 0..300 {
        let (old, new) = (random.layout(600), random.layout(600));
        // `GlobalAlloc` is never called with a size of 0.
        let old = layout(old.size() + 1, old.align());
        let new_bytes = new.size() + 1;
        unsafe {
            let block = NonNull::new(heap.alloc_zeroed(old)).unwrap();
            fill(block, old.size(), thread as u8);
            let block = NonNull::new(heap.realloc(block.as_ptr(), old, new_bytes)).unwrap();
            verify(block, old.size().min(new_bytes), thread as u8);
            fill(block, new_bytes, 1);
            heap.dealloc(block.as_ptr(), layout(new_bytes, old.align()));
        }
    }
}

/// A heap on the stack, whose memory is used for something else afterwards.
fn owned_by_value() {
    for round in 0..3u8 {
        {
            let heap: StaticHeap<4096, SpinLock> = StaticHeap::new();
            let block = heap.allocate(layout(100, 8)).unwrap().cast();
            unsafe { fill(block, 100, round) };
        }
        let reused = black_box([round; 8192]);
        assert!(black_box(&reused).iter().all(|&byte| byte == round));
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn layout(&mut self, bytes_max: usize) -> Layout {
        let bytes = if self.below(4) == 0 {
            self.below(8 * bytes_max)
        } else {
            self.below(bytes_max)
        };
        let align = if self.below(8) == 0 {
            1 << self.below(9)
        } else {
            8
        };
        layout(bytes, align)
    }
}

unsafe fn fill(block: NonNull<u8>, bytes: usize, tag: u8) {
    for offset in 0..bytes {
        unsafe { block.add(offset).write(tag ^ offset as u8) };
    }
}

unsafe fn verify(block: NonNull<u8>, bytes: usize, tag: u8) {
    for offset in 0..bytes {
        assert_eq!(unsafe { block.add(offset).read() }, tag ^ offset as u8);
    }
}

/// Mixed operations on one heap, until it is full and beyond; leaves it empty.
fn work<T: Tiers, G: Geometry>(heap: &mut Heap<'_, T, G>) {
    let mut random = Random(88_172_645_463_325_252);
    let mut sized: Vec<(NonNull<u8>, Layout, u8)> = Vec::new();
    let mut malloced: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
    for round in 0..3000u32 {
        let tag = round as u8;
        match random.below(9) {
            0..3 => {
                let layout = random.layout(400);
                if let Ok(block) = heap.allocate(layout) {
                    assert!(block.len() >= layout.size());
                    assert_eq!(heap.usable_size(block.cast()), Ok(block.len()));
                    unsafe { fill(block.cast(), block.len(), tag) };
                    sized.push((block.cast(), layout, tag));
                }
            }
            3 => {
                let layout = random.layout(100);
                if let Ok(block) = heap.allocate_zeroed(layout) {
                    let bytes = unsafe { block.as_ref() };
                    assert!(bytes.iter().all(|&byte| byte == 0));
                    unsafe { fill(block.cast(), layout.size(), tag) };
                    sized.push((block.cast(), layout, tag));
                }
            }
            4 => {
                let bytes = random.below(500);
                if let Ok(block) = heap.malloc(bytes) {
                    unsafe { fill(block.cast(), bytes, tag) };
                    malloced.push((block.cast(), bytes, tag));
                }
            }
            5 if !malloced.is_empty() => {
                let index = random.below(malloced.len());
                let (block, bytes, tag) = malloced[index];
                let new_bytes = random.below(700);
                unsafe {
                    verify(block, bytes, tag);
                    if let Ok(resized) = heap.realloc(block, new_bytes) {
                        let block = resized.cast();
                        verify(block, bytes.min(new_bytes), tag);
                        fill(block, new_bytes, tag);
                        malloced[index] = (block, new_bytes, tag);
                    } else if random.below(2) == 0 {
                        heap.try_free(block).unwrap();
                        malloced.swap_remove(index);
                    }
                }
            }
            6 if !sized.is_empty() => {
                let index = random.below(sized.len());
                let (block, old, tag) = sized[index];
                let new = layout(random.layout(800).size(), old.align());
                unsafe {
                    verify(block, old.size(), tag);
                    let in_place = random.below(3) == 0;
                    let resized = if in_place {
                        heap.resize_in_place(block, old, new)
                    } else {
                        heap.reallocate(block, old, new)
                    };
                    if let Ok(resized) = resized {
                        verify(resized.cast(), old.size().min(new.size()), tag);
                        fill(resized.cast(), new.size(), tag);
                        sized[index] = (resized.cast(), new, tag);
                    }
                }
            }
            _ if !sized.is_empty() => {
                let (block, layout, tag) = sized.swap_remove(random.below(sized.len()));
                unsafe {
                    verify(block, layout.size(), tag);
                    heap.deallocate(block, layout);
                    // Misuse is refused by the heap, and must not be reported by the sanitizer.
                    assert!(heap.try_deallocate(block, layout).is_err());
                }
            }
            _ => {}
        }
    }
    heap.check().expect("a sound heap");
    for (block, layout, tag) in sized {
        unsafe {
            verify(block, layout.size(), tag);
            heap.deallocate(block, layout);
        }
    }
    for (block, bytes, tag) in malloced {
        unsafe {
            verify(block, bytes, tag);
            heap.try_free(block).unwrap();
        }
    }
}
