//! What the coverage-guided targets in `fuzz/` do with their bytes. Ordinary tests call the same
//! functions, with the seeds that are kept and with random bytes.

use evenfit_trace::{Codec, Trace};

use crate::driver::{Config, Driver};
use crate::hostile::Hostile;
use crate::op::Bytes;
use crate::subject::{Blocks, CompactBlocks, Slabs, Subject};

/// The longest region a target builds, in bytes.
const LEN_BYTES_MAX: usize = 1 << 20;

/// A name, and what is done with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("blocks", heap::<Blocks>),
    ("slabs", heap::<Slabs>),
    ("compact", heap::<CompactBlocks>),
    ("late_writer", late_writer),
    ("garbage", garbage),
    ("trace", trace),
];

/// Operations on a heap, right and wrong ones, against the model.
pub fn heap<S: Subject>(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let config = Config::decode(&mut bytes, LEN_BYTES_MAX);
    Driver::<S>::run(config, &mut bytes);
}

/// Writes to free memory, in any of the heaps.
pub fn late_writer(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let which = bytes.byte();
    let config = Config::decode(&mut bytes, 64 << 10);
    match which % 3 {
        0 => Hostile::<Blocks>::late_writer(config, &mut bytes),
        1 => Hostile::<Slabs>::late_writer(config, &mut bytes),
        _ => Hostile::<CompactBlocks>::late_writer(config, &mut bytes),
    }
}

/// Garbage over the whole region, in any of the heaps.
pub fn garbage(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let which = bytes.byte();
    let config = Config::decode(&mut bytes, 64 << 10);
    match which % 3 {
        0 => Hostile::<Blocks>::garbage(config, &mut bytes),
        1 => Hostile::<Slabs>::garbage(config, &mut bytes),
        _ => Hostile::<CompactBlocks>::garbage(config, &mut bytes),
    }
}

/// The reader of traces in all its formats: an error, or a trace that survives being written.
///
/// # Panics
/// If what was read is not what is read back.
pub fn trace(bytes: &[u8]) {
    let Ok(trace) = Trace::read(bytes) else {
        return;
    };
    let mut written = Vec::new();
    trace
        .write(&mut written, Codec::Stored)
        .expect("a vector takes every byte");
    let again = Trace::read(written.as_slice()).expect("what was written can be read");
    assert_eq!(trace.events(), again.events());
    let _ = trace.info();
}
