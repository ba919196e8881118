//! What this process shares with the command that runs it: mapped at load, written to ever after.
//!
//! No descriptor stays open, and nothing is asked of the system later. In a child of `fork` the
//! kernel itself forgets the parent's slot, whatever way the child was made.

use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use evenfit_trace::session::{self, Header, PAGE_BYTES, Recording, Slot};

use crate::futex::{Futex, shared_futex};
use crate::settings::program_name;

/// How long a process waits for the command before it looks whether that lives: 10 ms.
const MOMENT: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The session's memory, or null without one.
static SESSION: AtomicPtr<Header> = AtomicPtr::new(ptr::null_mut());

/// Where a process writes that has no slot.
static NOBODY: Slot = Slot::unclaimed();

/// A page of which a child of `fork` has zeroes (`MADV_WIPEONFORK`).
#[repr(C, align(4096))]
pub struct Wiped {
    /// How far behind `NOBODY` this process's slot lies; 0 is `NOBODY` itself.
    distance: AtomicUsize,
    /// Where this process records; null before its first event, and if it doesn't.
    pub recording: AtomicPtr<Recording>,
    /// It doesn't record.
    pub is_off: AtomicBool,
    /// The lock of the recording. A child must not wait for a thread of its parent.
    pub lock: Futex,
}

pub static WIPED: Wiped = Wiped {
    distance: AtomicUsize::new(0),
    recording: AtomicPtr::new(ptr::null_mut()),
    is_off: AtomicBool::new(false),
    lock: Futex::new(),
};

const _: () = assert!(size_of::<Wiped>() == PAGE_BYTES);

/// This process's slot.
#[inline(always)]
pub fn slot() -> &'static Slot {
    let nobody = &raw const NOBODY;
    // SAFETY: `NOBODY`, or a slot of the session, which stays mapped.
    unsafe { &*nobody.wrapping_byte_add(WIPED.distance.load(Ordering::Relaxed)) }
}

/// Whether the command reads what is written.
pub fn is_watched() -> bool {
    !SESSION.load(Ordering::Relaxed).is_null()
}

/// Whether the command wants a recording.
pub fn records() -> bool {
    // SAFETY: null, or mapped and never unmapped.
    unsafe { SESSION.load(Ordering::Relaxed).as_ref() }.is_some_and(Header::records)
}

/// Where this process may record; null if it has no slot. A child that the C library doesn't know
/// of claims its slot here.
pub fn recording() -> *mut Recording {
    if !records() {
        return ptr::null_mut();
    }
    if WIPED.distance.load(Ordering::Relaxed) == 0 {
        // SAFETY: takes nothing and can't fail.
        claim(unsafe { libc::getpid() } as u32, 0);
    }
    if WIPED.distance.load(Ordering::Relaxed) == 0 {
        return ptr::null_mut();
    }
    // SAFETY: the slot lies in a session that records.
    unsafe { session::recording(slot()) }.cast_mut()
}

/// Counts a full chunk, and wakes the command if it should hurry.
pub fn chunk_is_full(hurry: bool) {
    // SAFETY: mapped, as there is a recording.
    let header = unsafe { &*SESSION.load(Ordering::Relaxed) };
    header.full_chunks.fetch_add(1, Ordering::SeqCst);
    if hurry && header.command_waits.load(Ordering::SeqCst) != 0 {
        shared_futex(&header.full_chunks, libc::FUTEX_WAKE, 1, None);
    }
}

/// Waits until the command has taken a chunk, or for a moment. False if it is dead.
pub fn wait_for_command(taken: &AtomicU32) -> bool {
    // SAFETY: mapped, as there is a recording.
    let header = unsafe { &*SESSION.load(Ordering::Relaxed) };
    let before = taken.load(Ordering::Acquire);
    if !header.is_command_alive() {
        return false;
    }
    shared_futex(taken, libc::FUTEX_WAIT, before, Some(&MOMENT));
    true
}

/// Maps the session of that name, and claims a slot. Without it the process runs all the same. To
/// be called once, while the process has one thread.
pub fn join(name: &CStr) {
    let Some(header) = map(name) else { return };
    // SAFETY: the page is this library's own, and so is what it holds.
    let wipes = unsafe {
        libc::madvise((&raw const WIPED).cast_mut().cast(), PAGE_BYTES, libc::MADV_WIPEONFORK)
    };
    if wipes != 0 {
        return;
    }
    SESSION.store(header.cast_mut(), Ordering::Relaxed);
    let process = process_number();
    // SAFETY: takes nothing and can't fail.
    let is_global = process == unsafe { libc::getpid() } as u32;
    claim(process, if is_global { Slot::NUMBER_IS_GLOBAL } else { 0 });
}

/// Claims a slot for this process, a child of `fork`. No system call.
pub fn claim_in_child() {
    if is_watched() {
        claim(own_number(), 0);
    }
}

fn claim(process: u32, flags: u32) {
    // SAFETY: mapped by `join`, and never unmapped.
    let slot = unsafe { session::claim(SESSION.load(Ordering::Relaxed), process, flags) };
    let distance =
        slot.map_or(0, |slot| (&raw const *slot).addr().wrapping_sub((&raw const NOBODY).addr()));
    WIPED.distance.store(distance, Ordering::Relaxed);
    name_program();
}

/// Tells the command which program this is. At load the C library may not know it yet.
pub fn name_program() {
    slot().set_name(program_name().to_bytes());
}

/// Maps the whole session. System calls as such, since a library that wraps the C library's
/// functions may not be ready yet, or may allocate.
fn map(name: &CStr) -> Option<*const Header> {
    // SAFETY: the name is a C string.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::O_RDWR | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return None;
    }
    let mut header = MaybeUninit::<Header>::uninit();
    // SAFETY: read into `header`, which may hold any bytes.
    let total = unsafe {
        let read = libc::syscall(libc::SYS_read, fd, header.as_mut_ptr(), size_of::<Header>());
        if usize::try_from(read) == Ok(size_of::<Header>()) {
            header.assume_init_ref().total_bytes()
        } else {
            None
        }
    };
    let mapped = total.and_then(|bytes| {
        // SAFETY: a new mapping. The file can't be shortened, so all of it is there.
        let start = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd as c_int, 0)
        };
        let is_mapped = start != libc::MAP_FAILED;
        if is_mapped {
            // SAFETY: mapped just now; a core file of the program needs it not.
            unsafe { libc::madvise(start, bytes, libc::MADV_DONTDUMP) };
        }
        is_mapped.then_some(start.cast_const().cast())
    });
    // SAFETY: opened above.
    unsafe { libc::syscall(libc::SYS_close, fd) };
    mapped
}

/// This process's number where the session's name was looked up: in the namespace of `/proc`.
fn process_number() -> u32 {
    let mut text = [0_u8; 16];
    // SAFETY: the name is a C string and the text has that length.
    let len = unsafe {
        let name = c"/proc/self".as_ptr();
        libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, name, text.as_mut_ptr(), text.len())
    };
    let digits = text.iter().take(usize::try_from(len).unwrap_or(0));
    digits.fold(0, |number: u32, &digit| {
        number.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0')))
    })
}

/// The number of this thread, which is its process's in the child of a fork. The C library knows it
/// and makes the name of the thread's clock of it: its bits from the third on, inverted (Linux,
/// `include/linux/posix-timers.h`).
fn own_number() -> u32 {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: this thread lives; the answer is written to `clock`.
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    !(clock >> 3) as u32
}
