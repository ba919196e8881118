//! The command's side: creates the memory, and reads what processes have left in their slots.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::{CHUNK_BYTES, CHUNKS, Header, MODULES_BYTES, PAGE_BYTES, Recording, Slot};

/// Takes the full chunks of the process with this number of its claim. Called in their order; the
/// last one may be short.
pub type Sink = Box<dyn FnMut(u32, &[u8]) + Send>;

/// The memory of one session, and the slots that are in use.
pub struct Host {
    file: File,
    header: NonNull<Header>,
    slots: u32,
    slot_bytes: usize,
    /// By slot: the process that was seen in it.
    processes: HashMap<u32, Process>,
    ended: Vec<Report>,
    sink: Sink,
    chunk: Vec<u8>,
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
    /// Not all that it did was recorded.
    pub lost: bool,
    /// It may still run.
    pub running: bool,
    /// The pool's counters, in the order of [`PoolCounters`](super::PoolCounters).
    pub pool: PoolReport,
    /// Call sites: number and return address.
    pub sites: Vec<(u32, u64)>,
    /// The modules that were loaded, in the order in which they were met.
    pub modules: Vec<Module>,
}

/// A program or library in the memory of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Its first address.
    pub start: u64,
    /// The end of its addresses.
    pub end: u64,
    /// What its addresses are more than in its file.
    pub shift: u64,
    /// Its file.
    pub path: String,
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
    pub fn create(slots: u32, slot_bytes: usize, sink: Sink) -> io::Result<Self> {
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
        Ok(Self {
            file,
            header,
            slots,
            slot_bytes,
            processes: HashMap::new(),
            ended: Vec::new(),
            sink,
            chunk: vec![0; CHUNK_BYTES],
        })
    }

    /// Tells the processes that the calling thread is there to take what they record, until it
    /// ends in whatever way.
    pub fn attend(&self) {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        const { assert!(size_of::<libc::pthread_mutex_t>() <= 64) };
        // SAFETY: the header has room for the mutex, which nobody else locks, and lies in shared
        // memory. Should the thread end, the kernel marks its first word.
        unsafe {
            let mutex = (&raw const (*self.header.as_ptr()).command).cast_mut().cast();
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PROCESS_SHARED,
            );
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutex_init(mutex, attributes.as_ptr());
            libc::pthread_mutex_lock(mutex);
        }
    }

    fn header(&self) -> &Header {
        // SAFETY: mapped as long as `self` lives; what changes in it is atomic.
        unsafe { self.header.as_ref() }
    }

    /// Waits until a process has filled many chunks, or for `time`.
    pub fn wait(&self, time: std::time::Duration) {
        let Header { full_chunks, command_waits, .. } = self.header();
        let now = full_chunks.load(Ordering::SeqCst);
        command_waits.store(1, Ordering::SeqCst);
        let timeout =
            libc::timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        // SAFETY: the word and the time are live.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                full_chunks.as_ptr(),
                libc::FUTEX_WAIT,
                now,
                &raw const timeout,
            );
        }
        command_waits.store(0, Ordering::SeqCst);
    }

    /// Gives the sink what a process has recorded: full chunks, and the last one if it has ended.
    fn drain(&mut self, at: u32, order: u32, has_ended: bool) {
        if !self.header().records() {
            return;
        }
        let slot = &raw const *self.slot(at);
        // SAFETY: mapped as long as `self` lives, and the session records.
        let recording = unsafe { &*super::recording(&*slot) };
        let (filled, bytes) = Recording::split(recording.position.load(Ordering::Acquire));
        let mut taken = recording.taken.load(Ordering::Relaxed);
        // A process that overwrites its own recording can't make this loop.
        while filled.wrapping_sub(taken).wrapping_sub(1) < CHUNKS as u32 {
            let place = taken as usize % CHUNKS;
            let bytes = recording.lengths[place].load(Ordering::Relaxed) as usize;
            self.put(recording, place, order, bytes);
            taken = taken.wrapping_add(1);
            recording.taken.store(taken, Ordering::Release);
            wake(&recording.taken);
        }
        if has_ended {
            self.put(recording, filled as usize % CHUNKS, order, bytes);
        }
    }

    fn put(&mut self, recording: &Recording, place: usize, order: u32, bytes: usize) {
        let bytes = bytes.min(CHUNK_BYTES);
        // SAFETY: the chunk lies in the recording, and the process doesn't write there now. If it
        // does all the same, the bytes are wrong.
        unsafe {
            let chunk = recording.chunks.get().cast::<u8>().add(place * CHUNK_BYTES);
            chunk.copy_to_nonoverlapping(self.chunk.as_mut_ptr(), bytes);
        }
        if bytes > 0 {
            (self.sink)(order, &self.chunk[..bytes]);
        }
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
            self.drain(at, order, false);
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
                self.take(at, replaced, false);
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

    fn take(&mut self, at: u32, replaced: bool, running: bool) {
        self.drain(at, self.slot(at).order.load(Ordering::Relaxed), true);
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
            running,
            lost: slot.flags.load(Ordering::Relaxed) & Slot::LOST != 0,
            pool: PoolReport::of(&slot.pool),
            sites: self.sites(slot),
            modules: self.modules(slot),
        };
        self.ended.push(report);
        self.processes.remove(&at);
        self.free(at);
    }

    fn recording<'a>(&self, slot: &'a Slot) -> Option<&'a Recording> {
        // SAFETY: the session records, and the slot lies in it.
        self.header().records().then(|| unsafe { &*super::recording(slot) })
    }

    fn sites(&self, slot: &Slot) -> Vec<(u32, u64)> {
        let sites = self.recording(slot).map_or(&[][..], |recording| &recording.sites);
        let site = |place: &std::sync::atomic::AtomicU64| {
            let value = place.load(Ordering::Relaxed);
            let number = value as u32 & ((1 << Recording::NUMBER_BITS) - 1);
            (number != 0).then_some((number, value >> Recording::NUMBER_BITS))
        };
        sites.iter().filter_map(site).collect()
    }

    fn modules(&self, slot: &Slot) -> Vec<Module> {
        let Some(recording) = self.recording(slot) else { return Vec::new() };
        let filled = recording.modules_bytes.load(Ordering::Acquire) as usize;
        let mut bytes = vec![0; filled.min(MODULES_BYTES)];
        // SAFETY: the modules lie in the recording, and so much of them is filled.
        unsafe {
            let modules = recording.modules.get().cast::<u8>();
            modules.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
        }
        let mut rest = &bytes[..];
        let mut modules = Vec::new();
        while let Some((words, behind)) = rest.split_at_checked(32) {
            let (words, _) = words.as_chunks::<8>();
            let [start, end, shift, len] = [0, 1, 2, 3].map(|at| u64::from_ne_bytes(words[at]));
            let Some((path, behind)) = behind.split_at_checked(len as usize) else { break };
            let path = String::from_utf8_lossy(path).into_owned();
            modules.push(Module { start, end, shift, path });
            rest = behind;
        }
        modules
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

    /// Takes what all processes left, and gives all reports in the order in which the processes
    /// began; and how many processes found no slot. `all_ended`: none of them can still run.
    pub fn finish(&mut self, all_ended: bool) -> (Vec<Report>, u32) {
        self.look();
        for Claim { at, .. } in self.claimed() {
            self.take(at, false, !all_ended);
        }
        let mut reports = std::mem::take(&mut self.ended);
        reports.sort_by_key(|report| report.order);
        (reports, self.header().missed.load(Ordering::Relaxed))
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

/// Wakes who waits at the word, in whatever process.
fn wake(word: &std::sync::atomic::AtomicU32) {
    // SAFETY: the word is live.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

fn has_ended(handle: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: handle.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which is live.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}
