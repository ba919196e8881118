//! Recorded allocations of real programs: the `.evt` format, its reader and writer, and importers.
//!
//! A recording is the list of a program's calls to its allocator, in order: sizes, alignments,
//! thread, and if recorded also time and call site. Replayed in a pool, it shows whether the pool
//! suffices.
//!
//! - [`Trace`] is a whole recording in memory: [`Trace::open`], [`Trace::events`], [`Trace::info`].
//! - [`Reader`] and [`Writer`] stream records of any number.
//! - [`TraceBuilder`] makes traces from elsewhere.
//! - [`recorder::Recorder`] writes the format on a device, without `std` and without an allocator
//!   (`default-features = false`).
//! - `live` (with that feature, on 64-bit Linux) lets `evenfit top` see the pool of a running
//!   process.
//! - `session` (with the same feature) is the memory that `evenfit run` and `evenfit record` share
//!   with the programs they watch.
//! - `replay`, behind the feature of that name, runs a trace in an allocator.
//! - [`mod@format`] has the format's constants, without `std`; `docs/trace-format.md` describes the
//!   format to the byte.
//!
//! ```
//! use evenfit_trace::{Codec, Event, Trace, TraceBuilder};
//! let mut builder = TraceBuilder::default();
//! let a = builder.alloc(100, 8)?;
//! builder.free(a)?;
//!
//! let mut file = Vec::new();
//! builder.finish().write(&mut file, Codec::Stored)?;
//! let trace = Trace::read(file.as_slice())?;
//! for event in trace.events() {
//!     match *event {
//!         Event::Alloc { id, size, .. } => println!("block {id}: {size} bytes"),
//!         Event::Free { id } => println!("block {id} freed"),
//!         Event::Realloc { id, new_size } => println!("block {id}: {new_size} bytes now"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(feature = "std"),
    allow(rustdoc::broken_intra_doc_links, reason = "most of it needs `std`")
)]
#![cfg_attr(not(any(feature = "live", feature = "replay")), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub mod format;
#[cfg(all(feature = "live", target_os = "linux", target_pointer_width = "64"))]
pub mod live;
pub mod recorder;
// Memory that two processes share is reached by address.
#[cfg(all(feature = "live", target_os = "linux"))]
#[allow(unsafe_code)]
pub mod session;
// Calls allocators, of which to free and to reallocate are unsafe.
#[cfg(feature = "replay")]
#[allow(unsafe_code)]
pub mod replay;

#[cfg(feature = "std")]
mod builder;
#[cfg(feature = "std")]
mod bytes;
#[cfg(feature = "std")]
mod chunks;
#[cfg(feature = "std")]
mod columns;
#[cfg(feature = "std")]
mod csv;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
mod esp_idf;
#[cfg(feature = "std")]
mod event;
#[cfg(feature = "std")]
mod heaptrack;
#[cfg(feature = "std")]
mod info;
#[cfg(feature = "std")]
mod ledger;
#[cfg(feature = "std")]
mod lines;
#[cfg(feature = "std")]
mod log;
#[cfg(feature = "std")]
mod perfetto;
#[cfg(feature = "std")]
mod places;
#[cfg(feature = "std")]
mod reader;
#[cfg(feature = "std")]
mod system_view;
#[cfg(feature = "std")]
mod trace;
#[cfg(feature = "std")]
mod unpack;
#[cfg(feature = "std")]
mod writer;
#[cfg(feature = "std")]
mod zephyr;

/// The panic handler. A library without the standard library needs one, and one with it must not
/// have it. Other packages of the same build decide whether this crate has the standard library.
#[doc(hidden)]
#[cfg(not(feature = "std"))]
#[macro_export]
macro_rules! without_std {
    ($($item:item)*) => { $($item)* };
}

#[doc(hidden)]
#[cfg(feature = "std")]
#[macro_export]
macro_rules! without_std {
    ($($item:item)*) => {};
}

#[cfg(feature = "std")]
pub use self::{
    builder::TraceBuilder,
    error::{Fault, TraceError},
    event::{Event, Record, Site},
    info::{Histogram, TraceInfo},
    reader::Reader,
    trace::{Limits, Repairs, Trace},
    writer::{Codec, WriteOptions, Writer},
};
