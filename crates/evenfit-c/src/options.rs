//! The options of a heap.

use core::ffi::c_int;

use crate::Status;

/// Whether small requests are served from slabs: the values of `evf_options_t`'s `tiers`.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub enum TierChoice {
    /// Slabs from 1 MiB of memory on, where they are faster; blocks only below, and on 32-bit
    /// machines.
    #[default]
    EVF_TIERS_AUTO = 0,
    /// Blocks only: slower for small requests, but with the smallest footprint.
    EVF_BLOCKS_ONLY = 1,
    /// Slabs, however long the memory is. A library for a 32-bit machine has none.
    EVF_WITH_SLABS = 2,
}

/// The options of a heap; zero is the default of every field. Set `struct_bytes` to
/// `sizeof(evf_options_t)`. Fields that your program doesn't know then have their defaults, and an
/// older library refuses fields that it doesn't know, unless they are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionsV1 {
    /// The length of this structure in bytes.
    pub struct_bytes: usize,
    /// An `evf_tiers`.
    pub tiers: c_int,
    /// The length in bytes that the memory may reach by `evf_extend`; 0 if it stays as it is. The
    /// metadata is made for this length.
    pub max_bytes: usize,
}

/// The options, validated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) tiers: TierChoice,
    pub(crate) max_bytes: usize,
}

impl Choices {
    /// # Safety
    /// `options` is null or has `options->struct_bytes` bytes.
    pub(crate) unsafe fn from_c(options: *const OptionsV1) -> Result<Self, Status> {
        if options.is_null() {
            return Ok(Self::default());
        }
        if !options.is_aligned() {
            return Err(Status::EVF_BAD_ARGUMENT);
        }
        // SAFETY: at least this field is there, by the caller's promise.
        let told_bytes = unsafe { (&raw const (*options).struct_bytes).read() };
        if told_bytes < size_of::<usize>() {
            return Err(Status::EVF_BAD_ARGUMENT);
        }
        let known_bytes = told_bytes.min(size_of::<OptionsV1>());
        let mut known = OptionsV1::default();
        let bytes = options.cast::<u8>();
        // SAFETY: the caller promises that the bytes can be read, the structure has at least as
        // many, and any bytes are valid for it.
        unsafe { bytes.copy_to_nonoverlapping((&raw mut known).cast(), known_bytes) };
        // SAFETY: as promised by the caller.
        let is_unknown = |at| unsafe { bytes.add(at).read() } != 0;
        if (known_bytes..told_bytes).any(is_unknown) {
            return Err(Status::EVF_BAD_ARGUMENT);
        }
        Ok(Self {
            tiers: tiers(known.tiers).ok_or(Status::EVF_BAD_ARGUMENT)?,
            max_bytes: known.max_bytes,
        })
    }
}

fn tiers(choice: c_int) -> Option<TierChoice> {
    [TierChoice::EVF_TIERS_AUTO, TierChoice::EVF_BLOCKS_ONLY, TierChoice::EVF_WITH_SLABS]
        .into_iter()
        .find(|&named| named as c_int == choice)
}
