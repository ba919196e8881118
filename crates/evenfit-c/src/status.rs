//! The status that a call returns.

use core::ffi::{CStr, c_char};

use evenfit::{AllocError, FreeError, InitError, ReallocError};

/// The result of a call. Unless it is EVF_OK, the call has not changed the heap.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Status {
    /// Done.
    EVF_OK = 0,
    /// The heap is a null pointer, or memory without a heap in it.
    EVF_NOT_A_HEAP = 1,
    /// An invalid pointer or number, for example an alignment that is no power of two.
    EVF_BAD_ARGUMENT = 2,
    /// The memory is too small for the control structure, the pool's metadata and one block.
    EVF_REGION_TOO_SMALL = 3,
    /// The memory is larger than a heap can manage.
    EVF_REGION_TOO_LARGE = 4,
    /// No free block is large enough now.
    EVF_OUT_OF_MEMORY = 5,
    /// The request is larger than the whole pool.
    EVF_TOO_LARGE = 6,
    /// The pointer is not inside this pool.
    EVF_OUTSIDE_POOL = 7,
    /// The pointer is inside the pool but is not the start of a block.
    EVF_NOT_A_BLOCK = 8,
    /// The block is free already: a double free.
    EVF_ALREADY_FREE = 9,
    /// A live block starts there, but it was allocated with another size or alignment.
    EVF_WRONG_LAYOUT = 10,
    /// A free block or the pool's metadata was overwritten.
    EVF_CORRUPT = 11,
    /// Slabs were asked for, and this library has none: it is one for a 32-bit machine.
    EVF_NO_SLABS = 12,
}

impl Status {
    const fn message(self) -> &'static CStr {
        match self {
            Self::EVF_OK => c"done",
            Self::EVF_NOT_A_HEAP => {
                c"not a heap: a null pointer, or evf_init was not called on this memory"
            }
            Self::EVF_BAD_ARGUMENT => c"an invalid argument",
            Self::EVF_REGION_TOO_SMALL => c"the memory is too small for a pool",
            Self::EVF_REGION_TOO_LARGE => c"the memory is larger than a heap can manage",
            Self::EVF_OUT_OF_MEMORY => c"no free block is large enough for the request",
            Self::EVF_TOO_LARGE => c"the request is larger than the whole pool",
            Self::EVF_OUTSIDE_POOL => c"the pointer is not inside this pool",
            Self::EVF_NOT_A_BLOCK => c"the pointer is not the start of a block",
            Self::EVF_ALREADY_FREE => c"the block is free already (double free)",
            Self::EVF_WRONG_LAYOUT => c"the block was allocated with another size or alignment",
            Self::EVF_CORRUPT => c"a free block or the metadata was overwritten",
            Self::EVF_NO_SLABS => {
                c"slabs were asked for, but a library for 32-bit machines has none"
            }
        }
    }
}

impl From<InitError> for Status {
    fn from(error: InitError) -> Self {
        match error {
            InitError::RegionTooSmall { .. } => Self::EVF_REGION_TOO_SMALL,
            InitError::RegionTooLarge { .. } => Self::EVF_REGION_TOO_LARGE,
            _ => Self::EVF_BAD_ARGUMENT,
        }
    }
}

impl From<AllocError> for Status {
    fn from(error: AllocError) -> Self {
        match error {
            AllocError::TooLarge => Self::EVF_TOO_LARGE,
            AllocError::OutOfMemory => Self::EVF_OUT_OF_MEMORY,
            _ => Self::EVF_CORRUPT,
        }
    }
}

impl From<FreeError> for Status {
    fn from(error: FreeError) -> Self {
        match error {
            FreeError::OutsidePool => Self::EVF_OUTSIDE_POOL,
            FreeError::NotABlock => Self::EVF_NOT_A_BLOCK,
            FreeError::AlreadyFree => Self::EVF_ALREADY_FREE,
            FreeError::WrongLayout => Self::EVF_WRONG_LAYOUT,
            _ => Self::EVF_CORRUPT,
        }
    }
}

impl From<ReallocError> for Status {
    fn from(error: ReallocError) -> Self {
        match error {
            ReallocError::Alloc(error) => error.into(),
            ReallocError::Free(error) => error.into(),
            _ => Self::EVF_CORRUPT,
        }
    }
}

/// A sentence for a status, in English; never null, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn evf_message(status: core::ffi::c_int) -> *const c_char {
    const ALL: [Status; 13] = [
        Status::EVF_OK,
        Status::EVF_NOT_A_HEAP,
        Status::EVF_BAD_ARGUMENT,
        Status::EVF_REGION_TOO_SMALL,
        Status::EVF_REGION_TOO_LARGE,
        Status::EVF_OUT_OF_MEMORY,
        Status::EVF_TOO_LARGE,
        Status::EVF_OUTSIDE_POOL,
        Status::EVF_NOT_A_BLOCK,
        Status::EVF_ALREADY_FREE,
        Status::EVF_WRONG_LAYOUT,
        Status::EVF_CORRUPT,
        Status::EVF_NO_SLABS,
    ];
    ALL.iter()
        .find(|known| **known as core::ffi::c_int == status)
        .map_or(c"no such status", |known| known.message())
        .as_ptr()
}
