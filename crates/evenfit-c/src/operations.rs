//! Allocating and freeing.

use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use evenfit::{AllocError, ReallocError, Resized};

use crate::any_heap::AnyHeap;
use crate::control::{ALIGN_BYTES, Handle};
use crate::{HeapInMemory, Status};

/// Allocates `bytes` bytes, aligned for any C type; null if there is no memory. A request of zero
/// bytes gets a block of its own.
///
/// # Safety
/// `heap` came from `evf_init`.
///
/// cbindgen:prefix=EVF_NODISCARD EVF_MALLOC EVF_ALLOC_SIZE(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_alloc(heap: *mut HeapInMemory, bytes: usize) -> *mut c_void {
    // SAFETY: the caller's promise is the one asked for.
    as_c(unsafe { allocate(heap, 0, bytes) })
}

/// Allocates `bytes` bytes at a multiple of `alignment`, a power of two or 0 for any C type, and
/// writes the block's address to `block`. On an error `*block` is null: EVF_OUT_OF_MEMORY for a
/// full pool, EVF_TOO_LARGE, EVF_CORRUPT if free memory was overwritten, EVF_BAD_ARGUMENT,
/// EVF_NOT_A_HEAP.
///
/// # Safety
/// `heap` came from `evf_init`; `block` is null or can be written to.
///
/// cbindgen:prefix=EVF_NODISCARD
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_try_alloc(
    heap: *mut HeapInMemory,
    alignment: usize,
    bytes: usize,
    block: *mut *mut c_void,
) -> Status {
    let Some(block) = NonNull::new(block) else {
        return Status::EVF_BAD_ARGUMENT;
    };
    // SAFETY: the caller's promise is the one asked for.
    unsafe { answer(block, allocate(heap, alignment, bytes)) }
}

/// Allocates `bytes` bytes at a multiple of `alignment`, a power of two; null if there is no memory
/// or the alignment is no power of two. The block is freed like any other.
///
/// # Safety
/// `heap` came from `evf_init`.
///
/// cbindgen:prefix=EVF_NODISCARD EVF_MALLOC EVF_ALLOC_ALIGN(2) EVF_ALLOC_SIZE(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_alloc_aligned(
    heap: *mut HeapInMemory,
    alignment: usize,
    bytes: usize,
) -> *mut c_void {
    if alignment == 0 {
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise is the one asked for.
    as_c(unsafe { allocate(heap, alignment, bytes) })
}

/// Allocates `count * bytes` zeroed bytes; null if there is no memory or the product overflows.
///
/// # Safety
/// `heap` came from `evf_init`.
///
/// cbindgen:prefix=EVF_NODISCARD EVF_MALLOC EVF_ALLOC_SIZE(2, 3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_calloc(
    heap: *mut HeapInMemory,
    count: usize,
    bytes: usize,
) -> *mut c_void {
    let Some(total_bytes) = count.checked_mul(bytes) else {
        return ptr::null_mut();
    };
    // SAFETY: the caller's promise is the one asked for.
    let block = as_c(unsafe { allocate(heap, 0, total_bytes) });
    if !block.is_null() {
        // SAFETY: the block is new and has at least `total_bytes` bytes.
        unsafe { block.cast::<u8>().write_bytes(0, total_bytes) };
    }
    block
}

/// Resizes a block to `bytes` bytes: in place if possible, otherwise in a new block, to which it is
/// copied outside the lock. If there is no memory for that, the block moves into free memory before
/// it, with the lock held. A null `pointer` allocates. Returns null if there is no memory or the
/// pointer is refused; the old block is then unchanged. Shrinking never fails. Zero bytes shrink
/// the block and don't free it.
///
/// # Safety
/// `heap` came from `evf_init`; a live block at `pointer` is not used by others during the call,
/// and after success no longer under its old address.
///
/// cbindgen:prefix=EVF_NODISCARD EVF_ALLOC_SIZE(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_realloc(
    heap: *mut HeapInMemory,
    pointer: *mut c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promise is the one asked for.
    as_c(unsafe { reallocate(heap, pointer, bytes) })
}

/// As `evf_realloc`, but writes the block's address to `block` and returns a status as
/// `evf_try_alloc` and `evf_free` do. On an error `*block` is null, and the old block is unchanged.
///
/// # Safety
/// As `evf_realloc`; `block` is null or can be written to.
///
/// cbindgen:prefix=EVF_NODISCARD
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_try_realloc(
    heap: *mut HeapInMemory,
    pointer: *mut c_void,
    bytes: usize,
    block: *mut *mut c_void,
) -> Status {
    let Some(block) = NonNull::new(block) else {
        return Status::EVF_BAD_ARGUMENT;
    };
    // SAFETY: the caller's promise is the one asked for.
    unsafe { answer(block, reallocate(heap, pointer, bytes)) }
}

/// # Safety
/// As `evf_realloc`.
unsafe fn reallocate(
    heap: *mut HeapInMemory,
    pointer: *mut c_void,
    bytes: usize,
) -> Result<NonNull<[u8]>, Status> {
    let Some(old) = NonNull::new(pointer.cast::<u8>()) else {
        // SAFETY: the caller's promise is the one asked for.
        return unsafe { allocate(heap, 0, bytes) };
    };
    // SAFETY: the caller's promise is the one asked for.
    let control = unsafe { Handle::from_c(heap) }?;
    let resized = ask_while_full(control, bytes, || {
        // SAFETY: the caller's promise is the one asked for.
        control.with_heap(|heap| unsafe { heap.realloc_uncopied(old, bytes) })
    });
    let block = match resized {
        Ok(Resized::Done(block)) => Ok(block),
        // SAFETY: the new block is ours alone, the old one the caller's, and both have at least
        // this length.
        Ok(Resized::Elsewhere { block, old_bytes }) => unsafe {
            move_to(control, block, old, old_bytes.min(bytes))
        },
        Err(error) => Err(error),
    };
    block.map_err(|error| explain(control, pointer, error))
}

/// Copies the content of an old block into a new one and frees the old one. If the free is refused,
/// since memory beside the block was overwritten, the new one is freed instead.
///
/// # Safety
/// Both are live, and have `bytes` bytes. The old one isn't used after success.
unsafe fn move_to(
    control: Handle,
    block: NonNull<[u8]>,
    old: NonNull<u8>,
    bytes: usize,
) -> Result<NonNull<[u8]>, ReallocError> {
    let new = block.cast::<u8>();
    // SAFETY: as promised by the caller; one of the two is given up.
    unsafe {
        new.copy_from_nonoverlapping(old, bytes);
        control.with_heap(|heap| {
            heap.try_free(old).map_err(|error| {
                let _ = heap.try_free(new);
                ReallocError::Free(error)
            })
        })?;
    }
    Ok(block)
}

/// Frees a block; null is ignored. Any other pointer that is no live block of this heap is refused.
/// The misuse callback is called, and the status says what is wrong.
///
/// # Safety
/// `heap` came from `evf_init`; a live block at `pointer` is not used after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_free(heap: *mut HeapInMemory, pointer: *mut c_void) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { free_with(heap, pointer, |heap, ptr| heap.try_free(ptr)) }
}

/// Frees a block of `evf_alloc`, `evf_calloc` or `evf_realloc` that was requested with `bytes`.
/// Refuses other sizes too, unless they round to the same.
///
/// # Safety
/// As `evf_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_free_sized(
    heap: *mut HeapInMemory,
    pointer: *mut c_void,
    bytes: usize,
) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { evf_free_aligned_sized(heap, pointer, ALIGN_BYTES, bytes) }
}

/// Frees a block of `evf_alloc_aligned`. Refuses other sizes and alignments too, as
/// `evf_free_sized` does.
///
/// # Safety
/// As `evf_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_free_aligned_sized(
    heap: *mut HeapInMemory,
    pointer: *mut c_void,
    alignment: usize,
    bytes: usize,
) -> Status {
    let Ok(layout) = Layout::from_size_align(bytes, alignment) else {
        return Status::EVF_BAD_ARGUMENT;
    };
    // SAFETY: the caller's promise is the one asked for.
    unsafe { free_with(heap, pointer, |heap, ptr| heap.try_deallocate(ptr, layout)) }
}

/// Extends the pool by the `added_bytes` that follow its memory, up to `max_bytes` of
/// `evf_init_with`. Returns by how many bytes the pool has grown: whole granules only, and 0 if it
/// may not grow or `heap` isn't a heap. Constant time.
///
/// # Safety
/// `heap` came from `evf_init_with`; the bytes right behind its memory are the heap's from here on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_extend(heap: *mut HeapInMemory, added_bytes: usize) -> usize {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { Handle::from_c(heap) }.map_or(0, |control| {
        // SAFETY: as above.
        control.with_heap(|heap| unsafe { heap.extend(added_bytes) })
    })
}

/// Frees all blocks at once. Linear in the part of the metadata that was used.
///
/// # Safety
/// `heap` came from `evf_init`; none of its blocks is used after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_reset(heap: *mut HeapInMemory) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    match unsafe { Handle::from_c(heap) } {
        Ok(control) => {
            control.with_heap(|heap| heap.reset());
            Status::EVF_OK
        }
        Err(status) => status,
    }
}

/// # Safety
/// As `evf_free`; `free` requires nothing else.
unsafe fn free_with(
    heap: *mut HeapInMemory,
    pointer: *mut c_void,
    free: impl FnOnce(&mut dyn AnyHeap, NonNull<u8>) -> Result<(), evenfit::FreeError>,
) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    let control = match unsafe { Handle::from_c(heap) } {
        Ok(control) => control,
        Err(status) => return status,
    };
    let Some(ptr) = NonNull::new(pointer.cast::<u8>()) else {
        return Status::EVF_OK;
    };
    match control.with_heap(|heap| free(heap, ptr)) {
        Ok(()) => Status::EVF_OK,
        Err(error) => control.refuse(pointer, error.into()),
    }
}

/// # Safety
/// `heap` is null or came from `evf_init`.
unsafe fn allocate(
    heap: *mut HeapInMemory,
    alignment: usize,
    bytes: usize,
) -> Result<NonNull<[u8]>, Status> {
    // SAFETY: the caller's promise is the one asked for.
    let control = unsafe { Handle::from_c(heap) }?;
    let block = if alignment == 0 {
        ask_while_full(control, bytes, || {
            control.with_heap(|heap| heap.malloc(bytes).map_err(ReallocError::Alloc))
        })
    } else if let Ok(layout) = Layout::from_size_align(bytes, alignment) {
        ask_while_full(control, bytes, || {
            control.with_heap(|heap| heap.allocate(layout).map_err(ReallocError::Alloc))
        })
    } else if alignment.is_power_of_two() {
        return Err(Status::EVF_TOO_LARGE);
    } else {
        return Err(Status::EVF_BAD_ARGUMENT);
    };
    block.map_err(|error| explain(control, ptr::null_mut(), error))
}

/// The status of a request that failed. Calls the misuse callback for a refused pointer and for
/// overwritten memory, since some callers can't see the status.
#[cold]
fn explain(control: Handle, pointer: *mut c_void, error: ReallocError) -> Status {
    match error {
        ReallocError::Alloc(error @ (AllocError::OutOfMemory | AllocError::TooLarge)) => {
            error.into()
        }
        error => control.refuse(pointer, error.into()),
    }
}

fn as_c(block: Result<NonNull<[u8]>, Status>) -> *mut c_void {
    block.map_or(ptr::null_mut(), |block| block.cast().as_ptr())
}

/// # Safety
/// `out` can be written to.
unsafe fn answer(out: NonNull<*mut c_void>, block: Result<NonNull<[u8]>, Status>) -> Status {
    // SAFETY: as promised by the caller.
    unsafe { out.write(as_c(block)) };
    block.err().unwrap_or(Status::EVF_OK)
}

/// Runs `request`, and again as often as the out-of-memory callback returns true.
fn ask_while_full<T>(
    control: Handle,
    bytes: usize,
    request: impl Fn() -> Result<T, ReallocError>,
) -> Result<T, ReallocError> {
    let mut retries = 0_u32;
    loop {
        let answer = request();
        match answer {
            Err(ReallocError::Alloc(AllocError::OutOfMemory | AllocError::TooLarge))
                if control.retry(bytes, retries) =>
            {
                retries = retries.saturating_add(1);
            }
            answer => return answer,
        }
    }
}
