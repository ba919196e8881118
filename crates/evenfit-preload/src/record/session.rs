//! What this process records, written straight into the memory that it shares with the command.
//!
//! Nothing here is kept over a fork: the kernel wipes the page that says where to write, and frees
//! the lock with it. So there is no lock to take before a fork, and the child begins a recording of
//! its own with its first event.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use evenfit_trace::recorder::{ENTRY_BYTES_MAX, Encoder};
use evenfit_trace::session::{CHUNK_BYTES, CHUNKS, RECORDING_HEADER, Recording, Slot};

use super::clock;
use super::modules::Modules;
use super::sites;
use super::threads::Threads;
use crate::futex::this_thread;
use crate::session::{self, WIPED};

/// Reading the clock takes as long as some allocations, so only one in this many events does it.
const EVENTS_PER_LOOK: u32 = 16;
/// See the module.
pub(crate) struct Session {
    encoder: Encoder,
    /// As [`Recording::position`].
    position: u64,
    threads: Threads,
    pub(super) modules: Modules,
    /// The thread of the last event.
    last_thread: usize,
    /// The call site of the last event that had one.
    last_site: usize,
    events_until_look: u32,
    begun: u64,
}

struct Global(UnsafeCell<Session>);

// SAFETY: touched only under the lock.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global(UnsafeCell::new(Session {
    encoder: Encoder::new(RECORDING_HEADER),
    position: 0,
    threads: Threads::new(),
    modules: Modules::new(),
    last_thread: 0,
    last_site: 0,
    events_until_look: 0,
    begun: 0,
}));

/// Runs `f` on the session with the lock held.
#[inline(always)]
pub(crate) fn hold<R>(f: impl FnOnce(&mut Session) -> R) -> R {
    // SAFETY: the lock is held, and the borrow ends with it; `f` calls nothing that comes back here.
    WIPED.lock.hold(|| f(unsafe { &mut *GLOBAL.0.get() }))
}

/// Where this process records now.
pub(super) fn current() -> Option<&'static Recording> {
    // SAFETY: mapped until the process ends.
    unsafe { WIPED.recording.load(Ordering::Relaxed).as_ref() }
}

/// Runs `f` while this process, which has one thread, records nothing.
pub(super) fn unrecorded(f: impl FnOnce()) {
    let recording = WIPED.recording.swap(core::ptr::null_mut(), Ordering::Relaxed);
    let is_off = WIPED.is_off.swap(true, Ordering::Relaxed);
    f();
    WIPED.is_off.store(is_off, Ordering::Relaxed);
    WIPED.recording.store(recording, Ordering::Relaxed);
}

impl Session {
    /// Records an event; `site` is a return address, 0 where none matters. It is encoded into the
    /// room that it is given.
    #[inline(always)]
    pub(crate) fn record(
        &mut self,
        site: usize,
        encode: impl FnOnce(&mut Encoder, &mut [u8; ENTRY_BYTES_MAX]) -> usize,
    ) {
        let mut recording = WIPED.recording.load(Ordering::Relaxed);
        if recording.is_null() {
            recording = self.begin();
            if recording.is_null() {
                return;
            }
        }
        if self.events_until_look == 0 {
            self.look();
        }
        self.events_until_look -= 1;
        let thread = this_thread();
        if thread != self.last_thread {
            self.change_thread(thread);
        }
        // SAFETY: mapped until the process ends.
        let recording = unsafe { &*recording };
        if site != self.last_site && site != 0 {
            self.last_site = site;
            self.encoder.set_site(sites::number(recording, site, &mut self.modules));
        }
        let (mut filled, mut bytes) = Recording::split(self.position);
        if bytes > CHUNK_BYTES - ENTRY_BYTES_MAX {
            if !self.next_chunk(recording) {
                return;
            }
            (filled, bytes) = Recording::split(self.position);
        }
        // SAFETY: the chunk is this process's until it is full, the lock is held, and the room lies
        // in it.
        let room = unsafe {
            let chunk = recording.chunks.get().cast::<u8>();
            &mut *chunk.add(filled as usize % CHUNKS * CHUNK_BYTES + bytes).cast()
        };
        self.position += encode(&mut self.encoder, room) as u64;
        recording.position.store(self.position, Ordering::Release);
    }

    /// Where this process records; null if it doesn't.
    #[cold]
    #[inline(never)]
    fn begin(&mut self) -> *mut Recording {
        let recording = if WIPED.is_off.load(Ordering::Relaxed) {
            core::ptr::null_mut()
        } else {
            session::recording()
        };
        if recording.is_null() {
            WIPED.is_off.store(true, Ordering::Relaxed);
            return recording;
        }
        self.encoder = Encoder::new(RECORDING_HEADER);
        self.position = 0;
        self.threads = Threads::new();
        self.last_thread = 0;
        self.last_site = 0;
        self.events_until_look = 0;
        self.begun = clock::microseconds();
        // SAFETY: mapped until the process ends.
        self.modules.copy_to(unsafe { &*recording });
        WIPED.recording.store(recording, Ordering::Relaxed);
        recording
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        self.events_until_look = EVENTS_PER_LOOK;
        self.encoder.set_time(clock::microseconds() - self.begun);
    }

    #[cold]
    #[inline(never)]
    fn change_thread(&mut self, thread: usize) {
        self.last_thread = thread;
        let number = self.threads.number(thread);
        self.encoder.set_thread(number);
    }

    /// Goes on in the next chunk, once the command has taken what is in it. False if there is no
    /// command any more: then nothing more is recorded.
    #[cold]
    #[inline(never)]
    fn next_chunk(&mut self, recording: &Recording) -> bool {
        let (filled, bytes) = Recording::split(self.position);
        recording.lengths[filled as usize % CHUNKS].store(bytes as u32, Ordering::Relaxed);
        self.position = u64::from(filled.wrapping_add(1)) << 32;
        recording.position.store(self.position, Ordering::Release);
        let ahead = || filled.wrapping_add(1).wrapping_sub(recording.taken.load(Ordering::Acquire));
        session::chunk_is_full(ahead() as usize >= CHUNKS / 2);
        while ahead() as usize >= CHUNKS {
            if !session::wait_for_command(&recording.taken) {
                session::slot().flags.fetch_or(Slot::LOST, Ordering::Relaxed);
                WIPED.is_off.store(true, Ordering::Relaxed);
                WIPED.recording.store(core::ptr::null_mut(), Ordering::Relaxed);
                return false;
            }
        }
        true
    }
}
