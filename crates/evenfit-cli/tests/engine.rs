//! The replay engine notices a faulty allocator. Each test has an allocator with one fault.

mod common;

use std::alloc::Layout;
use std::ptr::NonNull;

use evenfit::{AllocError, CheckError, FirstFit, FreeError, InitError, ReallocError, Stats};
use evenfit_cli::region::Region;
use evenfit_cli::replay::{Checks, Replay, Stop};
use evenfit_trace::replay::{Allocator, Piece};
use evenfit_trace::{Event, Trace, TraceBuilder};

/// How the allocator is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    /// Allocates the same block again.
    Overlap,
    /// Allocates a block one byte too short.
    Short,
    /// Allocates a block one byte off.
    Misaligned,
    /// Allocates memory outside its pool.
    Foreign,
    /// Writes into the payload of the block before.
    Scribble,
    /// Forgets to copy when it reallocates.
    LosesContents,
    /// Returns ones where zeros were requested.
    Dirty,
    /// Refuses a live block.
    Refuses,
    /// Fails its own check.
    FailsCheck,
}

struct Broken<'p> {
    inner: FirstFit<'p>,
    defect: Defect,
    last: Option<NonNull<[u8]>>,
    elsewhere: Vec<u8>,
}

fn moved(block: NonNull<[u8]>, by: usize, len: usize) -> NonNull<[u8]> {
    // SAFETY: a byte or none, within the block.
    NonNull::slice_from_raw_parts(unsafe { block.cast::<u8>().add(by) }, len)
}

impl Allocator for Broken<'_> {
    const HEADER_BYTES: usize = FirstFit::HEADER_BYTES;
    const GRANULE_BYTES: usize = FirstFit::GRANULE_BYTES;

    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.inner.allocate(layout)?;
        let last = self.last.replace(block);
        Ok(match (self.defect, last) {
            (Defect::Overlap, Some(last)) => moved(last, 0, layout.size()),
            (Defect::Short, Some(_)) => moved(block, 0, layout.size() - 1),
            (Defect::Misaligned, Some(_)) => moved(block, 1, layout.size()),
            (Defect::Foreign, Some(_)) => NonNull::from(&mut self.elsewhere[..layout.size()]),
            (Defect::Scribble, Some(last)) => {
                let ptr = last.cast::<u8>();
                // SAFETY: the block is live, and nobody has a reference to it.
                unsafe { ptr.write(!ptr.read()) };
                block
            }
            _ => block,
        })
    }

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        let byte = u8::from(self.defect == Defect::Dirty);
        // SAFETY: the block was just allocated.
        unsafe { block.cast::<u8>().write_bytes(byte, block.len()) };
        Ok(block)
    }

    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        if self.defect == Defect::Refuses {
            return Err(FreeError::AlreadyFree);
        }
        // SAFETY: the caller's promise.
        unsafe { self.inner.try_deallocate(ptr, layout) }
    }

    unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: the caller's promise.
        let block = unsafe { self.inner.reallocate(ptr, old, new)? };
        if self.defect == Defect::LosesContents {
            // SAFETY: the block was just allocated.
            unsafe { block.cast::<u8>().write(0xEE) };
        }
        Ok(block)
    }

    fn largest_free(&self) -> usize {
        self.inner.largest_free()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn pool_start(&self) -> *const u8 {
        self.inner.pool_start()
    }

    fn blocks(&self) -> impl Iterator<Item = Piece> + '_ {
        self.inner.blocks().map(Piece::from)
    }

    fn check(&self) -> Result<(), CheckError> {
        match self.defect {
            Defect::FailsCheck => Err(CheckError::Link { offset_bytes: 32 }),
            _ => self.inner.check(),
        }
    }
}

fn trace() -> Trace {
    let mut builder = TraceBuilder::default();
    let a = builder.alloc(40, 8).unwrap();
    let b = builder.alloc(50, 8).unwrap();
    builder.push(Event::Alloc { id: 2, size: 30, align_log2: 3, zeroed: true }).unwrap();
    builder.realloc(a, 400).unwrap();
    builder.free(b).unwrap();
    builder.finish()
}

fn replay(defect: Defect, checks: Checks) -> Result<(), Stop> {
    let trace = trace();
    let mut memory = Region::new(4096).unwrap();
    let region = memory.addresses();
    let inner: Result<FirstFit, InitError> = FirstFit::from_region(memory.bytes());
    let broken = Broken { inner: inner.unwrap(), defect, last: None, elsewhere: vec![0; 4096] };
    Replay::new(&trace, broken, region, checks).run(|_| {})
}

#[test]
fn every_defect_is_noticed_and_named() {
    let verify = Checks { verify: true, check_every: None };
    assert_eq!(replay(Defect::None, verify), Ok(()));
    for (defect, part) in [
        (Defect::Overlap, "block 1 overlaps block 0"),
        (Defect::Short, "49 bytes where 50"),
        (Defect::Misaligned, "block 1 is not aligned"),
        (Defect::Foreign, "block 1 does not lie in the pool"),
        (Defect::Scribble, "byte 0 of block 0 was changed"),
        (Defect::LosesContents, "byte 0 of block 0 was changed"),
        (Defect::Dirty, "byte 0 of block 2 is not zero"),
        (Defect::Refuses, "refused block 1"),
        (Defect::FailsCheck, "integrity check failed"),
    ] {
        match replay(defect, verify) {
            Err(Stop::Broken(what)) => assert!(what.contains(part), "{defect:?}: {what}"),
            other => panic!("{defect:?}: {other:?}"),
        }
    }
}

#[test]
fn checking_every_so_often_stops_at_the_first_check() {
    let trace = trace();
    for (every, position) in [(1, 1), (3, 3), (100, 5)] {
        let mut memory = Region::new(4096).unwrap();
        let region = memory.addresses();
        let inner = FirstFit::from_region(memory.bytes()).unwrap();
        let broken =
            Broken { inner, defect: Defect::FailsCheck, last: None, elsewhere: Vec::new() };
        let checks = Checks { verify: false, check_every: std::num::NonZeroU64::new(every) };
        let mut replay = Replay::new(&trace, broken, region, checks);
        assert!(matches!(replay.run(|_| {}), Err(Stop::Broken(_))));
        assert_eq!(replay.position(), position);
    }
}

#[test]
fn the_peak_is_where_most_is_live_and_ticks_add_up() {
    let trace = trace();
    let mut memory = Region::new(4096).unwrap();
    let region = memory.addresses();
    let inner = FirstFit::from_region(memory.bytes()).unwrap();
    let mut replay = Replay::new(&trace, inner, region, Checks::default());
    let mut ticks = 0;
    replay.run(|done| ticks += done).unwrap();
    assert_eq!(ticks, 5);
    let peak = replay.peak();
    assert_eq!((peak.live_bytes, peak.live_blocks), (480, 3));
    assert_eq!((replay.live_bytes(), replay.live_blocks()), (430, 2));
    // After the move: 64 B of `a` are free again before 80 B, 48 B and 416 B, headers included.
    assert_eq!(peak.free_bytes, 4096 - 80 - 48 - 416);
    assert_eq!(peak.largest_free, 4096 - 64 - 80 - 48 - 416 - 16);
    assert!(peak.fragmentation().unwrap() > 0.0);
}
