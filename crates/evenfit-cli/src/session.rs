//! The memory that the command shares with the programs that it runs, and the thread that reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evenfit_trace::session::{Host, PAGE_BYTES, RUN_SLOTS, Report};

use crate::output::InputError;

/// How often slots of processes that have ended are emptied.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A session before the program runs.
pub struct Session {
    host: Host,
    name: String,
}

impl Session {
    pub fn create() -> Result<Self, InputError> {
        let host = Host::create(RUN_SLOTS, PAGE_BYTES)
            .map_err(|error| InputError(format!("can't share memory with the program: {error}")))?;
        Ok(Self { name: host.name(), host })
    }

    /// The value of the environment variable that names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads it from now on, in a thread of its own.
    pub fn watch(self) -> Watched {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut host = self.host;
        let over = is_over.clone();
        let reader = thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                thread::park_timeout(LOOK_EVERY);
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
    pub fn end(self) -> (Vec<Report>, u32) {
        self.is_over.store(true, Ordering::Release);
        self.reader.thread().unpark();
        match self.reader.join() {
            Ok(host) => host.finish(),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
