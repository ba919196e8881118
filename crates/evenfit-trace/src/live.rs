//! Lets `evenfit top` see the pool of a running process.
//!
//! A process *publishes* its heap: one page of memory, under a name that shows in `/proc/PID/maps`,
//! says where the heap's metadata and counters lie. That is all. A viewer of the same user finds
//! the page, and copies them out of the process (`process_vm_readv`) as often as it likes. Nobody
//! is stopped, no thread or signal is added, no operation of the heap takes an instruction more,
//! and nothing is left behind when the process ends, however it does.
//!
//! After `fork` the child's page says where the child's own copy of the heap lies: the same
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

/// What the page holds, from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Page {
    /// [`Page::MAGIC`].
    pub magic: [u8; 8],
    /// Where the heap lies.
    pub addresses: MetadataAddresses,
}

impl Page {
    /// What every such page begins with. The last character is the number of its form.
    pub const MAGIC: [u8; 8] = *b"evfpool2";
}

/// Says where `heap` lies, to whoever looks, until the process ends. The heap must stay where it
/// is: once it is moved or dropped, a viewer sees nonsense.
///
/// False where the kernel can't make the page; the process then goes on unseen. Call it once a
/// heap, outside of hot paths: six system calls. Allocates nothing.
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

/// Lets any process of the same user look, where the kernel else allows that to a process's
/// ancestors only (`kernel.yama.ptrace_scope` = 1). To be called in a child of `fork` again.
pub fn let_anyone_look() {
    // SAFETY: changes who may look into this process, and nothing else. Kernels without Yama
    // refuse, and need it not.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
}
