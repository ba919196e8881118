//! Inspecting a heap.

use core::ffi::c_void;
use core::ptr::NonNull;

use evenfit::BlockState;

use crate::control::Handle;
use crate::{HeapInMemory, Status};

/// A heap's counters. Set `struct_bytes` to `sizeof(evf_stats_t)` before the call. A newer library
/// then doesn't write beyond it, and sets it to the bytes that it wrote.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct StatsV1 {
    /// In: the size of this structure. Out: the bytes written.
    pub struct_bytes: usize,
    /// Bytes that blocks can be cut from.
    pub pool_bytes: usize,
    /// Bytes of metadata and of padding, without the control structure.
    pub metadata_bytes: usize,
    /// Bytes in live blocks, as the heap rounds them.
    pub used_bytes: usize,
    /// The most bytes ever in use at once.
    pub peak_used_bytes: usize,
    /// Bytes not in live blocks.
    pub free_bytes: usize,
    /// How many blocks are live.
    pub live_blocks: usize,
    /// Requests that failed.
    pub failed_requests: u64,
    /// Frees and reallocations refused as misuse.
    pub refused_frees: u64,
}

/// The state of a piece of the pool.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum State {
    /// A live block.
    EVF_USED = 0,
    /// A free block.
    EVF_FREE = 1,
    /// The unused tail of the pool: never used, or freed.
    EVF_TOP = 2,
    /// A block cut into equal slots for small requests; some may be free.
    EVF_SLAB = 3,
}

/// How many bytes may be used at `pointer`; 0 if no live block of this heap starts there. In a
/// library built for AddressSanitizer or Valgrind this is the requested size.
///
/// # Safety
/// `heap` came from `evf_init`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_usable_size(heap: *mut HeapInMemory, pointer: *mut c_void) -> usize {
    // SAFETY: the caller's promise is the one asked for.
    let (Ok(control), Some(ptr)) = (unsafe { Handle::from_c(heap) }, NonNull::new(pointer.cast()))
    else {
        return 0;
    };
    control.with_heap(|heap| heap.usable_size(ptr).unwrap_or(0))
}

/// The largest request that succeeds now by `evf_alloc`, in bytes, exact; 0 if `heap` isn't a heap.
/// The next call may change it.
///
/// # Safety
/// `heap` came from `evf_init`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_largest_free(heap: *mut HeapInMemory) -> usize {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { Handle::from_c(heap) }
        .map_or(0, |control| control.with_heap(|heap| heap.largest_free()))
}

/// The largest request that succeeds now by `evf_alloc_aligned` at this alignment, in bytes, exact;
/// 0 if the alignment is no power of two, or `heap` isn't a heap.
///
/// # Safety
/// `heap` came from `evf_init`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_largest_free_aligned(
    heap: *mut HeapInMemory,
    alignment: usize,
) -> usize {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { Handle::from_c(heap) }
        .map_or(0, |control| control.with_heap(|heap| heap.largest_free_aligned(alignment)))
}

/// Fills `*stats` in constant time. EVF_BAD_ARGUMENT if it is null, or has less room than
/// `struct_bytes` itself needs.
///
/// # Safety
/// `heap` came from `evf_init`; `stats` is null or has `stats->struct_bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_stats(heap: *mut HeapInMemory, stats: *mut StatsV1) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    let control = match unsafe { Handle::from_c(heap) } {
        Ok(control) => control,
        Err(status) => return status,
    };
    if stats.is_null() || !stats.is_aligned() {
        return Status::EVF_BAD_ARGUMENT;
    }
    // SAFETY: at least this field is there, by the caller's promise.
    let room_bytes = unsafe { (&raw const (*stats).struct_bytes).read() };
    let filled_bytes = room_bytes.min(size_of::<StatsV1>());
    if filled_bytes < size_of::<usize>() {
        return Status::EVF_BAD_ARGUMENT;
    }
    let now = control.with_heap(|heap| heap.stats());
    let now = StatsV1 {
        struct_bytes: filled_bytes,
        pool_bytes: now.pool_bytes,
        metadata_bytes: now.metadata_bytes,
        used_bytes: now.used_bytes,
        peak_used_bytes: now.peak_used_bytes,
        free_bytes: now.free_bytes,
        live_blocks: now.live_blocks,
        failed_requests: now.failed_requests,
        refused_frees: now.refused_frees,
    };
    // SAFETY: `filled_bytes` is at most the size of `now` and the caller's room.
    unsafe {
        core::ptr::copy_nonoverlapping(
            (&raw const now).cast::<u8>(),
            stats.cast::<u8>(),
            filled_bytes,
        );
    }
    Status::EVF_OK
}

/// Calls `visit` for every piece of the pool in address order until it returns false. The lock is
/// held throughout: `visit` must not use the heap. Linear in the number of pieces.
///
/// # Safety
/// `heap` came from `evf_init`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_walk(
    heap: *mut HeapInMemory,
    visit: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            offset_bytes: usize,
            bytes: usize,
            state: State,
        ) -> bool,
    >,
    context: *mut c_void,
) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    let control = match unsafe { Handle::from_c(heap) } {
        Ok(control) => control,
        Err(status) => return status,
    };
    let Some(visit) = visit else {
        return Status::EVF_BAD_ARGUMENT;
    };
    control.with_heap(|heap| {
        heap.walk(&mut |block| {
            let state = match block.state {
                BlockState::Used => State::EVF_USED,
                BlockState::Top => State::EVF_TOP,
                BlockState::Slab { .. } => State::EVF_SLAB,
                _ => State::EVF_FREE,
            };
            // SAFETY: a function that the caller gave for this, with its context.
            unsafe { visit(context, block.offset_bytes, block.size_bytes, state) }
        });
    });
    Status::EVF_OK
}

/// Checks the whole heap: EVF_OK, or EVF_CORRUPT. It only reads, whatever bytes the pool contains.
/// Linear in the pool.
///
/// # Safety
/// `heap` came from `evf_init`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_check(heap: *mut HeapInMemory) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    match unsafe { Handle::from_c(heap) } {
        Ok(control) if control.with_heap(|heap| heap.is_sound()) => Status::EVF_OK,
        Ok(_) => Status::EVF_CORRUPT,
        Err(status) => status,
    }
}
