//! Utilisation: how much of a pool can be allocated. Each test is named after a failure that
//! another allocator's passing tests didn't notice.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::time::{Duration, Instant};

use evenfit::{
    Aligned, AllocError, BlocksOnly, Builder, Compact, Geometry, Heap, Standard, Wide, WithSlabs,
};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A region of untouched memory. Whatever its length, only what is used of it costs anything.
struct Region(Vec<MaybeUninit<u8>>);

impl Region {
    fn new(len_bytes: usize) -> Self {
        Self(Vec::with_capacity(len_bytes))
    }

    fn heap<G: Geometry>(&mut self, len_bytes: usize) -> Heap<'_, BlocksOnly, G> {
        let spare = self.0.spare_capacity_mut();
        // SAFETY: a MaybeUninit of a MaybeUninit has the same layout, and any content is valid.
        let bytes = unsafe {
            &mut *(spare as *mut [MaybeUninit<MaybeUninit<u8>>] as *mut [MaybeUninit<u8>])
        };
        Builder::new().build(&mut bytes[..len_bytes]).unwrap()
    }
}

/// The share of a region that one allocation can have.
fn whole_pool<G: Geometry>(len_bytes: usize) -> f64 {
    let mut region = Region::new(len_bytes);
    let mut heap = region.heap::<G>(len_bytes);
    let pool_bytes = heap.stats().pool_bytes;
    assert_eq!(heap.largest_free(), pool_bytes);
    let whole = heap.allocate(layout(pool_bytes, 1)).unwrap();
    assert_eq!(whole.len(), pool_bytes);
    assert_eq!(heap.allocate(layout(1, 1)), Err(AllocError::OutOfMemory));
    // SAFETY: a live block.
    unsafe { heap.try_deallocate(whole.cast(), layout(pool_bytes, 1)) }.unwrap();
    assert_eq!(heap.allocate(layout(pool_bytes + 1, 1)), Err(AllocError::TooLarge));
    pool_bytes as f64 / len_bytes as f64
}

fn whole_pool_at_least<G: Geometry>(log2_max: usize) {
    for log2 in 10..=log2_max {
        for len_bytes in [1 << log2, (1_usize << log2) + (1 << log2) / 3] {
            let share = whole_pool::<G>(len_bytes) * 100.0;
            let geometry = core::any::type_name::<G>();
            println!("{geometry} {len_bytes:>10} bytes: {share:.2} %");
            // A pool is a whole number of blocks' alignments.
            let rounding = (G::ALIGN_BYTES - 8) as f64 / len_bytes as f64 * 100.0;
            // On 32-bit machines the directory has an entry for 16 granules instead of 32.
            let most = if usize::BITS == 64 { 96.5 } else { 95.0 };
            let least = if log2 < 12 { 93.0 } else { most - rounding };
            assert!(share >= least, "{geometry}, {len_bytes}: {share}");
        }
    }
}

/// o1heap gives 50 % of an empty pool at most, rlsf with a short first level 12 %.
#[test]
fn nearly_the_whole_pool_is_one_allocation() {
    whole_pool_at_least::<Standard>(30);
    whole_pool_at_least::<Aligned>(30);
    whole_pool_at_least::<Wide>(30);
    whole_pool_at_least::<Compact>(18);
}

/// tlsf-bsd handed nearly a whole pool of 4 MiB to `malloc(16)`.
#[test]
fn sixteen_bytes_take_sixteen_bytes() {
    let mut region = Region::new(4 << 20);
    let mut heap = region.heap::<Standard>(4 << 20);
    let pool_bytes = heap.stats().pool_bytes;
    let mut count = 0;
    while heap.allocate(layout(16, 8)).is_ok() {
        count += 1;
        assert_eq!(heap.stats().used_bytes, 16 * count);
    }
    assert_eq!(count, pool_bytes / 16, "every byte was allocated");
}

/// The same with slabs: a slab uses none of its own bytes for bookkeeping, but may have a tail that
/// is too short for a slot.
#[test]
fn sixteen_bytes_take_sixteen_bytes_of_a_slab() {
    let mut region = vec![MaybeUninit::uninit(); 4 << 20];
    let mut heap = Builder::<WithSlabs, Standard>::new().build(&mut region).unwrap();
    let pool_bytes = heap.stats().pool_bytes;
    let mut count = 0;
    while heap.allocate(layout(16, 8)).is_ok() {
        count += 1;
        assert_eq!(heap.stats().used_bytes, 16 * count);
    }
    assert!(count * 16 >= pool_bytes / 100 * 99, "{count} of {pool_bytes}");
}

/// espressif/tlsf#2: a freed block that can't be allocated again at its own size.
fn a_freed_block_serves_its_own_size<G: Geometry>(len_bytes: usize, size_max: usize) {
    let mut region = Region::new(len_bytes);
    let mut heap = region.heap::<G>(len_bytes);
    let mut random = fastrand::Rng::with_seed(len_bytes as u64);
    let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
    for round in 0..60_000 {
        let size_cap = size_max >> random.usize(..8);
        let asked = layout(
            random.usize(..size_cap.max(2)),
            1 << random.usize(..if round % 9 == 0 { 9 } else { 4 }),
        );
        match heap.allocate(asked) {
            Ok(block) => live.push((block.cast(), asked)),
            Err(_) => {
                let (ptr, had) = live.swap_remove(random.usize(..live.len()));
                // SAFETY: a live block.
                unsafe { heap.try_deallocate(ptr, had) }.unwrap();
                // A block of larger alignment can be allocated again only if the room for aligning
                // it is free too.
                let again = layout(had.size(), had.align().min(G::GRANULE_BYTES));
                let block = heap.allocate(again).expect("what was freed can be allocated again");
                if random.usize(..3) == 0 {
                    live.push((block.cast(), again));
                } else {
                    // SAFETY: a live block.
                    unsafe { heap.try_deallocate(block.cast(), again) }.unwrap();
                }
            }
        }
    }
}

#[test]
fn a_freed_block_serves_its_own_size_standard() {
    a_freed_block_serves_its_own_size::<Standard>(200_000, 20_000);
    a_freed_block_serves_its_own_size::<Standard>(4 << 20, 300_000);
}

#[test]
fn a_freed_block_serves_its_own_size_compact() {
    a_freed_block_serves_its_own_size::<Compact>(5_000, 800);
    a_freed_block_serves_its_own_size::<Compact>(200_000, 20_000);
}

/// mattconte/tlsf#36: alignment lost on realloc. Every way of a reallocation is tried: in place,
/// into the block behind, moved, and downwards.
fn alignment_survives_reallocation<G: Geometry>() {
    let len_bytes = 300_000;
    let mut region = Region::new(len_bytes);
    let mut heap = region.heap::<G>(len_bytes);
    let mut random = fastrand::Rng::with_seed(7);
    let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
    for _ in 0..30_000 {
        let size = random.usize(..3_000);
        if live.len() < 60 || random.usize(..4) == 0 {
            let asked = layout(size, 1 << random.usize(..13));
            if let Ok(block) = heap.allocate(asked) {
                live.push((block.cast(), asked));
            }
        } else {
            let index = random.usize(..live.len());
            let (ptr, old) = live[index];
            if random.usize(..3) == 0 {
                // SAFETY: a live block.
                unsafe { heap.try_deallocate(ptr, old) }.unwrap();
                live.swap_remove(index);
                continue;
            }
            let new = layout(size, old.align());
            // SAFETY: a live block, replaced by the one returned.
            if let Ok(block) = unsafe { heap.reallocate(ptr, old, new) } {
                live[index] = (block.cast(), new);
            }
        }
        for (ptr, layout) in &live {
            assert!(ptr.addr().get().is_multiple_of(layout.align()), "{ptr:?} for {layout:?}");
        }
    }
}

#[test]
fn alignment_survives_reallocation_standard() {
    alignment_survives_reallocation::<Standard>();
}

#[test]
fn alignment_survives_reallocation_compact() {
    alignment_survives_reallocation::<Compact>();
}

/// mattconte/tlsf#22: a request near `SIZE_MAX` returned a small block.
fn enormous_requests_are_refused<G: Geometry>() {
    let mut region = Region::new(70_000);
    let mut heap = region.heap::<G>(70_000);
    let used = heap.allocate(layout(100, 8)).unwrap();
    let pool_bytes = heap.stats().pool_bytes;
    for log2 in 0..usize::BITS - 1 {
        let align = 1_usize << log2;
        let size_max = isize::MAX as usize - (align - 1);
        for below in 0..40 {
            let asked = layout(size_max.saturating_sub(below), align);
            if asked.size() > pool_bytes {
                assert_eq!(heap.allocate(asked), Err(AllocError::TooLarge), "{asked:?}");
                assert_eq!(heap.allocate_zeroed(asked), Err(AllocError::TooLarge));
                // SAFETY: a live block.
                let grown = unsafe { heap.reallocate(used.cast(), layout(100, 8), asked) };
                assert_eq!(grown, Err(AllocError::TooLarge.into()));
            } else {
                assert!(heap.allocate(asked).is_err(), "{asked:?}");
            }
        }
    }
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn enormous_requests_are_refused_standard() {
    enormous_requests_are_refused::<Standard>();
}

#[test]
fn enormous_requests_are_refused_compact() {
    enormous_requests_are_refused::<Compact>();
}

/// talc, galloc, buddy_system_allocator and o1heap hand the same memory out twice after a double
/// free in release builds.
#[test]
fn a_double_free_makes_no_two_blocks_one() {
    let mut region = Region::new(4096);
    let mut heap = region.heap::<Standard>(4096);
    let asked = layout(48, 8);
    let victim = heap.allocate(asked).unwrap().cast::<u8>();
    let _wall = heap.allocate(asked).unwrap();
    // SAFETY: a live block, and then a misuse that is refused.
    unsafe {
        heap.try_deallocate(victim, asked).unwrap();
        heap.try_deallocate(victim, asked).unwrap_err();
    }
    let first = heap.allocate(asked).unwrap();
    let second = heap.allocate(asked).unwrap();
    assert_ne!(first, second);
    assert_eq!(heap.check(), Ok(()));
}

/// `largest_free` is exact at every moment of a long run.
fn largest_free_is_exact<G: Geometry>() {
    let mut region = Region::new(40_000);
    let mut heap = region.heap::<G>(40_000);
    let mut random = fastrand::Rng::with_seed(3);
    let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
    for _ in 0..20_000 {
        if random.usize(..5) < 3 {
            let size_cap = 1 << random.usize(..13);
            let asked = layout(random.usize(..size_cap), 1);
            if let Ok(block) = heap.allocate(asked) {
                live.push((block.cast(), asked));
            }
        } else if !live.is_empty() {
            let (ptr, had) = live.swap_remove(random.usize(..live.len()));
            // SAFETY: a live block.
            unsafe { heap.try_deallocate(ptr, had) }.unwrap();
        }
        let largest = heap.largest_free();
        assert!(heap.allocate(layout(largest + 1, 1)).is_err(), "{largest} and one byte more");
        if largest > 0 {
            let block = heap.allocate(layout(largest, 1)).expect("largest_free succeeds");
            // SAFETY: a live block.
            unsafe { heap.try_deallocate(block.cast(), layout(largest, 1)) }.unwrap();
        }
    }
}

#[test]
fn largest_free_is_exact_standard() {
    largest_free_is_exact::<Standard>();
}

#[test]
fn largest_free_is_exact_compact() {
    largest_free_is_exact::<Compact>();
}

/// The shortest time of several tries, which other work on the machine doesn't lengthen.
fn least(tries: usize, mut work: impl FnMut() -> Duration) -> Duration {
    (0..tries).map(|_| work()).min().unwrap()
}

/// talc and galloc took 80 microseconds for one request among 8,000 equal holes. Each hole is a
/// little too short, and all lie in the bin of the request.
#[test]
fn eight_thousand_holes_cost_what_eight_do() {
    let request_time = |holes: usize| {
        let len_bytes = 32 << 20;
        let mut region = Region::new(len_bytes);
        let mut heap = region.heap::<Standard>(len_bytes);
        let hole = layout(64 * 16, 1);
        let asked = layout(65 * 16, 1);
        let blocks: Vec<_> = (0..2 * holes).map(|_| heap.allocate(hole).unwrap()).collect();
        for block in blocks.iter().step_by(2) {
            // SAFETY: a live block.
            unsafe { heap.try_deallocate(block.cast(), hole) }.unwrap();
        }
        least(50, || {
            let start = Instant::now();
            for _ in 0..20 {
                let block = heap.allocate(asked).unwrap();
                // SAFETY: a live block.
                unsafe { heap.try_deallocate(block.cast(), asked) }.unwrap();
            }
            start.elapsed()
        })
    };
    let (few, many) = (request_time(8), request_time(8_000));
    println!("20 requests among 8 holes {few:?}, among 8,000 {many:?}");
    assert!(
        many < few * 20 + Duration::from_micros(20),
        "{few:?} and {many:?}: it grows with the holes"
    );
}

/// talc#44: a run of over-aligned requests took time quadratic in their number.
#[test]
fn over_aligned_requests_cost_the_same_however_many_are_live() {
    let per_request = |count: usize| {
        least(5, || {
            let len_bytes = 64 << 20;
            let mut region = Region::new(len_bytes);
            let mut heap = region.heap::<Standard>(len_bytes);
            let asked = layout(24, 512);
            let start = Instant::now();
            let blocks: Vec<_> = (0..count).map(|_| heap.allocate(asked).unwrap()).collect();
            for block in blocks {
                // SAFETY: a live block.
                unsafe { heap.try_deallocate(block.cast(), asked) }.unwrap();
            }
            let taken = start.elapsed() / count as u32;
            assert_eq!(heap.largest_free(), heap.stats().pool_bytes, "alignment leaks nothing");
            taken
        })
    };
    let (few, many) = (per_request(500), per_request(32_000));
    println!("a request of 500: {few:?}, of 32,000: {many:?}");
    assert!(
        many < few * 30 + Duration::from_micros(2),
        "{few:?} and {many:?}: it grows with their number"
    );
}
