//! Why a call was refused. Every refusal leaves the heap and the pool as they were.

use core::fmt;

/// Why a heap could not be built over a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitError {
    /// The region can't hold the metadata and a block.
    RegionTooSmall {
        /// The length of the region handed over, in bytes.
        len_bytes: usize,
        /// A length, in bytes, that suffices whatever the region's alignment.
        min_bytes: usize,
    },
    /// The region has more granules than the geometry can number.
    RegionTooLarge {
        /// The length of the region handed over, in bytes.
        len_bytes: usize,
        /// The longest region this geometry can manage, in bytes.
        max_bytes: usize,
    },
    /// The heap has its memory already.
    AlreadyBuilt,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RegionTooSmall { len_bytes, min_bytes } => write!(
                f,
                "a region of {len_bytes} bytes is too small for a pool: hand over at least {min_bytes}"
            ),
            Self::RegionTooLarge { len_bytes, max_bytes } => write!(
                f,
                "a region of {len_bytes} bytes has more granules than the links can number: \
                 at most {max_bytes} bytes, or choose a wider geometry"
            ),
            Self::AlreadyBuilt => f.write_str("the heap has its memory already"),
        }
    }
}

impl core::error::Error for InitError {}

/// Why a request for memory failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocError {
    /// The request is larger than the whole pool: it can never succeed here.
    TooLarge,
    /// No free block is large enough now, or none at the alignment asked for.
    OutOfMemory,
    /// A free block was found overwritten. Nothing was changed; [`Heap::check`](crate::Heap::check)
    /// says where.
    Corrupt,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request is larger than the whole pool",
            Self::OutOfMemory => "no free block is large enough for the request",
            Self::Corrupt => "a free block was overwritten: something wrote to memory it had freed",
        })
    }
}

impl core::error::Error for AllocError {}

/// Why a pointer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreeError {
    /// The pointer is not inside this pool.
    OutsidePool,
    /// The pointer is inside the pool but is not the start of a block: an interior pointer, or a
    /// block that was freed and is now part of a longer free one.
    NotABlock,
    /// The memory at the pointer is free already: a double free.
    AlreadyFree,
    /// A live block starts here, but it can't be a block of this layout.
    WrongLayout,
    /// A free block beside this one was found overwritten. Nothing was changed.
    Corrupt,
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutsidePool => "the pointer is not inside this pool",
            Self::NotABlock => "the pointer is not the start of a block",
            Self::AlreadyFree => "the block is free already (double free)",
            Self::WrongLayout => "the block was allocated with another layout",
            Self::Corrupt => "a free block was overwritten: something wrote to memory it had freed",
        })
    }
}

impl core::error::Error for FreeError {}

/// Why a reallocation failed. The old block is still live and unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReallocError {
    /// The new block could not be allocated.
    Alloc(AllocError),
    /// The old pointer or layout was refused.
    Free(FreeError),
}

impl fmt::Display for ReallocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alloc(e) => fmt::Display::fmt(e, f),
            Self::Free(e) => fmt::Display::fmt(e, f),
        }
    }
}

impl core::error::Error for ReallocError {}

impl From<AllocError> for ReallocError {
    fn from(e: AllocError) -> Self {
        Self::Alloc(e)
    }
}

impl From<FreeError> for ReallocError {
    fn from(e: FreeError) -> Self {
        Self::Free(e)
    }
}

/// The first thing that [`Heap::check`](crate::Heap::check) found wrong. Offsets are in bytes from
/// the pool's first granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// The map has no block where one must start, a block without an end, or a mark behind the top.
    Mark {
        /// The offset at which a block must start.
        offset_bytes: usize,
    },
    /// The marks of two blocks that follow each other disagree, or both blocks are free.
    Neighbour {
        /// The start of the later of the two.
        offset_bytes: usize,
    },
    /// The map has a mark inside a block, or lacks one of the marks of a free block.
    InnerMark {
        /// The block's start.
        offset_bytes: usize,
    },
    /// A free block's links or its footer were overwritten, or its neighbours in the list don't
    /// point back to it.
    Link {
        /// The free block's start.
        offset_bytes: usize,
    },
    /// A slab's descriptor was overwritten: its class, its free slots or its links are
    /// inconsistent.
    Slab {
        /// The slab's start.
        offset_bytes: usize,
    },
    /// The list of a class of slabs doesn't have exactly the slabs with a free slot, or the class's
    /// counter is wrong.
    SlabList {
        /// The number of the class, from 1 on. The number after the last class stands for all
        /// classes.
        class: usize,
    },
    /// A bin is marked as filled and its list is empty, or the other way round. Or the list doesn't
    /// have exactly the free blocks of the bin's sizes.
    Bin {
        /// The bin's number.
        bin: usize,
    },
    /// Of [`FirstFit`](crate::FirstFit) only: a block's header is impossible.
    Header {
        /// The block's start.
        offset_bytes: usize,
    },
    /// The blocks that the map shows don't add up to the heap's counters.
    Counters {
        /// Bytes in used blocks, as counted.
        counted_bytes: usize,
        /// Bytes in used blocks, as the heap remembers.
        remembered_bytes: usize,
    },
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mark { offset_bytes } => {
                write!(
                    f,
                    "the map was overwritten: no block's mark makes sense at offset {offset_bytes}"
                )
            }
            Self::Neighbour { offset_bytes } => {
                write!(
                    f,
                    "the map was overwritten: the block at offset {offset_bytes} and the one before it disagree"
                )
            }
            Self::InnerMark { offset_bytes } => {
                write!(f, "the map was overwritten inside the block at offset {offset_bytes}")
            }
            Self::Link { offset_bytes } => write!(
                f,
                "the free block at offset {offset_bytes} was overwritten, or a neighbour in its list was: look for writes after free"
            ),
            Self::Slab { offset_bytes } => {
                write!(f, "the descriptor of the slab at offset {offset_bytes} was overwritten")
            }
            Self::SlabList { class } => {
                write!(f, "the slabs of class {class} don't agree with its list and counter")
            }
            Self::Bin { bin } => {
                write!(f, "the free list of bin {bin} doesn't hold what the map says is free")
            }
            Self::Header { offset_bytes } => write!(
                f,
                "the header at offset {offset_bytes} was overwritten: look for writes past the end of the block before"
            ),
            Self::Counters { counted_bytes, remembered_bytes } => write!(
                f,
                "{counted_bytes} bytes are in used blocks, but the heap remembers {remembered_bytes}"
            ),
        }
    }
}

impl core::error::Error for CheckError {}
