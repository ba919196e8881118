//! The pool of this process, and the operations of the malloc family.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use evenfit_trace::session::Slot;

use evenfit::{
    Aligned, AllocError, Auto, BlockState, Builder, FreeError, Geometry, ReallocError, Resized,
    Stats,
};

use crate::futex::{Futex, is_single_threaded};
use crate::mode::Mode;
use crate::out::{line, refuse_to_start};
use crate::session;
use crate::settings::Settings;

use super::reserve::Reserve;

/// Every block is aligned for any C type.
type Heap = evenfit::Heap<'static, Auto, Aligned>;

pub struct Memory {
    pub lock: Futex,
    heap: UnsafeCell<MaybeUninit<Heap>>,
    settings: UnsafeCell<Settings>,
    reserve: Reserve,
    /// The counters that this process's slot had at the last look, for the quick comparison.
    seen: UnsafeCell<Seen>,
}

/// What is compared after each operation, so that the slot has each new peak at once.
struct Seen {
    /// Where the heap counts the granules in used blocks at their peak.
    peak: *const usize,
    peak_seen: usize,
    operations_until_look: u32,
    /// Begins with 1 and doubles, so that a short program is seen well too.
    interval: u32,
}

/// All that the slot has but the peak is this many operations old at most.
const OPERATIONS_PER_LOOK: u32 = 256;

// SAFETY: `settings` and `heap` are written once, before the mode is stored, while the program has
// one thread; after that the heap and what was seen of it are touched only with the lock held.
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
    reserve: Reserve::new(),
    seen: UnsafeCell::new(Seen {
        peak: core::ptr::null(),
        peak_seen: 0,
        interval: 1,
        operations_until_look: 1,
    }),
};

impl Memory {
    pub fn settings(&self) -> &Settings {
        // SAFETY: written only before the mode is stored.
        unsafe { &*self.settings.get() }
    }

    /// Runs `f` on the heap with the lock held.
    #[inline(always)]
    fn with_heap<R>(&self, f: impl FnOnce(&mut Heap) -> R) -> R {
        // SAFETY: the lock is held.
        self.lock.hold(|| f(unsafe { self.heap() }))
    }

    /// As `with_heap`, for what changes the heap; `None` if a fork holds it for long. While the
    /// process has one thread, nothing is to be released afterwards.
    #[inline(always)]
    fn change_heap<R>(&self, may_grow: bool, f: impl FnOnce(&mut Heap) -> R) -> Option<R> {
        if !is_single_threaded() {
            return self.change_heap_locked(may_grow, f);
        }
        // SAFETY: no other thread is there.
        Some(unsafe { self.change_heap_now(may_grow, f) })
    }

    #[inline(always)]
    fn change_heap_locked<R>(&self, may_grow: bool, f: impl FnOnce(&mut Heap) -> R) -> Option<R> {
        let must_release = self.lock.acquire_unless_forking()?;
        // SAFETY: the lock is held.
        let answer = unsafe { self.change_heap_now(may_grow, f) };
        self.lock.release_if(must_release);
        Some(answer)
    }

    /// # Safety
    /// The lock is held, or there is no other thread.
    #[inline(always)]
    unsafe fn change_heap_now<R>(&self, may_grow: bool, f: impl FnOnce(&mut Heap) -> R) -> R {
        // SAFETY: as promised by the caller.
        let (heap, seen) = unsafe { (self.heap(), &mut *self.seen.get()) };
        seen.operations_until_look -= 1;
        if seen.operations_until_look == 0 {
            look_now_and_then(heap, seen);
        }
        let answer = f(heap);
        if may_grow {
            // SAFETY: the heap's own word, and nobody changes it now.
            let peak = unsafe { seen.peak.read() };
            if peak != seen.peak_seen {
                seen.peak_seen = peak;
                at_peak(heap, peak * Aligned::GRANULE_BYTES);
            }
        }
        answer
    }

    /// # Safety
    /// The mode is to serve, and the lock is held as long as the heap is used.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "the lock is held")]
    unsafe fn heap(&self) -> &mut Heap {
        // SAFETY: built, as the mode is to serve.
        unsafe { (*self.heap.get()).assume_init_mut() }
    }

    /// Reads the settings, and builds the heap where it is to serve. To be called once, while the
    /// process has one thread.
    pub fn begin(&self) -> Mode {
        // SAFETY: one thread, and no mode is stored: nobody else looks.
        let settings = unsafe { &mut *self.settings.get() };
        settings.read();
        if settings.session[0] != 0 {
            session::join(settings.session());
        } else if settings.records {
            refuse_to_start!("EVENFIT_RECORD: say `evenfit record -o FILE.evt -- PROGRAM`");
        }
        if settings.records || session::records() {
            return Mode::Record;
        }
        let heap = map_pool(settings);
        // SAFETY: as above.
        let heap = unsafe { (*self.heap.get()).write(heap) };
        self.reserve.map();
        look(heap);
        // SAFETY: as above.
        unsafe { (*self.seen.get()).peak = peak_counter(heap) };
        // It stays where it is.
        #[cfg(target_pointer_width = "64")]
        evenfit_trace::live::publish(heap);
        Mode::Serve
    }

    /// A block of `bytes` bytes, aligned for any C type.
    #[inline(always)]
    pub fn allocate(&self, bytes: usize) -> Result<NonNull<u8>, AllocError> {
        match self.change_heap(true, |heap| heap.malloc(bytes)) {
            Some(Ok(block)) => Ok(block.cast()),
            Some(Err(error)) => Err(self.failed(bytes, error)),
            None => self.allocate_in_fork(Aligned::ALIGN_BYTES, bytes),
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
        match self.change_heap(true, |heap| heap.allocate(layout)) {
            Some(Ok(block)) => Ok(block.cast()),
            Some(Err(error)) => Err(self.failed(bytes, error)),
            None => self.allocate_in_fork(align_bytes, bytes),
        }
    }

    /// A block of `bytes` zeroed bytes. Memory that no block ever covered is zero from the kernel,
    /// and stays untouched.
    #[inline(always)]
    pub fn allocate_zeroed(&self, bytes: usize) -> Result<NonNull<u8>, AllocError> {
        let allocated = self.change_heap(true, |heap| {
            let fresh = heap.never_used().cast::<u8>();
            heap.malloc(bytes).map(|block| (block.cast::<u8>(), fresh))
        });
        let (block, used_bytes) = match allocated {
            Some(Ok((block, fresh))) => {
                (block, fresh.addr().get().saturating_sub(block.addr().get()))
            }
            Some(Err(error)) => return Err(self.failed(bytes, error)),
            None => (self.allocate_in_fork(Aligned::ALIGN_BYTES, bytes)?, bytes),
        };
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
        if self.reserve.contains(ptr) {
            // SAFETY: the caller's block, which is the reserve's.
            return unsafe { self.move_to_new(ptr, self.reserve.size(ptr), bytes) };
        }
        // SAFETY: the caller's promise is the one asked for.
        let resized = self.change_heap(true, |heap| unsafe { heap.realloc_uncopied(ptr, bytes) });
        let Some(resized) = resized else {
            // SAFETY: the caller's live block.
            return unsafe { self.move_to_new(ptr, self.usable_size(ptr), bytes) };
        };
        match resized {
            Ok(Resized::Done(block)) => Ok(block.cast()),
            // SAFETY: the old block is live with `old_bytes`, the new one ours alone with at least
            // `bytes`; the old one is not used from here on.
            Ok(Resized::Elsewhere { block, old_bytes }) => unsafe {
                Ok(self.move_content(ptr, block.cast(), old_bytes.min(bytes)))
            },
            Err(ReallocError::Alloc(error)) => Err(self.failed(bytes, error)),
            Err(ReallocError::Free(error)) => {
                self.refused("realloc", ptr, error);
                Err(AllocError::OutOfMemory)
            }
            Err(_) => Err(AllocError::Corrupt),
        }
    }

    /// Moves a block with `old_bytes` bytes to a new one of `bytes`.
    ///
    /// # Safety
    /// As for [`reallocate`](Self::reallocate).
    #[cold]
    unsafe fn move_to_new(
        &self,
        ptr: NonNull<u8>,
        old_bytes: usize,
        bytes: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        let block = self.allocate_aligned(Aligned::ALIGN_BYTES, bytes)?;
        // SAFETY: both are live and have that many bytes; the old one is not used from here on.
        Ok(unsafe { self.move_content(ptr, block, old_bytes.min(bytes)) })
    }

    /// Copies `bytes` bytes to a new block, and frees the old one.
    ///
    /// # Safety
    /// Both are live, distinct and have at least that many bytes. The old one isn't used after the
    /// call.
    #[inline(always)]
    unsafe fn move_content(&self, old: NonNull<u8>, new: NonNull<u8>, bytes: usize) -> NonNull<u8> {
        // SAFETY: as promised by the caller.
        unsafe {
            new.copy_from_nonoverlapping(old, bytes);
            self.free(old);
        }
        new
    }

    /// # Safety
    /// A live block at `ptr` is not used after the call.
    #[inline(always)]
    pub unsafe fn free(&self, ptr: NonNull<u8>) {
        // SAFETY: the caller's promise is the one asked for.
        match self.change_heap(false, |heap| unsafe { heap.try_free(ptr) }) {
            Some(Ok(())) => {}
            Some(Err(error)) => self.not_freed(ptr, error),
            None => self.free_in_fork(ptr),
        }
    }

    #[cold]
    #[inline(never)]
    fn not_freed(&self, ptr: NonNull<u8>, error: FreeError) {
        if self.reserve.contains(ptr) {
            self.reserve.free();
        } else {
            self.refused("free", ptr, error);
        }
    }

    /// Allocates while a fork holds the pool.
    #[cold]
    #[inline(never)]
    fn allocate_in_fork(
        &self,
        align_bytes: usize,
        bytes: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        if let Some(block) = self.reserve.allocate(align_bytes, bytes) {
            return Ok(block);
        }
        let layout =
            Layout::from_size_align(bytes, align_bytes).map_err(|_| AllocError::TooLarge)?;
        let block = self.with_heap(|heap| heap.allocate(layout));
        block.map(NonNull::cast).map_err(|error| self.failed(bytes, error))
    }

    /// Frees while a fork holds the pool.
    #[cold]
    #[inline(never)]
    fn free_in_fork(&self, ptr: NonNull<u8>) {
        if self.reserve.contains(ptr) {
            self.reserve.free();
        } else if !self.reserve.free_later(ptr) {
            // SAFETY: the caller gives the block up.
            if let Err(error) = self.with_heap(|heap| unsafe { heap.try_free(ptr) }) {
                self.refused("free", ptr, error);
            }
        } else if !self.lock.is_forking() {
            // The fork is over, and may not have seen the note.
            self.lock.hold(|| self.free_noted());
        }
    }

    /// Frees what was to be freed after a fork. The lock is held.
    fn free_noted(&self) {
        self.reserve.take_freed(|block| {
            // SAFETY: the lock is held, and whoever noted the block has given it up.
            if let Err(error) = unsafe { self.heap().try_free(block) } {
                self.refused("free", block, error);
            }
        });
    }

    /// Locks the pool before a fork, so that the child's copy is whole.
    pub fn before_fork(&self) {
        self.lock.hold_across_fork();
    }

    /// Unlocks it in the parent.
    pub fn after_fork(&self) {
        self.lock.release_after_fork(|| self.free_noted());
    }

    /// Unlocks it in the child, whose slot is another.
    pub fn in_child(&self) {
        self.lock.reset_in_child();
        self.lock.hold(|| {
            self.free_noted();
            // SAFETY: the lock is held.
            look(unsafe { self.heap() });
        });
    }

    pub fn usable_size(&self, ptr: NonNull<u8>) -> usize {
        if self.reserve.contains(ptr) {
            // SAFETY: the caller's block.
            return unsafe { self.reserve.size(ptr) };
        }
        let must_release = match is_single_threaded() {
            true => None,
            false => self.lock.acquire_unless_forking(),
        };
        // SAFETY: no other thread is there, or the lock is held, or a fork holds it and changes
        // nothing. If that ends now, others may change the heap, but not the marks of this block,
        // which is live.
        let size = unsafe { (*self.heap.get()).assume_init_ref() }.usable_size(ptr);
        if let Some(must_release) = must_release {
            self.lock.release_if(must_release);
        }
        match size {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refused("malloc_usable_size", ptr, error);
                0
            }
        }
    }

    /// Tells the slot how the pool is at the process's exit.
    pub fn look_at_exit(&self) {
        let is_seen = self.lock.hold_if_free(|| {
            // SAFETY: the lock is held, or its holder is interrupted by the signal handler that
            // ends the process; the heap is only read, by functions that work in any state.
            look(unsafe { (*self.heap.get()).assume_init_ref() });
        });
        if is_seen.is_some() {
            session::slot().flags.fetch_or(Slot::AT_EXIT, Ordering::Release);
        }
    }

    /// The counters for a program that inspects its heap. Walks over all blocks, as glibc does,
    /// with the lock held.
    pub fn usage(&self) -> Usage {
        self.with_heap(|heap| {
            let is_free =
                |block: &evenfit::Block| matches!(block.state, BlockState::Free | BlockState::Top);
            Usage { stats: heap.stats(), free_blocks: heap.blocks().filter(is_free).count() }
        })
    }

    #[cold]
    #[inline(never)]
    fn failed(&self, bytes: usize, error: AllocError) -> AllocError {
        let counters = &session::slot().pool;
        let smallest = counters.smallest_failure_bytes.load(Ordering::Relaxed);
        if smallest == 0 || (bytes as u64) < smallest {
            counters.smallest_failure_bytes.store(bytes as u64, Ordering::Relaxed);
        }
        counters.failed_requests.fetch_add(1, Ordering::Relaxed);
        error
    }

    /// A pointer that is no live block of the pool: the program is wrong, and is stopped unless it
    /// was asked not to be.
    #[cold]
    #[inline(never)]
    fn refused(&self, function: &str, ptr: NonNull<u8>, error: FreeError) {
        session::slot().pool.refused_frees.fetch_add(1, Ordering::Relaxed);
        if self.settings().ignore_misuse {
            return;
        }
        line!("evenfit: {function}({ptr:p}): {error}\n").write_to_stderr();
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
}

/// Where a heap that stays where it is counts the granules in used blocks at their peak.
fn peak_counter(heap: &Heap) -> *const usize {
    let [.., used_peak, _, _] = heap.metadata_addresses().counters;
    core::ptr::with_exposed_provenance(used_peak as usize)
}

/// Tells the slot of a new peak.
#[cold]
#[inline(never)]
fn at_peak(heap: &Heap, peak_bytes: usize) {
    let counters = &session::slot().pool;
    let touched_bytes = heap.never_used().addr().get() - heap.pool_start().addr();
    counters.peak_used_bytes.store(peak_bytes as u64, Ordering::Relaxed);
    counters.touched_bytes.store(touched_bytes as u64, Ordering::Relaxed);
}

#[cold]
#[inline(never)]
fn look_now_and_then(heap: &Heap, seen: &mut Seen) {
    seen.interval = (2 * seen.interval).min(OPERATIONS_PER_LOOK);
    seen.operations_until_look = seen.interval;
    look(heap);
}

/// Tells the slot how the pool is now.
#[cold]
#[inline(never)]
fn look(heap: &Heap) {
    let (stats, counters) = (heap.stats(), &session::slot().pool);
    let touched_bytes = heap.never_used().addr().get() - heap.pool_start().addr();
    let put = |counter: &AtomicU64, value: usize| counter.store(value as u64, Ordering::Relaxed);
    put(&counters.pool_bytes, stats.pool_bytes);
    put(&counters.metadata_bytes, stats.metadata_bytes);
    put(&counters.peak_used_bytes, stats.peak_used_bytes);
    put(&counters.touched_bytes, touched_bytes);
    put(&counters.used_bytes, stats.used_bytes);
    put(&counters.live_blocks, stats.live_blocks);
    put(&counters.largest_free_bytes, heap.largest_free());
}

/// Memory for the pool, from the kernel: reserved now, and provided page by page as it is used.
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
