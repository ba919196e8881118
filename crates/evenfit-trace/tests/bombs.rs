//! Files that unpack without end are refused within little memory. This test has its own process,
//! so that its peak memory can be read.
#![cfg(target_os = "linux")]

mod common;

use std::io::Read;

use common::{chunk, peak_mib};
use evenfit_trace::format::{self, CHUNK_BYTES_MAX, Header, codec};
use evenfit_trace::{Fault, Limits, Reader, Trace};

/// `count` chunks of the longest length, each packed into a few hundred bytes.
fn chunks(kind: u8, count: u16, raw: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(raw, 3).unwrap();
    let mut bytes = Header::default().to_bytes().to_vec();
    (0..count).for_each(|i| bytes.extend(chunk(kind, codec::ZSTD, i, &packed, raw.len() as u32)));
    bytes
}

#[test]
fn no_file_takes_much_memory() {
    let limits = Limits { events: 1 << 20, notes_bytes: 1 << 20 };
    let longest = vec![0; CHUNK_BYTES_MAX as usize];

    // A chunk that unpacks to more than it says: a gibibyte.
    let bomb = zstd::stream::encode_all(std::io::repeat(0).take(1 << 30), 3).unwrap();
    let mut bytes = Header::default().to_bytes().to_vec();
    bytes.extend(chunk(format::chunk::EVENTS, codec::ZSTD, 0, &bomb, CHUNK_BYTES_MAX));
    let error = Trace::read(bytes.as_slice()).unwrap_err();
    assert!(matches!(error.fault, Fault::Unpack(_)), "{error}");

    // A file of 60 kB that holds more than a thousand million allocations of no bytes.
    let bytes = chunks(format::chunk::EVENTS, 300, &longest);
    assert!(bytes.len() < 100_000);
    let error = Trace::read_with(bytes.as_slice(), limits).unwrap_err();
    assert!(matches!(error.fault, Fault::Limit { .. }), "{error}");
    let limits_streamed = Limits { events: 1 << 24, ..limits };
    let mut reader = Reader::with_limits(bytes.as_slice(), limits_streamed).unwrap();
    let error = reader.find_map(Result::err).unwrap();
    assert!(matches!(error.fault, Fault::Limit { most: 0x100_0000, .. }), "{error}");

    // Names without end.
    for kind in [format::chunk::FACTS, format::chunk::SITES] {
        let bytes = chunks(kind, 300, &longest[..CHUNK_BYTES_MAX as usize / 10 * 10]);
        let error = Trace::read_with(bytes.as_slice(), limits).unwrap_err();
        assert!(matches!(error.fault, Fault::Limit { .. }), "{error}");
    }

    // As heaptrack packs its text: a line without end, a window of 2 GiB.
    let start = b"v 1 3\n".as_slice();
    let endless =
        zstd::stream::encode_all(start.chain(std::io::repeat(b'x').take(1 << 30)), 3).unwrap();
    let error = Trace::read_with(endless.as_slice(), limits).unwrap_err();
    assert!(matches!(error.fault, Fault::Line(_)), "{error}");
    // A log without a line end, and one without end.
    let noise = zstd::stream::encode_all(std::io::repeat(b'x').take(1 << 30), 3).unwrap();
    let error = Trace::read_with(noise.as_slice(), limits).unwrap_err();
    assert!(matches!(error.fault, Fault::NotATrace), "{error}");
    // Headings without end, each of which lacks its records.
    let mut headings = String::new();
    (0..400_000).for_each(|i| headings.push_str(&format!("Heap Trace: {} records\n", i + 1)));
    let trace = Trace::read_with(headings.as_bytes(), limits).unwrap();
    assert!((1..=8).contains(&trace.incomplete().count()));
    drop(headings);
    let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let error = Trace::read_with(wide.as_slice(), limits).unwrap_err();
    assert!(matches!(error.fault, Fault::Unpack(_)), "{error}");

    let peak_mib = peak_mib().unwrap();
    assert!(peak_mib < 150, "{peak_mib} MiB");
}
