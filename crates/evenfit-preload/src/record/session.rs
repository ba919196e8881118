//! The one recording of this process, behind one lock.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::mem::MaybeUninit;

use evenfit_trace::format::Header;
use evenfit_trace::recorder::Recorder;

use super::file::{self, File};
use super::table::Table;
use crate::futex::{Futex, this_thread};

/// The most bytes that are lost when a program is killed.
const CHUNK_BYTES: usize = 16 << 10;
/// The size of the tables of call sites and of threads, of which three quarters can be used.
const SITES: usize = 1 << 16;
const THREADS: usize = 1 << 10;
/// Reading the clock takes as long as some allocations, so only one in this many events does it.
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

/// See the module.
pub(crate) struct Session {
    state: State,
    recorder: Option<Recorder<Sink, CHUNK_BYTES>>,
    sites: Table<SITES>,
    threads: Table<THREADS>,
    /// The thread of the last event.
    last_thread: usize,
    /// The call site of the last event that had one.
    last_site: usize,
    events_until_look: u32,
    begun: u64,
}

struct Global {
    lock: Futex,
    session: UnsafeCell<Session>,
    /// Not part of the session, because the recorder uses it while the session is borrowed.
    file: UnsafeCell<File>,
}

// SAFETY: session and file are touched only under the lock.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global {
    lock: Futex::new(),
    session: UnsafeCell::new(Session {
        state: State::Fresh,
        recorder: None,
        sites: Table::new(),
        threads: Table::new(),
        last_thread: 0,
        last_site: 0,
        events_until_look: 0,
        begun: 0,
    }),
    file: UnsafeCell::new(File::new()),
};

/// Runs `f` on the session with the lock held.
#[inline(always)]
pub(crate) fn hold<R>(f: impl FnOnce(&mut Session) -> R) -> R {
    // SAFETY: the lock is held, and the borrow ends with it. A fork handler that allocates while
    // its own thread holds the lock comes in too, but not from within `f`, which calls nothing but
    // the C library's allocator and write.
    GLOBAL.lock.hold(|| f(unsafe { &mut *GLOBAL.session.get() }))
}

/// Ends the recording, with the names of its call sites where they can be had.
pub(crate) fn end() {
    let was_recording = hold(|session| {
        let before = session.state;
        session.state = State::Off;
        before == State::Recording
    });
    if !was_recording {
        return;
    }
    // Nothing records any more. Naming asks the dynamic linker, which has locks and memory of its
    // own: not under ours.
    name_sites();
    hold(|session| {
        if let Some(recorder) = session.recorder.take() {
            recorder.finish();
        }
    });
}

/// The sink: called by the recorder, under the lock.
fn put(bytes: &[u8]) {
    // SAFETY: the lock is held, and nobody else has borrowed the file.
    unsafe { (*GLOBAL.file.get()).put(bytes) };
}

/// Looks up and writes every call site's name. The recording is off, so the session is this
/// thread's alone.
fn name_sites() {
    for at in 0..SITES {
        // SAFETY: the recording is off and nobody else ends it: `end` has taken it from `Recording`
        // under the lock.
        let session = unsafe { &mut *GLOBAL.session.get() };
        let (Some((address, id)), Some(recorder)) =
            (session.sites.entry(at), &mut session.recorder)
        else {
            continue;
        };
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: the address is only looked up; the answer is written to `found`, which is valid
        // as zeroes too.
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
            if found.dli_fbase.is_null() { address } else { place },
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
        let header = Header { tick_hz: TICK_HZ, default_align_log2: 4, address_shift: 4 };
        let mut recorder = Recorder::new(put as Sink, header);
        recorder.set_time(0);
        self.recorder = Some(recorder);
    }

    /// The recorder, told when and where the next event happens; `site` is a return address, 0
    /// where none matters. `None`: nothing is recorded.
    #[inline(always)]
    pub(crate) fn recorder(&mut self, site: usize) -> Option<&mut Recorder<Sink, CHUNK_BYTES>> {
        if self.state != State::Recording && !self.begins() {
            return None;
        }
        if self.events_until_look == 0 {
            self.look();
        }
        self.events_until_look -= 1;
        let thread = this_thread();
        if thread != self.last_thread {
            self.change_thread(thread);
        }
        if site != self.last_site && site != 0 {
            self.change_site(site);
        }
        self.recorder.as_mut()
    }

    #[cold]
    #[inline(never)]
    fn begins(&mut self) -> bool {
        if self.state == State::Fresh {
            self.begin();
        }
        self.state == State::Recording
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        self.events_until_look = EVENTS_PER_LOOK;
        if let Some(recorder) = &mut self.recorder {
            recorder.set_time(microseconds() - self.begun);
        }
    }

    #[cold]
    #[inline(never)]
    fn change_thread(&mut self, thread: usize) {
        self.last_thread = thread;
        let number = self.threads.number(thread as u64).saturating_sub(1);
        if let Some(recorder) = &mut self.recorder {
            recorder.set_thread(number);
        }
    }

    #[inline(always)]
    fn change_site(&mut self, site: usize) {
        self.last_site = site;
        let number = self.sites.number(site as u64);
        if let Some(recorder) = &mut self.recorder {
            recorder.set_site(number);
        }
    }

    /// A new recording in a child: the parent writes what was not yet written.
    fn restart(&mut self) {
        // SAFETY: the lock is held, and nobody else has borrowed the file.
        unsafe { (*GLOBAL.file.get()).forget() };
        self.recorder = None;
        self.last_thread = 0;
        self.last_site = 0;
        self.events_until_look = 0;
        if self.state == State::Recording {
            self.state = State::Fresh;
        }
    }
}

fn microseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the answer is written to `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * TICK_HZ + now.tv_nsec as u64 / 1000
}

/// Before a fork: no thread is recording an event, and the first file is this process's, not
/// the child's.
pub(crate) fn hold_across_fork() {
    hold(|session| {
        if let Some(recorder) = &mut session.recorder {
            recorder.flush();
        }
    });
    GLOBAL.lock.hold_across_fork();
}

/// After a fork, in the parent.
pub(crate) fn release_after_fork() {
    GLOBAL.lock.release_after_fork(|| {});
}

/// After a fork, in the child: a recording of its own.
pub(crate) fn restart_in_child() {
    GLOBAL.lock.reset_in_child();
    hold(Session::restart);
}
