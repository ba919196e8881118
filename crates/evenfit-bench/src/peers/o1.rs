//! o1heap: half-fit in C, from the crate of that name.

use std::alloc::Layout;
use std::ffi::c_void;

use super::Peer;

/// Its C core, compiled by this crate's build script as the o1heap crate's own would, which needs
/// libclang for its bindings. It keeps everything in the pool and has no `realloc`.
pub struct O1Heap {
    instance: *mut c_void,
}

/// The alignment of its blocks on 64-bit machines, four words.
const ALIGNMENT: usize = 4 * size_of::<usize>();

unsafe extern "C" {
    fn o1heapInit(base: *mut c_void, size: usize) -> *mut c_void;
    fn o1heapAllocate(handle: *mut c_void, amount: usize) -> *mut c_void;
    fn o1heapFree(handle: *mut c_void, pointer: *mut c_void);
}

impl O1Heap {
    /// A higher alignment: a larger fragment, whose start is stored in the word below the block.
    #[cold]
    unsafe fn alloc_over_aligned(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: the fragment has room for the block, its alignment and the word below it.
        unsafe {
            let fragment = o1heapAllocate(self.instance, layout.size() + layout.align());
            if fragment.is_null() {
                return fragment.cast();
            }
            let block = (fragment as usize + ALIGNMENT).next_multiple_of(layout.align()) as *mut u8;
            block.cast::<*mut c_void>().sub(1).write(fragment);
            block
        }
    }
}

impl Peer for O1Heap {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise; regions are page-aligned.
        let instance = unsafe { o1heapInit(base.cast(), len_bytes) };
        (!instance.is_null()).then(|| Box::new(Self { instance }))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: an instance that was built in `over`.
        unsafe {
            if layout.align() > ALIGNMENT {
                return self.alloc_over_aligned(layout);
            }
            o1heapAllocate(self.instance, layout.size()).cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; an over-aligned block has its fragment's start in the word
        // below.
        unsafe {
            let fragment = if layout.align() > ALIGNMENT {
                ptr.cast::<*mut c_void>().sub(1).read()
            } else {
                ptr.cast()
            };
            o1heapFree(self.instance, fragment);
        }
    }
}
