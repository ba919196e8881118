//! The teaching allocator: its answers to ordinary, extreme and mistaken calls, and random
//! programs against a model of what must be in the pool.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{
    AllocError, Block, BlockState, CheckError, FirstFit, FreeError, InitError, ReallocError,
};
use proptest::prelude::*;

const HEADER: usize = 2 * size_of::<usize>();

/// A region whose first byte has exactly the alignment wanted, so that offsets are known.
#[repr(align(4096))]
struct Region<const N: usize>([MaybeUninit<u8>; N]);

impl<const N: usize> Region<N> {
    fn new() -> Box<Self> {
        Box::new(Self([MaybeUninit::uninit(); N]))
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn free_blocks(pool: &FirstFit) -> Vec<(usize, usize)> {
    pool.blocks()
        .filter(|block| block.state == BlockState::Free)
        .map(|block| (block.offset_bytes, block.size_bytes))
        .collect()
}

fn free(pool: &mut FirstFit, ptr: NonNull<[u8]>, layout: Layout) -> Result<(), FreeError> {
    // SAFETY: the tests use no block after freeing it.
    unsafe { pool.try_deallocate(ptr.cast(), layout) }
}

/// Everything a refused call must leave alone: the pool's bytes and what the walk says.
fn snapshot<const N: usize>(pool: &FirstFit, start: *const u8) -> (Vec<u8>, Vec<Block>) {
    // SAFETY: the tests that take snapshots have zeroed the region, which `start` points to.
    let bytes = unsafe { core::slice::from_raw_parts(start, N) };
    (bytes.to_vec(), pool.blocks().collect())
}

#[test]
fn pools_of_64_and_1024_bytes_give_all_but_one_header_to_one_block() {
    fn whole<const N: usize>() {
        let mut region = Region::<N>::new();
        let mut pool = FirstFit::from_region(&mut region.0).unwrap();
        assert_eq!(pool.largest_free(), N - HEADER);
        let all = layout(N - HEADER, 1);
        let block = pool.allocate(all).unwrap();
        assert_eq!(block.len(), N - HEADER);
        assert_eq!(pool.largest_free(), 0);
        assert_eq!(pool.allocate(layout(1, 1)), Err(AllocError::OutOfMemory));
        free(&mut pool, block, all).unwrap();
        assert_eq!(free_blocks(&pool), [(0, N)]);
        pool.check().unwrap();
    }
    whole::<64>();
    whole::<1024>();
}

#[test]
fn a_region_too_small_for_a_block_is_refused_and_the_named_minimum_suffices() {
    let mut region = Region::<256>::new();
    let error = FirstFit::from_region(&mut region.0[..HEADER]).err().unwrap();
    let InitError::RegionTooSmall { len_bytes, min_bytes } = error else {
        panic!("{error}");
    };
    assert_eq!(len_bytes, HEADER);
    for skip in 0..=HEADER {
        assert!(FirstFit::from_region(&mut region.0[skip..skip + min_bytes]).is_ok());
    }
    assert!(FirstFit::from_region(&mut []).is_err());
}

#[test]
fn it_splits_takes_the_first_fit_and_coalesces_with_both_neighbours() {
    let mut region = Region::<1024>::new();
    let mut pool = FirstFit::from_region(&mut region.0).unwrap();
    let hundred = layout(100, 8);
    let blocks = [(); 4].map(|()| pool.allocate(hundred).unwrap());
    let stride = 100usize.next_multiple_of(HEADER) + HEADER;
    assert_eq!(free_blocks(&pool), [(4 * stride, 1024 - 4 * stride)]);

    free(&mut pool, blocks[0], hundred).unwrap();
    free(&mut pool, blocks[2], hundred).unwrap();
    assert_eq!(free_blocks(&pool).len(), 3, "the fourth keeps the third from the rest");
    let first = pool.allocate(layout(20, 8)).unwrap();
    assert_eq!(first.cast::<u8>(), blocks[0].cast(), "lowest address first");
    free(&mut pool, first, layout(20, 8)).unwrap();

    free(&mut pool, blocks[1], hundred).unwrap();
    let rest = (4 * stride, 1024 - 4 * stride);
    assert_eq!(free_blocks(&pool), [(0, 3 * stride), rest]);
    free(&mut pool, blocks[3], hundred).unwrap();
    assert_eq!(free_blocks(&pool), [(0, 1024)]);
    pool.check().unwrap();
}

#[test]
fn a_zero_sized_request_gets_a_pointer_of_its_own() {
    let mut region = Region::<256>::new();
    let mut pool = FirstFit::from_region(&mut region.0).unwrap();
    let nothing = layout(0, 1);
    let (a, b) = (pool.allocate(nothing).unwrap(), pool.allocate(nothing).unwrap());
    assert_ne!(a.cast::<u8>(), b.cast::<u8>());
    free(&mut pool, a, nothing).unwrap();
    assert_eq!(free(&mut pool, a, nothing), Err(FreeError::AlreadyFree));
    free(&mut pool, b, nothing).unwrap();
    assert_eq!(free_blocks(&pool), [(0, 256)]);
}

#[test]
fn requests_near_the_end_of_the_address_space_are_refused() {
    let mut region = Region::<1024>::new();
    let mut pool = FirstFit::from_region(&mut region.0).unwrap();
    for shift in 0..usize::BITS - 1 {
        let align = 1 << shift;
        for below in [0, 1, 15, 16, 17, 31, 32, 33] {
            let size = (isize::MAX as usize + 1 - align).saturating_sub(below);
            if size > 1024 {
                let error = pool.allocate(layout(size, align)).unwrap_err();
                assert_eq!(error, AllocError::TooLarge, "size {size}, align {align}");
            }
        }
    }
    let impossible = layout(1, 1 << (usize::BITS - 2));
    assert_eq!(pool.allocate(impossible), Err(AllocError::OutOfMemory));
    assert_eq!(free_blocks(&pool), [(0, 1024)]);
    assert!(pool.stats().failed_requests > 100);
}

#[test]
fn every_alignment_up_to_the_pool_is_served_and_nothing_leaks() {
    let mut region = Region::<16384>::new();
    for skip in [0, 1, 8, 17] {
        let mut pool = FirstFit::from_region(&mut region.0[skip..]).unwrap();
        let whole = free_blocks(&pool);
        for align in (0..=12).map(|shift| 1 << shift) {
            let request = layout(40, align);
            let (a, b) = (pool.allocate(request).unwrap(), pool.allocate(request).unwrap());
            assert_eq!(a.cast::<u8>().addr().get() % align, 0);
            assert_eq!(b.cast::<u8>().addr().get() % align, 0);
            pool.check().unwrap();
            free(&mut pool, a, request).unwrap();
            free(&mut pool, b, request).unwrap();
            assert_eq!(free_blocks(&pool), whole, "align {align}, skip {skip}");
        }
    }
}

#[test]
fn every_misuse_is_refused_by_name_and_changes_nothing() {
    let mut region = Region([MaybeUninit::new(0); 1024]);
    let start = region.0.as_ptr().cast::<u8>();
    let mut pool = FirstFit::from_region(&mut region.0).unwrap();
    let request = layout(100, 8);
    let [a, b, c] = [(); 3].map(|()| pool.allocate(request).unwrap().cast::<u8>());
    // SAFETY: `a` and `b` are not used afterwards except to be refused.
    unsafe {
        pool.try_deallocate(a, request).unwrap();
        pool.try_deallocate(b, request).unwrap();
    }
    let mut other = 0u64;
    let foreign = NonNull::from(&mut other).cast::<u8>();
    // SAFETY: both stay within the pool or one past its end.
    let (interior, past) =
        unsafe { (c.add(HEADER), NonNull::new(start as *mut u8).unwrap().add(1024)) };
    let cases = [
        ("double free", a, request, FreeError::AlreadyFree),
        ("double free, coalesced", b, request, FreeError::AlreadyFree),
        ("interior", interior, request, FreeError::NotABlock),
        ("foreign", foreign, request, FreeError::OutsidePool),
        ("one past the end", past, request, FreeError::OutsidePool),
        ("too small", c, layout(10, 8), FreeError::WrongLayout),
        ("too large", c, layout(500, 8), FreeError::WrongLayout),
        ("over-aligned", c, layout(100, 4096), FreeError::WrongLayout),
    ];
    let before = snapshot::<1024>(&pool, start);
    for (what, ptr, wrong, expected) in cases {
        // SAFETY: each call is refused.
        unsafe {
            assert_eq!(pool.try_deallocate(ptr, wrong), Err(expected), "{what}");
            let moved = pool.reallocate(ptr, wrong, layout(8, 8));
            assert_eq!(moved, Err(ReallocError::Free(expected)), "{what}");
        }
        assert_eq!(snapshot::<1024>(&pool, start), before, "{what}");
    }
    assert_eq!(pool.usable_size(interior), Err(FreeError::NotABlock));
    assert_eq!(pool.usable_size(a), Err(FreeError::AlreadyFree));
    assert!(pool.usable_size(c).unwrap() >= 100);
    assert_eq!(pool.stats().refused_frees, 2 * cases.len() as u64);
    pool.check().unwrap();
}

#[test]
fn reallocate_keeps_contents_and_shrinks_in_place() {
    let mut region = Region::<1024>::new();
    let mut pool = FirstFit::from_region(&mut region.0).unwrap();
    let (small, large) = (layout(24, 8), layout(300, 64));
    let block = pool.allocate(small).unwrap().cast::<u8>();
    let _wall = pool.allocate(small).unwrap();
    // SAFETY: each pointer is live, has the size written or read, and isn't used after it moves.
    unsafe {
        block.write_bytes(0xA5, 24);
        let moved = pool.reallocate(block, small, large).unwrap().cast::<u8>();
        assert_ne!(moved, block);
        assert_eq!(moved.addr().get() % 64, 0);
        assert_eq!(core::slice::from_raw_parts(moved.as_ptr(), 24), [0xA5; 24]);
        let shrunk = pool.reallocate(moved, large, small).unwrap().cast::<u8>();
        assert_eq!(shrunk, moved);
        assert!(pool.usable_size(shrunk).unwrap() < 300);
        let error = pool.reallocate(shrunk, small, layout(5000, 8)).unwrap_err();
        assert_eq!(error, ReallocError::Alloc(AllocError::TooLarge));
        assert_eq!(core::slice::from_raw_parts(shrunk.as_ptr(), 24), [0xA5; 24]);
    }
    pool.check().unwrap();
    assert_eq!(pool.stats().live_blocks, 2);
}

#[test]
fn an_overflow_into_the_next_header_is_refused_not_followed() {
    let mut region = Region::<1024>::new();
    let mut pool = FirstFit::from_region(&mut region.0).unwrap();
    let request = layout(32, 8);
    let [a, b, c] = [(); 3].map(|()| pool.allocate(request).unwrap());
    free(&mut pool, b, request).unwrap();
    // SAFETY: past the end of `a`, on purpose, but within the region.
    unsafe { a.cast::<u8>().add(a.len()).write_bytes(0xFF, HEADER) };
    assert_eq!(pool.check(), Err(CheckError::Header { offset_bytes: HEADER + a.len() }));
    assert_eq!(free(&mut pool, c, request), Err(FreeError::Corrupt));
    assert_eq!(pool.allocate(request), Err(AllocError::Corrupt));
    assert_eq!(free(&mut pool, a, request), Err(FreeError::Corrupt));
}

/// Overwrites a block's header, as a faulty program might.
fn forge(start: *mut u8, at: usize, size: usize, next: usize) {
    // SAFETY: within the region, aligned; the tests that forge hold no reference into it.
    unsafe { start.add(at).cast::<[usize; 2]>().write([size, next]) };
}

#[test]
fn a_list_that_leads_back_is_refused_not_followed_for_ever() {
    let mut region = Region::<1024>::new();
    let start = region.0.as_mut_ptr().cast::<u8>();
    let mut pool = FirstFit::from_region(&mut region.0).unwrap();
    let request = layout(32, 8);
    let [a, _b] = [(); 2].map(|()| pool.allocate(request).unwrap());
    free(&mut pool, a, request).unwrap();
    let [_, (rest, size)] = free_blocks(&pool)[..] else {
        panic!("two free blocks");
    };
    for back_to in [0, rest] {
        forge(start, rest, size, back_to);
        assert_eq!(pool.check(), Err(CheckError::Link { offset_bytes: rest }));
        assert_eq!(pool.allocate(layout(900, 8)), Err(AllocError::Corrupt));
    }
}

#[test]
fn check_finds_free_neighbours_that_were_not_coalesced() {
    let mut region = Region::<1024>::new();
    let start = region.0.as_mut_ptr().cast::<u8>();
    let pool = FirstFit::from_region(&mut region.0).unwrap();
    forge(start, 0, 512, 512);
    forge(start, 512, 512, usize::MAX);
    assert_eq!(pool.check(), Err(CheckError::Link { offset_bytes: 512 }));
}

#[derive(Clone, Debug)]
enum Op {
    Allocate { size: usize, align_log2: u32 },
    Free { pick: usize },
    Reallocate { pick: usize, size: usize, align_log2: u32 },
    FreeTwice { pick: usize },
    FreeInside { pick: usize, by: usize },
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..100usize, 2 => 0..2000usize, 1 => 0..40_000usize]
}

fn align_log2() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..5u32, 1 => 0..13u32]
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<usize>();
    prop_oneof![
        6 => (size(), align_log2()).prop_map(|(size, align_log2)| Op::Allocate { size, align_log2 }),
        4 => pick.prop_map(|pick| Op::Free { pick }),
        3 => (pick, size(), align_log2())
            .prop_map(|(pick, size, align_log2)| Op::Reallocate { pick, size, align_log2 }),
        1 => pick.prop_map(|pick| Op::FreeTwice { pick }),
        1 => (pick, 1..64usize).prop_map(|(pick, by)| Op::FreeInside { pick, by }),
    ]
}

/// A block as its user knows it. Every byte holds `mark`.
struct Live {
    ptr: NonNull<u8>,
    layout: Layout,
    mark: u8,
}

impl Live {
    fn fill(ptr: NonNull<[u8]>, layout: Layout, mark: u8) -> Self {
        let ptr = ptr.cast::<u8>();
        // SAFETY: the block was just allocated with this layout.
        unsafe { ptr.write_bytes(mark, layout.size()) };
        Self { ptr, layout, mark }
    }

    fn bytes(&self, count: usize) -> &[u8] {
        // SAFETY: `count` is at most what `fill` has initialised, and the block is live.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), count) }
    }

    fn assert_kept(&self, count: usize) {
        assert!(self.bytes(count).iter().all(|&byte| byte == self.mark));
    }

    fn range(&self) -> (usize, usize) {
        let start = self.ptr.addr().get();
        (start, start + self.layout.size())
    }
}

/// What must hold after every operation, whatever came before.
fn assert_agrees(pool: &FirstFit, live: &[Live]) {
    pool.check().unwrap();
    assert_eq!(pool.stats().live_blocks, live.len());
    let mut ranges: Vec<_> = live.iter().map(Live::range).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    for block in live {
        assert_eq!(block.ptr.addr().get() % block.layout.align(), 0);
        assert!(pool.usable_size(block.ptr).unwrap() >= block.layout.size());
    }
    let largest = pool.largest_free();
    let free = free_blocks(pool);
    assert_eq!(free.is_empty(), largest == 0);
    assert!(free.iter().all(|&(_, size)| size <= largest + HEADER));
}

fn run(region: &mut [MaybeUninit<u8>], ops: &[Op]) {
    let bounds = region.as_ptr_range();
    let mut pool = FirstFit::from_region(region).unwrap();
    let whole = free_blocks(&pool);
    let mut live: Vec<Live> = Vec::new();
    let mut mark = 0u8;
    for op in ops {
        mark = mark.wrapping_add(1);
        match *op {
            Op::Allocate { size, align_log2 } => {
                let request = layout(size, 1 << align_log2);
                match pool.allocate(request) {
                    Ok(block) => {
                        let end = block.cast::<u8>().addr().get() + block.len();
                        assert!(end <= bounds.end.addr());
                        live.push(Live::fill(block, request, mark));
                    }
                    Err(_) => assert!(align_log2 > 3 || size.max(1) > pool.largest_free()),
                }
            }
            Op::Free { pick } | Op::FreeTwice { pick } if !live.is_empty() => {
                let block = live.swap_remove(pick % live.len());
                block.assert_kept(block.layout.size());
                // SAFETY: the block leaves the model; a second free is refused.
                unsafe {
                    pool.try_deallocate(block.ptr, block.layout).unwrap();
                    if matches!(op, Op::FreeTwice { .. }) {
                        let again = pool.try_deallocate(block.ptr, block.layout);
                        assert_eq!(again, Err(FreeError::AlreadyFree));
                    }
                }
            }
            Op::Reallocate { pick, size, align_log2 } if !live.is_empty() => {
                let index = pick % live.len();
                let new = layout(size, 1 << align_log2);
                let old = &live[index];
                // SAFETY: on success the model forgets the old pointer.
                if let Ok(moved) = unsafe { pool.reallocate(old.ptr, old.layout, new) } {
                    let kept = old.layout.size().min(size);
                    Live { ptr: moved.cast(), layout: new, mark: old.mark }.assert_kept(kept);
                    live[index] = Live::fill(moved, new, mark);
                }
            }
            Op::FreeInside { pick, by } if !live.is_empty() => {
                let block = &live[pick % live.len()];
                let inside = block.ptr.as_ptr().wrapping_add(by % block.layout.size().max(2));
                if inside != block.ptr.as_ptr() {
                    // SAFETY: an interior pointer is refused.
                    let answer =
                        unsafe { pool.try_deallocate(NonNull::new(inside).unwrap(), block.layout) };
                    assert_eq!(answer, Err(FreeError::NotABlock));
                }
            }
            _ => {}
        }
        assert_agrees(&pool, &live);
    }
    for block in live {
        block.assert_kept(block.layout.size());
        // SAFETY: the block is live and leaves the model here.
        unsafe { pool.try_deallocate(block.ptr, block.layout).unwrap() };
    }
    assert_eq!(free_blocks(&pool), whole, "one free block must remain");
    assert_eq!(pool.stats().used_bytes, 0);
}

/// Bytes of which many are zero or a small multiple of 16, as those of headers are.
fn garbage(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let bytes = (0..1024).map(|_| match random.u8(..16) {
        0..8 => 0,
        8..12 => random.u8(..) & 0xF0,
        _ => random.u8(..),
    });
    bytes.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_programs_agree_with_the_model(
        len in prop_oneof![48..300usize, 48..4096usize, 48..65_536usize],
        skip in 0..33usize,
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let mut region = vec![MaybeUninit::uninit(); len + skip];
        run(&mut region[skip..], &ops);
    }

    #[test]
    fn check_answers_whatever_the_pool_holds(
        seed in any::<u64>(),
        from in 0..1024usize,
    ) {
        let mut region = Region([MaybeUninit::new(0u8); 1024]);
        let start = region.0.as_mut_ptr().cast::<u8>();
        let mut pool = FirstFit::from_region(&mut region.0).unwrap();
        let request = layout(40, 8);
        let blocks = [(); 6].map(|()| pool.allocate(request).unwrap());
        free(&mut pool, blocks[1], request).unwrap();
        free(&mut pool, blocks[3], request).unwrap();
        // SAFETY: within the region, on purpose over headers and links.
        unsafe { start.add(from).copy_from_nonoverlapping(garbage(seed).as_ptr(), 1024 - from) };
        let _ = pool.check();
        let _ = pool.largest_free();
        for block in blocks {
            let _ = pool.usable_size(block.cast());
            let _ = free(&mut pool, block, request);
            let _ = pool.allocate(request);
        }
        let stats = pool.stats();
        prop_assert_eq!(stats.used_bytes + stats.free_bytes, stats.pool_bytes);
    }
}
