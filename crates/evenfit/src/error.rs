//! Why a call was refused. Every refusal leaves the heap and the pool as they were.

use core::fmt;

/// Why a heap could not be built over a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitError {
    /// The region can't hold the metadata and one granule.
    RegionTooSmall {
        /// The length of the region handed over, in bytes.
        len_bytes: usize,
        /// A length, in bytes, that suffices whatever the region's alignment.
        min_bytes: usize,
    },
    /// The region has more granules than the geometry's links can number.
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
            Self::RegionTooSmall {
                len_bytes,
                min_bytes,
            } => write!(
                f,
                "a region of {len_bytes} bytes is too small for a pool: hand over at least {min_bytes}"
            ),
            Self::RegionTooLarge {
                len_bytes,
                max_bytes,
            } => write!(
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
    /// No free block is large enough now.
    OutOfMemory,
    /// A free block's link was found overwritten. Nothing was changed; ask `check` for details.
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
    /// The pointer is inside the pool but is not the start of a block (an interior pointer).
    NotABlock,
    /// The block that started here is free already (a double free).
    AlreadyFree,
    /// A live block starts here, but the layout is not the one it was allocated with.
    WrongLayout,
    /// A neighbouring free block's link was found overwritten. Nothing was changed.
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
    /// The new size could not be had.
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
