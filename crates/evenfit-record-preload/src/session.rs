//! The one recording of this process, behind one lock.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::mem::MaybeUninit;

use evenfit_trace::format::Header;
use evenfit_trace::recorder::Recorder;

use crate::file::{self, File};
use crate::table::Table;

/// What is lost at most where a program is killed.
const CHUNK_BYTES: usize = 16 << 10;
/// Call sites told apart, and threads; three quarters of it.
const SITES: usize = 1 << 16;
const THREADS: usize = 1 << 10;
/// Looking at the clock takes as long as some allocations, so it is done each so many events.
const EVENTS_PER_LOOK: u32 = 16;
/// Microseconds.
const TICK_HZ: u64 = 1_000_000;

type Sink = fn(&[u8]);

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Nothing was recorded yet.
    Fresh,
    Recording,
    /// The program has ended, or asked for no recording.
    Off,
}

struct Session {
    state: State,
    recorder: Option<Recorder<Sink, CHUNK_BYTES>>,
    sites: Table<SITES>,
    threads: Table<THREADS>,
    events_until_look: u32,
    begun: u64,
}

struct Global {
    lock: UnsafeCell<libc::pthread_mutex_t>,
    session: UnsafeCell<Session>,
    /// Beside the session, as the recorder calls for it in the midst of its own work.
    file: UnsafeCell<File>,
}

// SAFETY: session and file are touched only under the lock.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global {
    lock: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    session: UnsafeCell::new(Session {
        state: State::Fresh,
        recorder: None,
        sites: Table::new(),
        threads: Table::new(),
        events_until_look: 0,
        begun: 0,
    }),
    file: UnsafeCell::new(File::new()),
};

/// What happens to the recording.
pub(crate) enum Event {
    Alloc {
        address: usize,
        size: usize,
        align: usize,
    },
    AllocZeroed {
        address: usize,
        size: usize,
    },
    Free {
        address: usize,
    },
    Realloc {
        old: usize,
        new: usize,
        size: usize,
    },
}

/// Holds the lock.
pub(crate) struct Held(());

impl Held {
    pub(crate) fn new() -> Self {
        // SAFETY: the mutex is initialised and never moved.
        unsafe { libc::pthread_mutex_lock(GLOBAL.lock.get()) };
        Self(())
    }

    fn session(&mut self) -> &mut Session {
        // SAFETY: the lock is held, and the borrow ends with it.
        unsafe { &mut *GLOBAL.session.get() }
    }

    /// Records `event` of the call site `site`, a return address.
    pub(crate) fn record(&mut self, event: Event, site: usize) {
        let session = self.session();
        if session.state == State::Fresh {
            session.begin();
        }
        if session.state == State::Recording {
            session.record(event, site);
        }
    }

    /// Ends the recording, with the names of its call sites where they can be had.
    pub(crate) fn end(mut self) {
        let session = self.session();
        if session.state != State::Recording {
            session.state = State::Off;
            return;
        }
        session.state = State::Off;
        drop(self);
        // Nothing records any more. Naming asks the dynamic linker, which has locks and memory of its own: not under ours.
        name_sites();
        let mut held = Self::new();
        if let Some(recorder) = held.session().recorder.take() {
            recorder.finish();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: this holds the lock.
        unsafe { libc::pthread_mutex_unlock(GLOBAL.lock.get()) };
    }
}

/// The sink: called by the recorder, under the lock.
fn put(bytes: &[u8]) {
    // SAFETY: the lock is held, and nobody else has borrowed the file.
    unsafe { (*GLOBAL.file.get()).put(bytes) };
}

/// Looks up and writes every call site's name. The recording is off, so the session is this thread's alone.
fn name_sites() {
    for at in 0..SITES {
        // SAFETY: the recording is off and nobody else ends it: `end` has taken it from `Recording` under the lock.
        let session = unsafe { &mut *GLOBAL.session.get() };
        let (Some((address, id)), Some(recorder)) =
            (session.sites.entry(at), &mut session.recorder)
        else {
            continue;
        };
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: the address is only looked up; the answer is written to `found`, which is valid as zeroes too.
        let found = unsafe {
            // The call is before the address where it returns to.
            libc::dladdr((address - 1) as *const _, found.as_mut_ptr());
            found.assume_init()
        };
        let text = |text: *const libc::c_char| {
            // SAFETY: null or a C string of a library that is loaded.
            let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
            text.and_then(|text| text.to_str().ok()).unwrap_or("")
        };
        // Where the module has no symbol, its name and the place within it.
        let place = address - found.dli_fbase as u64;
        recorder.name_site(
            id,
            0,
            if found.dli_fbase.is_null() {
                address
            } else {
                place
            },
            text(found.dli_sname),
            text(found.dli_fname),
        );
    }
}

impl Session {
    fn begin(&mut self) {
        if file::wanted().is_none() {
            self.state = State::Off;
            return;
        }
        self.state = State::Recording;
        self.begun = microseconds();
        // malloc aligns for every basic type.
        let header = Header {
            tick_hz: TICK_HZ,
            default_align_log2: 4,
            address_shift: 4,
        };
        let mut recorder = Recorder::new(put as Sink, header);
        recorder.set_time(0);
        self.recorder = Some(recorder);
    }

    fn record(&mut self, event: Event, site: usize) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if self.events_until_look == 0 {
            self.events_until_look = EVENTS_PER_LOOK;
            recorder.set_time(microseconds() - self.begun);
        }
        self.events_until_look -= 1;
        // SAFETY: takes nothing and can't fail.
        recorder.set_thread(
            self.threads
                .number(unsafe { libc::pthread_self() } as u64)
                .saturating_sub(1),
        );
        if !matches!(event, Event::Free { .. }) {
            recorder.set_site(self.sites.number(site as u64));
        }
        match event {
            Event::Alloc {
                address,
                size,
                align,
            } => recorder.alloc(address as u64, size as u64, align as u64),
            Event::AllocZeroed { address, size } => {
                recorder.alloc_zeroed(address as u64, size as u64, 16)
            }
            Event::Free { address } => recorder.free(address as u64),
            Event::Realloc { old, new, size } => {
                recorder.realloc(old as u64, new as u64, size as u64)
            }
        }
    }

    /// A new recording in a child: the parent writes what was not yet written.
    fn restart(&mut self) {
        // SAFETY: the lock is held, and nobody else has borrowed the file.
        unsafe { (*GLOBAL.file.get()).forget() };
        self.recorder = None;
        if self.state == State::Recording {
            self.state = State::Fresh;
        }
    }
}

fn microseconds() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock exists and the answer is written to `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * TICK_HZ + now.tv_nsec as u64 / 1000
}

/// Before a fork: no thread is in the midst of an event, and the file is this process's, not the child's.
pub(crate) fn hold_across_fork() {
    let mut held = Held::new();
    if let Some(recorder) = &mut held.session().recorder {
        recorder.flush();
    }
    core::mem::forget(held);
}

/// After a fork, in the parent.
pub(crate) fn release_after_fork() {
    drop(Held(()));
}

/// After a fork, in the child: a recording of its own.
pub(crate) fn restart_in_child() {
    let mut held = Held(());
    held.session().restart();
    // SAFETY: the child has one thread, and nobody waits.
    unsafe { *GLOBAL.lock.get() = libc::PTHREAD_MUTEX_INITIALIZER };
    core::mem::forget(held);
}
