//! The one pool of this process, and what the malloc family asks of it.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use evenfit::{
    Aligned, AllocError, Auto, BlockState, Builder, FreeError, Geometry, ReallocError, Resized,
    Stats,
};

use crate::futex::Futex;
use crate::mode::Mode;
use crate::out::{line, refuse_to_start};
use crate::settings::Settings;

/// Every block is aligned for any C type.
type Heap = evenfit::Heap<'static, Auto, Aligned>;

pub struct Memory {
    pub lock: Futex,
    heap: UnsafeCell<MaybeUninit<Heap>>,
    settings: UnsafeCell<Settings>,
    /// The smallest request that failed, in bytes; 0 while none has.
    smallest_failure_bytes: AtomicUsize,
}

// SAFETY: `settings` and `heap` are written once, before the mode is stored, while the program has
// one thread; after that the heap is touched only with the lock held.
unsafe impl Sync for Memory {}

/// The counters of the pool, and the number of its free blocks.
pub struct Usage {
    pub stats: Stats,
    pub free_blocks: usize,
}

pub static MEMORY: Memory = Memory {
    lock: Futex::new(),
    heap: UnsafeCell::new(MaybeUninit::uninit()),
    settings: UnsafeCell::new(Settings::DEFAULT),
    smallest_failure_bytes: AtomicUsize::new(0),
};

impl Memory {
    pub fn settings(&self) -> &Settings {
        // SAFETY: written only before the mode is stored.
        unsafe { &*self.settings.get() }
    }

    /// Runs `f` on the heap with the lock held.
    #[inline(always)]
    fn with_heap<R>(&self, f: impl FnOnce(&mut Heap) -> R) -> R {
        self.lock.hold(|| {
            // SAFETY: built, as the mode is to serve, and the lock is held.
            f(unsafe { (*self.heap.get()).assume_init_mut() })
        })
    }

    /// Reads the settings, and builds the heap where it is to serve. To be called once, while the
    /// process has one thread.
    pub fn begin(&self) -> Mode {
        // SAFETY: one thread, and no mode is stored: nobody else looks.
        let settings = unsafe { &mut *self.settings.get() };
        settings.read();
        if settings.records {
            return Mode::Record;
        }
        let heap = map_pool(settings);
        // SAFETY: as above.
        let heap = unsafe { (*self.heap.get()).write(heap) };
        // It stays where it is.
        #[cfg(target_pointer_width = "64")]
        evenfit_trace::live::publish(heap);
        Mode::Serve
    }

    /// A block of `bytes` bytes, aligned for any C type.
    #[inline(always)]
    pub fn allocate(&self, bytes: usize) -> Result<NonNull<u8>, AllocError> {
        match self.with_heap(|heap| heap.malloc(bytes)) {
            Ok(block) => Ok(block.cast()),
            Err(error) => Err(self.failed(bytes, error)),
        }
    }

    /// A block of `bytes` bytes at a multiple of `align_bytes`, a power of two, and aligned for any
    /// C type.
    pub fn allocate_aligned(
        &self,
        align_bytes: usize,
        bytes: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        if align_bytes <= Aligned::ALIGN_BYTES {
            return self.allocate(bytes);
        }
        let layout =
            Layout::from_size_align(bytes, align_bytes).map_err(|_| AllocError::TooLarge)?;
        match self.with_heap(|heap| heap.allocate(layout)) {
            Ok(block) => Ok(block.cast()),
            Err(error) => Err(self.failed(bytes, error)),
        }
    }

    /// A block of `bytes` zeroed bytes. Memory that no block ever covered is zero from the kernel,
    /// and stays untouched.
    #[inline(always)]
    pub fn allocate_zeroed(&self, bytes: usize) -> Result<NonNull<u8>, AllocError> {
        let allocated = self.with_heap(|heap| {
            let fresh = heap.never_used().cast::<u8>();
            heap.malloc(bytes).map(|block| (block.cast::<u8>(), fresh))
        });
        let (block, fresh) = allocated.map_err(|error| self.failed(bytes, error))?;
        let used_bytes = fresh.addr().get().saturating_sub(block.addr().get());
        // SAFETY: the block is new and has at least `bytes` bytes.
        unsafe { block.write_bytes(0, used_bytes.min(bytes)) };
        Ok(block)
    }

    /// Resizes a block to `bytes` bytes: in place, or in a new block, to which it is copied without
    /// the lock; in a full pool downwards, into free memory before it, with the lock held.
    ///
    /// # Safety
    /// A live block at `ptr` is the caller's, and after success only the returned one is used.
    pub unsafe fn reallocate(
        &self,
        ptr: NonNull<u8>,
        bytes: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        let resized = self.with_heap(|heap| unsafe { heap.realloc_uncopied(ptr, bytes) });
        match resized {
            Ok(Resized::Done(block)) => Ok(block.cast()),
            Ok(Resized::Elsewhere { block, old_bytes }) => {
                let block = block.cast::<u8>();
                // SAFETY: the old block is live with `old_bytes`, the new one ours alone with at
                // least `bytes`; the old one is not used from here on.
                unsafe {
                    block.copy_from_nonoverlapping(ptr, old_bytes.min(bytes));
                    self.free(ptr);
                }
                Ok(block)
            }
            Err(ReallocError::Alloc(error)) => Err(self.failed(bytes, error)),
            Err(ReallocError::Free(error)) => {
                self.refused("realloc", ptr, error);
                Err(AllocError::OutOfMemory)
            }
            Err(_) => Err(AllocError::Corrupt),
        }
    }

    /// # Safety
    /// A live block at `ptr` is not used after the call.
    #[inline(always)]
    pub unsafe fn free(&self, ptr: NonNull<u8>) {
        // SAFETY: the caller's promise is the one asked for.
        if let Err(error) = self.with_heap(|heap| unsafe { heap.try_free(ptr) }) {
            self.refused("free", ptr, error);
        }
    }

    pub fn usable_size(&self, ptr: NonNull<u8>) -> usize {
        match self.with_heap(|heap| heap.usable_size(ptr)) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refused("malloc_usable_size", ptr, error);
                0
            }
        }
    }

    /// The counters; how many bytes of the pool were ever used; the largest request that would
    /// succeed. For the end of a process that has a pool: it never waits long.
    pub fn state(&self) -> (Stats, usize, usize) {
        self.lock.hold_or_not(|| {
            // SAFETY: built before; where the lock can't be had, its holder is this very thread or
            // about to be ended, and the heap is only read, by functions that bear any state.
            let heap = unsafe { (*self.heap.get()).assume_init_ref() };
            let stats = heap.stats();
            let used_once_bytes = stats.pool_bytes - heap.never_used().len();
            (stats, used_once_bytes, heap.largest_free())
        })
    }

    /// What the program may ask about its heap. Walks over all blocks, as glibc does, with the lock
    /// held.
    pub fn usage(&self) -> Usage {
        self.with_heap(|heap| {
            let is_free =
                |block: &evenfit::Block| matches!(block.state, BlockState::Free | BlockState::Top);
            Usage { stats: heap.stats(), free_blocks: heap.blocks().filter(is_free).count() }
        })
    }

    /// The smallest request that failed, in bytes, if one has.
    pub fn smallest_failure_bytes(&self) -> Option<usize> {
        match self.smallest_failure_bytes.load(Ordering::Relaxed) {
            0 => None,
            bytes => Some(bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn failed(&self, bytes: usize, error: AllocError) -> AllocError {
        let smallest = self.smallest_failure_bytes.load(Ordering::Relaxed);
        if smallest == 0 || bytes < smallest {
            self.smallest_failure_bytes.store(bytes, Ordering::Relaxed);
        }
        error
    }

    /// A pointer that is no live block of the pool: the program is wrong, and is stopped unless it
    /// was asked not to be.
    #[cold]
    #[inline(never)]
    fn refused(&self, function: &str, ptr: NonNull<u8>, error: FreeError) {
        if self.settings().ignore_misuse {
            return;
        }
        line!("evenfit: {function}({ptr:p}): {error}\n").write_to(2);
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
}

/// Memory for the pool, from the kernel: reserved now, brought in page by page as it is used.
fn map_pool(settings: &Settings) -> Heap {
    let len_bytes = settings.pool_bytes;
    // SAFETY: an anonymous mapping at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            len_bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        refuse_to_start!("can't map a pool of {len_bytes} bytes: choose a smaller one");
    }
    // SAFETY: the mapping was just made.
    if settings.lock_memory && unsafe { libc::mlock(base, len_bytes) } != 0 {
        refuse_to_start!(
            "can't lock {len_bytes} bytes in memory: raise the limit (ulimit -l) or choose a smaller pool"
        );
    }
    let Some(start) = NonNull::new(base.cast::<u8>()) else {
        refuse_to_start!("the kernel mapped the pool at address 0");
    };
    // SAFETY: the mapping is the heap's alone, never unmapped, and zero from the kernel.
    match unsafe {
        let builder = Builder::<Auto, Aligned>::new().zeroed();
        builder.build_raw(start, len_bytes)
    } {
        Ok(heap) => heap,
        Err(error) => refuse_to_start!("EVENFIT_POOL: {error}"),
    }
}
