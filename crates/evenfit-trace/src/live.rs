//! Lets `evenfit top` see the pool of a running process.
//!
//! A process *publishes* its heap: it writes the addresses of the heap's metadata and counters into
//! one page of memory, which has a name in `/proc/PID/maps`. A viewer of the same user finds the
//! page, and copies metadata and counters from the process (`process_vm_readv`) as often as it
//! likes. No thread is stopped, no thread or signal is added, and no operation of the heap executes
//! an instruction more. Nothing is left behind when the process ends, in whatever way.
//!
//! After `fork` the child's page is valid for the child's own copy of the heap, which has the same
//! addresses.
//!
//! ```
//! use evenfit::StaticHeap;
//!
//! static HEAP: StaticHeap<{ 64 * 1024 }> = StaticHeap::new();
//!
//! HEAP.inspect(|heap| evenfit_trace::live::publish(heap));
//! ```
//!
//! Programs run by `evenfit run` do so by themselves. Linux on 64-bit machines.
#![allow(unsafe_code, reason = "a page is made by system calls")]

use core::ffi::CStr;

use evenfit::observe::MetadataAddresses;
use evenfit::{Geometry, Heap, Tiers};

/// The page's name: `/memfd:evenfit-pool` in `/proc/PID/maps`.
pub const PAGE_NAME: &CStr = c"evenfit-pool";

/// The content of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Page {
    /// [`Page::MAGIC`].
    pub magic: [u8; 8],
    /// The addresses of the heap's metadata and counters.
    pub addresses: MetadataAddresses,
}

impl Page {
    /// The first bytes of every such page. The last character is the version of its layout.
    pub const MAGIC: [u8; 8] = *b"evfpool2";
}

/// Publishes the address of `heap` until the process ends. The heap must not be moved or dropped:
/// afterwards a viewer would read something else.
///
/// Returns false if the kernel can't make the page; the process can't be watched then. Call it once
/// for each heap, outside of hot paths: it makes six system calls. It allocates nothing.
pub fn publish<T: Tiers, G: Geometry>(heap: &Heap<'_, T, G>) -> bool {
    let page = Page { magic: Page::MAGIC, addresses: heap.metadata_addresses() };
    // SAFETY: the name is a C string, and the file is closed below.
    let fd = unsafe { libc::memfd_create(PAGE_NAME.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return false;
    }
    // SAFETY: the page is live for the write, and plain words. What is mapped is private, so a
    // child of fork has its own, and stays.
    unsafe {
        let written = libc::write(fd, (&raw const page).cast(), size_of::<Page>());
        let mapped = written == size_of::<Page>() as isize
            && libc::mmap(
                core::ptr::null_mut(),
                size_of::<Page>(),
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                fd,
                0,
            ) != libc::MAP_FAILED;
        libc::close(fd);
        mapped
    }
}

/// Allows any process of the same user to watch, if the kernel otherwise allows only a process's
/// ancestors (`kernel.yama.ptrace_scope` = 1). Call it again in a child of `fork`.
pub fn let_anyone_look() {
    // SAFETY: changes who may look into this process, and nothing else. Kernels without Yama
    // refuse, and need it not.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
}
