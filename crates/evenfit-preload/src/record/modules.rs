//! The programs and libraries that call sites lie in: the command finds out the names from their
//! files.

use core::ffi::{CStr, c_int, c_void};
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use evenfit_trace::session::{MODULES_BYTES, Recording};

use super::{libc_function, session};

/// As [`Recording::modules`], kept here too: the child of a fork has the same modules.
pub(super) struct Modules {
    bytes: [u8; MODULES_BYTES],
    len: usize,
}

/// `struct dl_find_object` of glibc 2.35 (`dlfcn.h`), as far as it is used.
#[repr(C)]
struct Found {
    flags: u64,
    start: usize,
    end: usize,
    map: *const LinkMap,
    rest: [u64; 12],
}

/// The beginning of `struct link_map` (`link.h`).
#[repr(C)]
struct LinkMap {
    shift: usize,
    path: *const libc::c_char,
}

type FindObject = unsafe extern "C" fn(*const c_void, *mut Found) -> c_int;

/// glibc's `_dl_find_object`, which takes no lock; null before 2.35, where modules that are loaded
/// later have no names.
static FIND_OBJECT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// To be called at load, without the lock.
pub(super) fn find() {
    FIND_OBJECT.store(libc_function(c"_dl_find_object"), Ordering::Relaxed);
}

/// Notes all modules that are loaded. To be called at load, without the lock.
pub(super) fn note_all() {
    // SAFETY: the function fits, and lives as long as the program.
    unsafe { libc::dl_iterate_phdr(Some(note), ptr::null_mut()) };
}

unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the loader's own record of a module, with its headers.
    let (info, headers) = unsafe {
        let info = &*info;
        (info, core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    let shift = info.dlpi_addr as usize;
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let bounds = loaded.fold((usize::MAX, 0), |(start, end): (usize, usize), header| {
        let first = shift.wrapping_add(header.p_vaddr as usize);
        (start.min(first), end.max(first.wrapping_add(header.p_memsz as usize)))
    });
    // SAFETY: null or a C string.
    let path = unsafe { text(info.dlpi_name) };
    let mut own = [0; 4096];
    // The program itself has no name here.
    let path = if path.is_empty() { program(&mut own) } else { path };
    session::hold(|session| session.modules.add(None, bounds, shift, path));
    0
}

/// The program's file.
fn program(buffer: &mut [u8; 4096]) -> &[u8] {
    // SAFETY: the name is a C string, and the buffer has that length.
    let len = unsafe {
        let name = c"/proc/self/exe".as_ptr();
        libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, name, buffer.as_mut_ptr(), buffer.len())
    };
    &buffer[..usize::try_from(len).unwrap_or(0)]
}

/// # Safety
/// Null or a C string.
unsafe fn text<'a>(text: *const libc::c_char) -> &'a [u8] {
    // SAFETY: as promised by the caller.
    if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}

impl Modules {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; MODULES_BYTES], len: 0 }
    }

    /// Gives a new recording all that is known.
    pub(super) fn copy_to(&self, recording: &Recording) {
        // SAFETY: the recording is this process's, and nothing is read of it yet.
        unsafe {
            let place = recording.modules.get().cast::<u8>();
            place.copy_from_nonoverlapping(self.bytes.as_ptr(), self.len);
        }
        recording.modules_bytes.store(self.len as u32, Ordering::Release);
    }

    /// Notes the module that an address lies in, if it is new.
    pub(super) fn note_that_of(&mut self, recording: &Recording, address: usize) {
        let function = FIND_OBJECT.load(Ordering::Relaxed);
        if function.is_null() {
            return;
        }
        let mut found = MaybeUninit::<Found>::zeroed();
        // SAFETY: the function of this name; what it finds is live, as it has called.
        let found = unsafe {
            let find = mem::transmute::<*mut c_void, FindObject>(function);
            if find(ptr::without_provenance(address - 1), found.as_mut_ptr()) != 0 {
                return;
            }
            found.assume_init()
        };
        // SAFETY: the module is loaded, as its code has called.
        let (shift, path) = unsafe { ((*found.map).shift, text((*found.map).path)) };
        if !path.is_empty() && !self.has(found.start, path) {
            self.add(Some(recording), (found.start, found.end), shift, path);
        }
    }

    /// Whether the module that was noted last for an address is this one.
    fn has(&self, start: usize, path: &[u8]) -> bool {
        let mut rest = &self.bytes[..self.len];
        let mut has = false;
        while let Some((words, behind)) = rest.split_at_checked(32) {
            let word =
                |at: usize| words[at..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
            let Some((known, behind)) = behind.split_at_checked(word(24) as usize) else { break };
            if (word(0)..word(8)).contains(&(start as u64)) {
                has = known == path;
            }
            rest = behind;
        }
        has
    }

    /// Notes a module, in the recording too if there is one. Without room it stays without a name.
    fn add(
        &mut self,
        recording: Option<&Recording>,
        (start, end): (usize, usize),
        shift: usize,
        path: &[u8],
    ) {
        let from = self.len;
        let Some(room) = self.bytes[from..].get_mut(..32 + path.len()) else { return };
        let (words, behind) = room.split_at_mut(32);
        for (place, word) in words.chunks_mut(8).zip([start, end, shift, path.len()]) {
            place.copy_from_slice(&(word as u64).to_ne_bytes());
        }
        behind.copy_from_slice(path);
        self.len += 32 + path.len();
        if let Some(recording) = recording.or(session::current()) {
            // SAFETY: the lock is held, and the command doesn't read behind the old length yet.
            unsafe {
                let place = recording.modules.get().cast::<u8>().add(from);
                place.copy_from_nonoverlapping(self.bytes.as_ptr().add(from), self.len - from);
            }
            recording.modules_bytes.store(self.len as u32, Ordering::Release);
        }
    }
}
