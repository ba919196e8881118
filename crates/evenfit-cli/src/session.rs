//! The memory that the command shares with the programs that it runs, and the thread that reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evenfit_trace::session::{
    Host, PAGE_BYTES, RECORD_SLOT_BYTES, RECORD_SLOTS, RUN_SLOTS, Report, Sink,
};

use crate::output::InputError;

/// How often slots of processes that have ended are emptied.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often what was recorded is taken, if no process is in a hurry.
const DRAIN_EVERY: Duration = Duration::from_millis(10);

/// A session before the program runs.
pub struct Session {
    host: Host,
    name: String,
    records: bool,
}

impl Session {
    /// For programs in pools.
    pub fn of_pools() -> Result<Self, InputError> {
        Self::create(Host::create(RUN_SLOTS, PAGE_BYTES, Box::new(|_, _| {})), false)
    }

    /// For programs that are recorded into `sink`.
    pub fn of_recordings(sink: Sink) -> Result<Self, InputError> {
        Self::create(Host::create(RECORD_SLOTS, RECORD_SLOT_BYTES, sink), true)
    }

    fn create(host: std::io::Result<Host>, records: bool) -> Result<Self, InputError> {
        let host = host
            .map_err(|error| InputError(format!("can't share memory with the program: {error}")))?;
        // This thread stays to the end.
        host.attend();
        Ok(Self { name: host.name(), host, records })
    }

    /// The value of the environment variable that names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads it from now on, in a thread of its own.
    pub fn watch(self) -> Watched {
        let Self { mut host, records, .. } = self;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let reader = thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                if records {
                    host.wait(DRAIN_EVERY);
                } else {
                    thread::park_timeout(LOOK_EVERY);
                }
                host.look();
            }
            host
        });
        Watched { is_over, reader }
    }
}

/// A session that is read.
pub struct Watched {
    is_over: Arc<AtomicBool>,
    reader: JoinHandle<Host>,
}

impl Watched {
    /// What all processes left, in the order in which they began; and how many found no slot.
    /// `all_ended`: none of them can still run.
    pub fn end(self, all_ended: bool) -> (Vec<Report>, u32) {
        self.is_over.store(true, Ordering::Release);
        self.reader.thread().unpark();
        match self.reader.join() {
            Ok(mut host) => host.finish(all_ended),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
