//! The functions of the coverage-guided targets in `fuzz/`. Ordinary tests call them too, with the
//! stored seeds and with random bytes.

use evenfit_trace::format::{MAGIC, TIME_STEP_MAX};
use evenfit_trace::{Codec, Limits, Trace};

use crate::driver::{Config, Driver};
use crate::hostile::Hostile;
use crate::op::Bytes;
use crate::shared;
use crate::subject::{
    AlignedBlocks, AlignedSlabs, Blocks, CompactBlocks, Slabs, Subject, WideBlocks, WideSlabs,
};

/// The longest region a target builds, in bytes.
const LEN_BYTES_MAX: usize = 1 << 20;

/// A name, and the function that is called with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("blocks", blocks),
    ("slabs", slabs),
    ("compact", compact),
    ("late_writer", late_writer),
    ("garbage", garbage),
    ("trace", trace),
    ("csv", csv),
    ("heaptrack", heaptrack),
    ("esp_idf", esp_idf),
    ("system_view", system_view),
    ("zephyr", zephyr),
    ("shared", shared::run),
    #[cfg(feature = "c")]
    ("c", crate::c::run),
];

/// Heaps of blocks only.
pub fn blocks(bytes: &[u8]) {
    heap::<Blocks>(bytes);
    heap::<AlignedBlocks>(bytes);
    heap::<WideBlocks>(bytes);
}

/// Heaps with slabs.
pub fn slabs(bytes: &[u8]) {
    heap::<Slabs>(bytes);
    heap::<AlignedSlabs>(bytes);
    heap::<WideSlabs>(bytes);
}

/// Heaps for small devices.
pub fn compact(bytes: &[u8]) {
    heap::<CompactBlocks>(bytes);
}

/// Correct and wrong calls of a heap, compared with the model.
pub fn heap<S: Subject>(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let config = Config::decode(&mut bytes, LEN_BYTES_MAX);
    Driver::<S>::run(config, &mut bytes);
}

/// Writes to free memory, in any of the heaps.
pub fn late_writer(bytes: &[u8]) {
    hostile(
        &[
            Hostile::<Blocks>::late_writer,
            Hostile::<Slabs>::late_writer,
            Hostile::<CompactBlocks>::late_writer,
            Hostile::<AlignedBlocks>::late_writer,
            Hostile::<AlignedSlabs>::late_writer,
            Hostile::<WideBlocks>::late_writer,
            Hostile::<WideSlabs>::late_writer,
        ],
        bytes,
    );
}

/// Random bytes in the whole region, in any of the heaps.
pub fn garbage(bytes: &[u8]) {
    hostile(
        &[
            Hostile::<Blocks>::garbage,
            Hostile::<Slabs>::garbage,
            Hostile::<CompactBlocks>::garbage,
            Hostile::<AlignedBlocks>::garbage,
            Hostile::<AlignedSlabs>::garbage,
            Hostile::<WideBlocks>::garbage,
            Hostile::<WideSlabs>::garbage,
        ],
        bytes,
    );
}

/// The first byte chooses one of the heaps.
fn hostile(heaps: &[fn(Config, &mut Bytes)], bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let which = bytes.byte() as usize % heaps.len();
    let config = Config::decode(&mut bytes, 64 << 10);
    heaps[which](config, &mut bytes);
}

/// The reader of traces in all its formats: an error, or a trace that survives being written.
///
/// # Panics
/// If what was read is not what is read back.
pub fn trace(bytes: &[u8]) {
    let Ok(trace) = Trace::read(bytes) else {
        return;
    };
    // A recording in .evt may last longer than a writer allows; importers refuse such times.
    if !bytes.starts_with(&MAGIC) || trace.records().all(|record| fits(record.time, &trace)) {
        survives(&trace);
    }
}

/// The importer of CSV: the first byte chooses the columns.
pub fn csv(bytes: &[u8]) {
    const COLUMNS: [&str; 4] = [
        "op,block,size\n",
        "op,block,to,size,align,zeroed,time_ns,thread,site\n",
        "op,time_ns,align,block,size,to\n",
        "op,",
    ];
    let mut bytes = Bytes::new(bytes);
    let columns = COLUMNS[bytes.byte() as usize % COLUMNS.len()];
    import(columns, bytes.rest());
}

/// The importer of heaptrack's text.
pub fn heaptrack(bytes: &[u8]) {
    import("v 10400 3\n", bytes);
}

/// The importer of ESP-IDF's dumps.
pub fn esp_idf(bytes: &[u8]) {
    import("Heap Trace: 9 records\n", bytes);
}

/// The importer of ESP-IDF's SystemView events.
pub fn system_view(bytes: &[u8]) {
    import(
        "[0.000000001] HEAP: Allocated 8 bytes @ 0x3ffaff6c from task \"a\" on core 0 by:\n",
        bytes,
    );
}

/// The importer of Zephyr's logs.
pub fn zephyr(bytes: &[u8]) {
    import("Heap 0x20000b80, alloc 0x20001b00, size 16\n", bytes);
}

/// The imported trace is valid, or the error names where it is.
fn import(start: &str, rest: &[u8]) {
    let text = [start.as_bytes(), rest].concat();
    trace(&text);
    match Trace::recover(text.as_slice(), Limits::default()) {
        Ok((trace, fault)) => {
            survives(&trace);
            assert!(fault.is_none_or(|fault| fault.line.is_some() && fault.column.is_some()));
        }
        Err(error) => assert!(error.line.is_some() && error.column.is_some(), "{error}"),
    }
}

/// Whether importers accept this time: in ticks, and in nanoseconds as in CSV.
fn fits(time: u64, trace: &Trace) -> bool {
    let nanoseconds = match trace.header().tick_hz {
        0 => 0,
        hz => u128::from(time) * 1_000_000_000 / u128::from(hz),
    };
    u128::from(time).max(nanoseconds) <= u128::from(TIME_STEP_MAX)
}

/// As `.evt` and as CSV.
fn survives(trace: &Trace) {
    let mut written = Vec::new();
    trace.write(&mut written, Codec::Stored).expect("a vector takes every byte");
    let again = Trace::read(written.as_slice()).expect("what was written can be read");
    assert_eq!(trace.events(), again.events());
    written.clear();
    trace.write_csv(&mut written).expect("a vector takes every byte");
    let again = Trace::read(written.as_slice()).expect("what was written can be read");
    assert_eq!(trace.events(), again.events());
    assert_eq!(trace.incomplete().count(), again.incomplete().count());
    let _ = trace.info();
}
