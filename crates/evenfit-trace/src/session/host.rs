//! The command's side: creates the memory, and reads what processes have left in their slots.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::{Header, PAGE_BYTES, Slot};

/// The memory of one session, and the slots that are in use.
pub struct Host {
    file: File,
    header: NonNull<Header>,
    slots: u32,
    slot_bytes: usize,
    /// By slot: the process that was seen in it.
    processes: HashMap<u32, Process>,
    ended: Vec<Report>,
}

// SAFETY: the memory is reached through atomics, and stays mapped as long as the host lives.
unsafe impl Send for Host {}

/// A process that has claimed a slot.
enum Process {
    /// Readable once the process has ended.
    Handle(OwnedFd),
    /// There is no process of that number.
    None,
    /// The system couldn't say.
    Unknown,
}

impl Process {
    fn open(id: u32) -> Self {
        // SAFETY: no memory is involved, and the descriptor is new.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, id as libc::pid_t, 0);
            if fd >= 0 {
                return Self::Handle(OwnedFd::from_raw_fd(fd as i32));
            }
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::ESRCH) => Self::None,
            _ => Self::Unknown,
        }
    }
}

/// A slot in use.
struct Claim {
    at: u32,
    process: u32,
    order: u32,
    flags: u32,
}

impl Claim {
    fn is_global(&self) -> bool {
        self.flags & Slot::NUMBER_IS_GLOBAL != 0
    }
}

/// What one image of one process left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The program's name.
    pub program: String,
    /// The process's number, as it sees it.
    pub process_id: u32,
    /// The number of its claim: orders the images of one process.
    pub order: u32,
    /// It came to its exit: the counters are those of that moment.
    pub at_exit: bool,
    /// Another program took its place (`exec`).
    pub replaced: bool,
    /// The pool's counters, in the order of [`PoolCounters`](super::PoolCounters).
    pub pool: PoolReport,
}

macro_rules! pool_report {
    ($($name:ident,)*) => {
        /// A copy of [`PoolCounters`](super::PoolCounters), which see.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs, reason = "as in PoolCounters")]
        pub struct PoolReport {
            $(pub $name: u64,)*
        }

        impl PoolReport {
            fn of(counters: &super::PoolCounters) -> Self {
                Self { $($name: counters.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

pool_report! {
    pool_bytes,
    metadata_bytes,
    peak_used_bytes,
    touched_bytes,
    used_bytes,
    live_blocks,
    largest_free_bytes,
    failed_requests,
    smallest_failure_bytes,
    refused_frees,
}

impl Host {
    /// Creates the memory. What is not used of it takes no room.
    ///
    /// # Errors
    /// The system refuses.
    pub fn create(slots: u32, slot_bytes: usize) -> io::Result<Self> {
        let len = PAGE_BYTES + slots as usize * slot_bytes;
        // SAFETY: the name is a C string; the descriptor is new, and the file's alone.
        let file = unsafe {
            let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
            let fd = libc::memfd_create(c"evenfit-session".as_ptr(), flags);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(fd)
        };
        file.set_len(len as u64)?;
        // Nobody can shorten it under the eyes of the others.
        // SAFETY: no memory is involved.
        let base = unsafe {
            let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
            libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        let header = NonNull::new(base.cast::<Header>())
            .filter(|_| base != libc::MAP_FAILED)
            .ok_or_else(io::Error::last_os_error)?;
        // SAFETY: nobody else knows the memory yet; all other fields begin as 0.
        unsafe {
            (*header.as_ptr()).slots = slots;
            (*header.as_ptr()).slot_bytes = slot_bytes as u32;
            (*header.as_ptr()).magic = Header::MAGIC;
        }
        Ok(Self { file, header, slots, slot_bytes, processes: HashMap::new(), ended: Vec::new() })
    }

    /// The value of [`VARIABLE`](super::VARIABLE): a file that can be opened as long as the host's
    /// process lives.
    pub fn name(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    fn slot(&self, at: u32) -> &Slot {
        // SAFETY: mapped as long as `self` lives, and the caller's number is below `self.slots`.
        unsafe {
            let first = self.header.as_ptr().byte_add(PAGE_BYTES);
            &*first.byte_add(self.slot_bytes * at as usize).cast()
        }
    }

    /// Takes what processes that have ended left, and frees their slots. To be called now and then,
    /// so that there are always free slots.
    pub fn look(&mut self) {
        let claimed = self.claimed();
        for &Claim { at, process, order, .. } in &claimed {
            let replaced = claimed
                .iter()
                .any(|other| other.process == process && other.order > order && other.is_global());
            // Looked at before the process: what it said before it ended is seen then.
            let said_end = self.slot(at).flags.load(Ordering::Acquire)
                & (Slot::AT_EXIT | Slot::NUMBER_IS_GLOBAL)
                != 0;
            let has_ended = match self.processes.entry(at).or_insert_with(|| Process::open(process))
            {
                Process::Handle(handle) => has_ended(handle),
                // It may be in another namespace, where its number is another.
                Process::None => said_end,
                Process::Unknown => false,
            };
            if replaced || has_ended {
                self.take(at, replaced);
            } else if matches!(self.processes[&at], Process::Unknown) {
                self.processes.remove(&at);
            }
        }
    }

    /// All that are claimed, in the order of their claims.
    fn claimed(&self) -> Vec<Claim> {
        let claim = |at| {
            let slot = self.slot(at);
            let order = slot.order.load(Ordering::Acquire);
            let process = slot.process.load(Ordering::Relaxed);
            let flags = slot.flags.load(Ordering::Relaxed);
            (order != 0).then_some(Claim { at, process, order, flags })
        };
        let mut claimed: Vec<_> = (0..self.slots).filter_map(claim).collect();
        claimed.sort_by_key(|claim| claim.order);
        claimed
    }

    fn take(&mut self, at: u32, replaced: bool) {
        let slot = self.slot(at);
        let name: Vec<u8> = slot.name.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let program = String::from_utf8_lossy(name).replace(char::is_control, "");
        let report = Report {
            program,
            process_id: slot.process.load(Ordering::Relaxed),
            order: slot.order.load(Ordering::Relaxed),
            at_exit: slot.flags.load(Ordering::Relaxed) & Slot::AT_EXIT != 0,
            replaced,
            pool: PoolReport::of(&slot.pool),
        };
        self.ended.push(report);
        self.processes.remove(&at);
        self.free(at);
    }

    /// Fills the slot with zeroes: it is free again.
    fn free(&self, at: u32) {
        let offset = PAGE_BYTES + self.slot_bytes * at as usize;
        // SAFETY: no memory is involved but the slot's, of which nobody knows any more.
        unsafe {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            libc::fallocate(
                self.file.as_raw_fd(),
                mode,
                offset as libc::off_t,
                self.slot_bytes as libc::off_t,
            );
        }
    }

    /// Takes what all processes left, also those that may still run, and gives all reports in the
    /// order in which the processes began; and how many processes found no slot.
    pub fn finish(mut self) -> (Vec<Report>, u32) {
        self.look();
        for Claim { at, .. } in self.claimed() {
            self.take(at, false);
        }
        let mut reports = std::mem::take(&mut self.ended);
        reports.sort_by_key(|report| report.order);
        // SAFETY: mapped as long as `self` lives.
        let missed = unsafe { self.header.as_ref() }.missed.load(Ordering::Relaxed);
        (reports, missed)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: mapped by `create`, and no reference to it outlives the host.
        unsafe {
            let len = PAGE_BYTES + self.slots as usize * self.slot_bytes;
            libc::munmap(self.header.as_ptr().cast(), len);
        }
    }
}

fn has_ended(handle: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: handle.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which is live.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}
