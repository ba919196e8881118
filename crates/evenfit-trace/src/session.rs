//! The memory that `evenfit run` and `evenfit record` share with the programs they watch.
//!
//! The command creates the memory and names it in an environment variable. The preloaded library
//! maps it at load, claims a slot in it for its process, and writes there what the command is to
//! know. A child of `fork` claims the next free slot without a system call, since all of them are
//! mapped. The command reads the slots, also after the process has ended in whatever way.
//!
//! The program can write to this memory too, so the command validates everything in it.

use core::cell::UnsafeCell;
use core::mem::size_of;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(feature = "std")]
mod host;
#[cfg(feature = "std")]
pub use host::{Host, Module, Report, Sink};

/// The environment variable that names the memory: a file that can be opened.
pub const VARIABLE: &str = "EVENFIT_SESSION";
/// How many slots there are for programs that run in a pool.
pub const RUN_SLOTS: u32 = 1024;
/// How many slots there are for programs that are recorded.
pub const RECORD_SLOTS: u32 = 128;
/// Slots begin at multiples of this.
pub const PAGE_BYTES: usize = 4096;
/// The length of a chunk of events.
pub const CHUNK_BYTES: usize = 32 << 10;
/// How many chunks a process can fill before the command must have taken the first.
pub const CHUNKS: usize = 8;
/// How many places there are for call sites.
pub const SITES: usize = 1 << 15;
/// The header of what is recorded: malloc aligns for every basic type.
pub const RECORDING_HEADER: crate::format::Header =
    crate::format::Header { tick_hz: 1_000_000, default_align_log2: 4, address_shift: 4 };
/// What can be noted of the modules that call sites lie in.
pub const MODULES_BYTES: usize = 60 << 10;

/// What stands at the start of the memory.
#[repr(C)]
pub struct Header {
    /// [`Header::MAGIC`]. The library and the command may be of different versions.
    pub magic: [u8; 8],
    /// How many slots follow, from the next page on.
    pub slots: u32,
    /// The length of a slot in bytes: a multiple of a page.
    pub slot_bytes: u32,
    /// How many slots were claimed so far. Orders the images of one process.
    pub claims: AtomicU32,
    /// How many processes found no free slot.
    pub missed: AtomicU32,
    /// A robust mutex of the C library, held by the command: its first word.
    pub command: AtomicU32,
    /// The rest of the mutex.
    pub mutex: [AtomicU32; 15],
    /// How many chunks are full and not taken yet. The command waits here.
    pub full_chunks: AtomicU32,
    /// Not 0 while the command waits.
    pub command_waits: AtomicU32,
}

impl Header {
    /// What the memory begins with. The last character is the number of its form.
    pub const MAGIC: [u8; 8] = *b"evfsess1";

    /// Whether the processes are recorded: else they run in pools.
    pub fn records(&self) -> bool {
        self.slot_bytes as usize >= size_of::<Slot>() + size_of::<Recording>()
    }

    /// Whether the command still lives: the kernel marks the mutex of a thread that has ended.
    pub fn is_command_alive(&self) -> bool {
        const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
        let word = self.command.load(Ordering::Relaxed);
        word != 0 && word & FUTEX_OWNER_DIED == 0
    }

    /// The length of the whole memory in bytes, if it is what it says.
    pub fn total_bytes(&self) -> Option<usize> {
        let is_known = self.magic == Self::MAGIC && self.slot_bytes as usize >= size_of::<Slot>();
        let slots = (self.slots as usize).checked_mul(self.slot_bytes as usize)?;
        is_known.then(|| PAGE_BYTES + slots)
    }
}

/// One image of one process.
#[repr(C, align(4096))]
pub struct Slot {
    /// [`FREE`](Self::FREE) or [`CLAIMED`](Self::CLAIMED).
    pub state: AtomicU32,
    /// The number of the claim, from 1.
    pub order: AtomicU32,
    /// The process's number, as it sees it.
    pub process: AtomicU32,
    /// Bits of [`AT_EXIT`](Self::AT_EXIT) and so on.
    pub flags: AtomicU32,
    /// The program's name, ended by a 0 if it is shorter.
    pub name: [AtomicU8; 64],
    /// The pool's counters.
    pub pool: PoolCounters,
}

impl Slot {
    /// Nobody's.
    pub const FREE: u32 = 0;
    /// A process's.
    pub const CLAIMED: u32 = 1;

    /// The process has reached its exit, and the counters are those of that moment.
    pub const AT_EXIT: u32 = 1;
    /// The process's number is the same for the command: they are in one namespace.
    pub const NUMBER_IS_GLOBAL: u32 = 2;
    /// Not all events could be recorded.
    pub const LOST: u32 = 4;

    /// A slot of nobody, for a process that found none.
    pub const fn unclaimed() -> Self {
        Self {
            state: AtomicU32::new(0),
            order: AtomicU32::new(0),
            process: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            name: [const { AtomicU8::new(0) }; 64],
            pool: PoolCounters::new(),
        }
    }

    /// Sets the name, of which what is too long is cut off.
    pub fn set_name(&self, name: &[u8]) {
        let ended = name.iter().copied().chain(core::iter::repeat(0));
        for (place, byte) in self.name.iter().zip(ended) {
            place.store(byte, Ordering::Relaxed);
        }
    }
}

/// What a process records: follows its slot.
///
/// Chunks of events are filled in a ring, up to the last byte that has room for the longest event
/// behind it. The rest is what the command needs to find out the names of call sites.
#[repr(C)]
pub struct Recording {
    /// How many chunks were filled, in the upper half; in the lower, how many bytes of the next are.
    pub position: AtomicU64,
    /// How many chunks the command has taken. A process that needs room waits here.
    pub taken: AtomicU32,
    /// How much of `modules` is filled.
    pub modules_bytes: AtomicU32,
    /// How many call sites there are.
    pub sites_used: AtomicU32,
    /// The lengths of full chunks, by their place in the ring.
    pub lengths: [AtomicU32; CHUNKS],
    /// Of each module: where it was loaded from and to, by how much its addresses are shifted, the
    /// length of its path, each of 64 bits; and its path.
    pub modules: UnsafeCell<[u8; MODULES_BYTES]>,
    /// A hash table: the return address in the upper 48 bits, its number in the lower 16.
    pub sites: [AtomicU64; SITES],
    /// The chunks.
    pub chunks: UnsafeCell<[[u8; CHUNK_BYTES]; CHUNKS]>,
}

// SAFETY: the cells are reached by raw pointers only: a process writes where the command, which
// goes by `position`, `taken` and `modules_bytes`, doesn't read yet.
unsafe impl Sync for Recording {}

impl Recording {
    /// The bits of a place of `sites` that hold the number.
    pub const NUMBER_BITS: u32 = 16;

    /// A position's full chunks, and the bytes of the next.
    pub fn split(position: u64) -> (u32, usize) {
        ((position >> 32) as u32, position as u32 as usize)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a summary needs to know of a pool, in bytes and counts.
        #[repr(C)]
        pub struct PoolCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl PoolCounters {
            const fn new() -> Self {
                Self { $($name: AtomicU64::new(0),)* }
            }

            /// Copies all of them.
            pub fn copy_from(&self, other: &Self) {
                $(self.$name.store(other.$name.load(Ordering::Relaxed), Ordering::Relaxed);)*
            }

            /// What they are now.
            pub fn report(&self) -> PoolReport {
                PoolReport { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        /// The numbers of [`PoolCounters`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PoolReport {
            $($(#[$doc])* pub $name: u64,)*
        }
    };
}

counters! {
    /// What blocks can be cut from; 0 until there is a pool.
    pool_bytes,
    /// The bytes of the metadata beside it.
    metadata_bytes,
    /// The most that was ever in used blocks.
    peak_used_bytes,
    /// How much of the pool was ever used.
    touched_bytes,
    /// What is in used blocks, as of the last look.
    used_bytes,
    /// Live blocks, as of the last look.
    live_blocks,
    /// The largest request that would have succeeded at the last look.
    largest_free_bytes,
    /// Requests that failed.
    failed_requests,
    /// The smallest of them, in bytes; 0 if there is none.
    smallest_failure_bytes,
    /// Frees that were refused.
    refused_frees,
}

/// The touched part of a pool, and the part of the metadata that describes it.
pub fn footprint_bytes(pool_bytes: u64, metadata_bytes: u64, touched_bytes: u64) -> u64 {
    let share = metadata_bytes as u128 * touched_bytes as u128 / pool_bytes.max(1) as u128;
    touched_bytes + share as u64
}

/// The slot of index `at`.
///
/// # Safety
/// `header` is the start of a session's memory, all of which is mapped, and `at` is less than its
/// number of slots.
pub unsafe fn slot(header: *const Header, at: u32) -> *const Slot {
    // SAFETY: as promised by the caller, the slot lies in the memory.
    unsafe {
        let first = header.byte_add(PAGE_BYTES);
        first.byte_add((*header).slot_bytes as usize * at as usize).cast()
    }
}

/// What follows a slot of a session that records.
///
/// # Safety
/// The slot is one of a session whose header says that it records.
pub unsafe fn recording(slot: &Slot) -> *const Recording {
    // SAFETY: as promised by the caller, it lies in the same memory.
    unsafe { (&raw const *slot).add(1).cast() }
}

/// The length of a slot with its recording, in bytes.
pub const RECORD_SLOT_BYTES: usize =
    (size_of::<Slot>() + size_of::<Recording>()).next_multiple_of(PAGE_BYTES);

/// Claims a free slot, if there is one.
///
/// # Safety
/// As for [`slot`], for the lifetime that is returned.
pub unsafe fn claim<'a>(header: *const Header, process: u32, flags: u32) -> Option<&'a Slot> {
    // SAFETY: as promised by the caller.
    let (claims, missed, slots) =
        unsafe { (&(*header).claims, &(*header).missed, (*header).slots) };
    let order = claims.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    for at in 0..slots {
        // SAFETY: less than the number of slots.
        let slot = unsafe { &*slot(header, order.wrapping_add(at) % slots) };
        let (free, claimed) = (Slot::FREE, Slot::CLAIMED);
        if slot.order.load(Ordering::Relaxed) == 0
            && slot
                .state
                .compare_exchange(free, claimed, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            slot.process.store(process, Ordering::Relaxed);
            slot.flags.store(flags, Ordering::Relaxed);
            slot.order.store(order, Ordering::Release);
            return Some(slot);
        }
    }
    missed.fetch_add(1, Ordering::Relaxed);
    None
}

const _: () = assert!(size_of::<Header>() <= PAGE_BYTES && size_of::<Slot>() == PAGE_BYTES);
