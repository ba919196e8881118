//! The control structure at the start of the caller's memory, and how it is set up.

use core::ffi::c_void;
use core::ptr::NonNull;

use evenfit::{Builder, Geometry, Heap, Tiers};

use crate::Status;
use crate::any_heap::{AnyHeap, Kind, LargeHeap, SmallHeap};
use crate::options::{Choices, OptionsV1, TierChoice};

/// The alignment of every block: enough for any C type, as with `malloc`.
pub(crate) const ALIGN_BYTES: usize = 2 * size_of::<usize>();

/// Marks memory in which `evf_init` built a heap: "evenfit1".
const MAGIC: u64 = u64::from_be_bytes(*b"evenfit1");

/// A lock, by which one thread at a time uses a heap. `context` is passed to both functions.
///
/// A thread that holds it never acquires it again. It is held for one bounded heap operation, but
/// not while payload is zeroed or copied (see `evf_realloc` for an exception), and not while a
/// callback runs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LockTable {
    /// Waits until the lock is free, and acquires it.
    pub acquire: Option<unsafe extern "C" fn(context: *mut c_void)>,
    /// Releases it.
    pub release: Option<unsafe extern "C" fn(context: *mut c_void)>,
    /// A pointer of your choice.
    pub context: *mut c_void,
}

type Misuse = unsafe extern "C" fn(
    context: *mut c_void,
    heap: *mut HeapInMemory,
    pointer: *mut c_void,
    status: Status,
);

type OutOfMemory = unsafe extern "C" fn(
    context: *mut c_void,
    heap: *mut HeapInMemory,
    bytes: usize,
    retries: u32,
) -> bool;

/// A callback and the pointer that is passed to it.
#[derive(Clone, Copy)]
struct Callback<F> {
    function: F,
    context: *mut c_void,
}

/// A heap in the caller's memory: this head, then the heap's own control structure, then the pool.
#[repr(align(8))]
pub struct HeapInMemory {
    magic: u64,
    kind: Kind,
    lock: Option<LockTable>,
    misuse: Option<Callback<Misuse>>,
    out_of_memory: Option<Callback<OutOfMemory>>,
}

/// From the start of the head to the pool's region.
const fn control_bytes(kind: Kind) -> usize {
    size_of::<HeapInMemory>()
        + match kind {
            Kind::Small => size_of::<SmallHeap>(),
            Kind::Large => size_of::<LargeHeap>(),
        }
}

const _: () = assert!(align_of::<SmallHeap>() <= align_of::<HeapInMemory>());
const _: () = assert!(align_of::<LargeHeap>() <= align_of::<HeapInMemory>());

/// A pointer from C behind which `evf_init` built a heap.
#[derive(Clone, Copy)]
pub(crate) struct Handle(NonNull<HeapInMemory>);

impl Handle {
    /// # Safety
    /// `heap` is null, or points to memory that `evf_init` was called on, or to other readable
    /// memory.
    pub(crate) unsafe fn from_c(heap: *mut HeapInMemory) -> Result<Self, Status> {
        let head = NonNull::new(heap).ok_or(Status::EVF_NOT_A_HEAP)?;
        if !head.is_aligned() {
            return Err(Status::EVF_NOT_A_HEAP);
        }
        // SAFETY: readable by the caller's promise, and aligned.
        if unsafe { (&raw const (*heap).magic).read() } != MAGIC {
            return Err(Status::EVF_NOT_A_HEAP);
        }
        Ok(Self(head))
    }

    fn head(&self) -> &HeapInMemory {
        // SAFETY: built by `evf_init`; changed only by the setters, during which the caller
        // promised to be alone.
        unsafe { self.0.as_ref() }
    }

    /// Runs `f` on the heap with the lock held.
    pub(crate) fn with_heap<R>(self, f: impl FnOnce(&mut dyn AnyHeap) -> R) -> R {
        let head = self.head();
        let _locked = head.lock.as_ref().map(Locked::new);
        // SAFETY: `build` wrote a heap of this type behind the head. Without a lock the caller
        // promised to be alone; with one it is held.
        unsafe {
            let heap = self.0.add(1);
            match head.kind {
                Kind::Small => f(heap.cast::<SmallHeap>().as_mut()),
                Kind::Large => f(heap.cast::<LargeHeap>().as_mut()),
            }
        }
    }

    /// Calls the misuse callback, and returns the status. Outside the lock.
    #[cold]
    pub(crate) fn refuse(self, pointer: *mut c_void, status: Status) -> Status {
        if let Some(callback) = self.head().misuse {
            // SAFETY: a function that the caller gave for this, with its context.
            unsafe { (callback.function)(callback.context, self.0.as_ptr(), pointer, status) };
        }
        status
    }

    /// Whether a request that found no memory shall be tried again. Outside the lock.
    #[cold]
    pub(crate) fn retry(self, bytes: usize, retries: u32) -> bool {
        self.head().out_of_memory.is_some_and(|callback| {
            // SAFETY: a function that the caller gave for this, with its context.
            unsafe { (callback.function)(callback.context, self.0.as_ptr(), bytes, retries) }
        })
    }
}

/// The caller's lock, held until this is dropped.
struct Locked<'a>(&'a LockTable);

impl<'a> Locked<'a> {
    fn new(lock: &'a LockTable) -> Self {
        if let Some(acquire) = lock.acquire {
            // SAFETY: a function that the caller gave for this, with its context.
            unsafe { acquire(lock.context) };
        }
        Self(lock)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: as for `acquire`, which went before.
            unsafe { release(self.0.context) };
        }
    }
}

/// The size of the control structure that `evf_init` builds in `bytes` bytes of memory: about 0.8
/// KiB, or 2.4 KiB from 1 MiB on; on 32-bit machines 0.4 KiB, or 0.7 KiB above 512 KiB. The
/// metadata of the pool is not included (1/32 to 1/30 of the memory, or of `max_bytes` if that is
/// set).
#[unsafe(no_mangle)]
pub extern "C" fn evf_control_bytes(bytes: usize) -> usize {
    Kind::of(bytes, TierChoice::EVF_TIERS_AUTO).map_or(0, control_bytes)
        + align_of::<HeapInMemory>()
        - 1
}

/// Builds a heap in `bytes` bytes at `memory` and writes its address to `*heap`. The memory may
/// have any alignment and content. It belongs to the heap until the caller stops using the heap,
/// which needn't be closed.
///
/// Errors: EVF_REGION_TOO_SMALL, EVF_REGION_TOO_LARGE, EVF_BAD_ARGUMENT for null pointers; `*heap`
/// is then null.
///
/// # Safety
/// `memory` is null or valid for `bytes` bytes, `heap` null or writable.
///
/// cbindgen:prefix=EVF_NODISCARD
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_init(
    memory: *mut c_void,
    bytes: usize,
    heap: *mut *mut HeapInMemory,
) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { evf_init_with(memory, bytes, core::ptr::null(), heap) }
}

/// As `evf_init`, with options; null means the defaults. EVF_BAD_ARGUMENT also for options that are
/// invalid or that this library doesn't know; EVF_NO_SLABS if `options` ask for slabs and this
/// library has none.
///
/// # Safety
/// As `evf_init`; `options` is null or has `options->struct_bytes` bytes.
///
/// cbindgen:prefix=EVF_NODISCARD
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_init_with(
    memory: *mut c_void,
    bytes: usize,
    options: *const OptionsV1,
    heap: *mut *mut HeapInMemory,
) -> Status {
    if heap.is_null() {
        return Status::EVF_BAD_ARGUMENT;
    }
    // SAFETY: writable by the caller's promise.
    unsafe { heap.write(core::ptr::null_mut()) };
    if memory.is_null() {
        return Status::EVF_BAD_ARGUMENT;
    }
    // SAFETY: the caller's promises are the ones asked for.
    match unsafe {
        Choices::from_c(options).and_then(|choices| build(memory.cast(), bytes, &choices))
    } {
        Ok(control) => {
            // SAFETY: as above.
            unsafe { heap.write(control) };
            Status::EVF_OK
        }
        Err(status) => status,
    }
}

/// # Safety
/// `memory` is valid for `bytes` bytes, which are the heap's from here on.
unsafe fn build(
    memory: *mut u8,
    bytes: usize,
    choices: &Choices,
) -> Result<*mut HeapInMemory, Status> {
    let max_bytes = choices.max_bytes.max(bytes);
    let kind = Kind::of(max_bytes, choices.tiers)?;
    let before_bytes = memory.align_offset(align_of::<HeapInMemory>());
    let control_bytes = before_bytes.saturating_add(control_bytes(kind));
    let Some(region_bytes) = bytes.checked_sub(control_bytes) else {
        return Err(Status::EVF_REGION_TOO_SMALL);
    };
    let region_max_bytes = max_bytes - control_bytes;
    // SAFETY: `control_bytes <= bytes`, so all of it lies inside the memory, aligned, and head,
    // heap and region are disjoint. The magic number comes last, with the head.
    unsafe {
        let head = memory.add(before_bytes).cast::<HeapInMemory>();
        let region = NonNull::new(memory.add(control_bytes)).ok_or(Status::EVF_BAD_ARGUMENT)?;
        let heap = head.add(1);
        match kind {
            Kind::Small => {
                let heap = heap.cast::<SmallHeap>();
                heap.write(build_heap(region, region_bytes, region_max_bytes)?);
            }
            Kind::Large => {
                let heap = heap.cast::<LargeHeap>();
                heap.write(build_heap(region, region_bytes, region_max_bytes)?);
            }
        }
        head.write(HeapInMemory {
            magic: MAGIC,
            kind,
            lock: None,
            misuse: None,
            out_of_memory: None,
        });
        Ok(head)
    }
}

/// # Safety
/// The region is the heap's from here on.
unsafe fn build_heap<T: Tiers, G: Geometry>(
    region: NonNull<u8>,
    len_bytes: usize,
    max_bytes: usize,
) -> Result<Heap<'static, T, G>, Status> {
    const { assert!(G::ALIGN_BYTES >= ALIGN_BYTES, "every block is for any C type") };
    let builder = Builder::<T, G>::new().max_bytes(max_bytes);
    // SAFETY: the caller's promise is the one asked for.
    Ok(unsafe { builder.build_raw(region, len_bytes) }?)
}

/// Sets the lock of the heap; null removes it. Without a lock, one thread at a time may use the
/// heap. The table is copied. EVF_BAD_ARGUMENT if one of its functions is missing.
///
/// # Safety
/// `heap` came from `evf_init`; no other thread uses it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_set_lock(heap: *mut HeapInMemory, lock: *const LockTable) -> Status {
    // SAFETY: the caller's promise is the one asked for; null is null.
    let lock = unsafe { lock.as_ref() }.copied();
    if lock.is_some_and(|lock| lock.acquire.is_none() || lock.release.is_none()) {
        return Status::EVF_BAD_ARGUMENT;
    }
    // SAFETY: the caller's promise is the one asked for.
    unsafe { change(heap, |control| control.lock = lock) }
}

/// Sets the function to call with every pointer that is refused, and with EVF_CORRUPT if a request
/// found free memory overwritten; the pointer is then null, or the one to be reallocated. Null
/// removes the function. It runs outside the lock and may end the program. If it returns, the call
/// that refused returns its status.
///
/// # Safety
/// `heap` came from `evf_init`; no other thread uses it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_set_misuse(
    heap: *mut HeapInMemory,
    function: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            heap: *mut HeapInMemory,
            pointer: *mut c_void,
            status: Status,
        ),
    >,
    context: *mut c_void,
) -> Status {
    let callback = function.map(|function| Callback { function, context });
    // SAFETY: the caller's promise is the one asked for.
    unsafe { change(heap, |control| control.misuse = callback) }
}

/// Sets the function to ask when a request for `bytes` finds no free block; null removes it. It
/// runs outside the lock and may free blocks or extend the pool. If it returns true, the request is
/// tried once more. `retries` counts how often this request was tried again.
///
/// # Safety
/// `heap` came from `evf_init`; no other thread uses it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evf_set_out_of_memory(
    heap: *mut HeapInMemory,
    function: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            heap: *mut HeapInMemory,
            bytes: usize,
            retries: u32,
        ) -> bool,
    >,
    context: *mut c_void,
) -> Status {
    let callback = function.map(|function| Callback { function, context });
    // SAFETY: the caller's promise is the one asked for.
    unsafe { change(heap, |control| control.out_of_memory = callback) }
}

/// # Safety
/// `heap` came from `evf_init`; no other thread uses it during the call.
unsafe fn change(heap: *mut HeapInMemory, f: impl FnOnce(&mut HeapInMemory)) -> Status {
    // SAFETY: the caller's promise is the one asked for.
    if let Err(status) = unsafe { Handle::from_c(heap) } {
        return status;
    }
    // SAFETY: a heap, as was just seen, and the caller is alone with it.
    f(unsafe { &mut *heap });
    Status::EVF_OK
}
