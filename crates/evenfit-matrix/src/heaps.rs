//! The allocators by name: those of evenfit-bench, and evenfit with slabs in a pool so small that `Auto` would do without.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use evenfit::{Builder, Heap, Standard, WithSlabs};
use evenfit_bench::peers::{self, About, Class, Peer, Visitor};

/// Slabs whatever the pool's length.
struct Slabs(Heap<'static, WithSlabs, Standard>);

impl Peer for Slabs {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        let heap = unsafe { Builder::new().build_raw(NonNull::new(base)?, len_bytes) };
        heap.ok().map(|heap| Box::new(Self(heap)))
    }

    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let block = self.0.allocate(layout);
        block.map_or(ptr::null_mut(), |block| block.as_ptr().cast())
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        if let Some(ptr) = NonNull::new(ptr) {
            // SAFETY: the caller's promise.
            unsafe { self.0.deallocate(ptr, layout) }
        }
    }
}

/// Calls `visitor` with the allocator of that name; `None` if there is none.
pub fn with<V: Visitor>(name: &str, visitor: &mut V) -> Option<V::Out> {
    if name != "evenfit-slabs" {
        return peers::with(name, visitor);
    }
    Some(visitor.visit::<Slabs>(About {
        name: "evenfit-slabs",
        class: Class::Pool,
        bounded: true,
        outside_bytes: size_of::<Slabs>(),
    }))
}
