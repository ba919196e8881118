//! One step of a recorded program.

use core::alloc::Layout;

/// A call of the program to its allocator. Blocks are named by `id`: 0, 1, 2, ... in the order of
/// their allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new block.
    Alloc {
        /// The new block's id: the number of allocations before it.
        id: u32,
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, as a power of two.
        align_log2: u8,
        /// Whether the bytes had to be zero.
        zeroed: bool,
    },
    /// A live block is freed.
    Free {
        /// The block.
        id: u32,
    },
    /// A live block changes its size and keeps its id and alignment.
    Realloc {
        /// The block.
        id: u32,
        /// Bytes asked for now.
        new_size: u64,
    },
}

/// A trace in memory is mostly these.
const _: () = assert!(size_of::<Event>() == 16);

impl Event {
    /// The block this event is about.
    pub fn id(&self) -> u32 {
        match *self {
            Event::Alloc { id, .. } | Event::Free { id } | Event::Realloc { id, .. } => id,
        }
    }

    /// The layout an allocation asks for; `None` for other events, and where this machine's
    /// `Layout` can't hold it.
    pub fn layout(&self) -> Option<Layout> {
        match *self {
            Event::Alloc { size, align_log2, .. } => {
                let align = 1usize.checked_shl(align_log2 as u32)?;
                Layout::from_size_align(usize::try_from(size).ok()?, align).ok()
            }
            _ => None,
        }
    }
}

/// An event and when, in which thread and at which call site it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// Ticks since the recording began; 0 throughout where no time was recorded.
    pub time: u64,
    /// Which thread: numbers the recorder gave; 0 throughout for a single thread.
    pub thread: u32,
    /// Call site: a number the recorder gave; 0 where unknown.
    pub site: u32,
}

impl From<Event> for Record {
    fn from(event: Event) -> Self {
        Record { event, time: 0, thread: 0, site: 0 }
    }
}

/// A call site: where in the program an event came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The number events use; not 0.
    pub id: u32,
    /// The site that called this one; 0 if unknown.
    pub parent: u32,
    /// The return address in the program; 0 if unknown.
    pub address: u64,
    /// The function's name; empty if unknown.
    pub name: String,
    /// File and line or the like; empty if unknown.
    pub location: String,
}
