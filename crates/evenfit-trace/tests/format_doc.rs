//! The listings in `docs/trace-format.md` are what the code writes and reads.

use evenfit_trace::format::{self, Header};
use evenfit_trace::recorder::Recorder;
use evenfit_trace::{Codec, Event, Record, Site, Trace, WriteOptions, Writer};

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/trace-format.md"))
        .unwrap()
}

/// The bytes of the document's `n`th listing: of each line the pairs of hex digits before the gap
/// of three spaces.
fn listing(n: usize) -> Vec<u8> {
    let document = document();
    let block = document.split("```hex\n").nth(n + 1).unwrap().split("```").next().unwrap();
    let bytes = block.lines().flat_map(|line| line.split("   ").next().unwrap().split_whitespace());
    bytes.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn the_listing_by_order_is_what_the_writer_writes() {
    let header = Header { tick_hz: 1000, ..Header::default() };
    let options = WriteOptions { header, codec: Codec::Stored, ..WriteOptions::default() };
    let alloc = |id, size, align_log2, zeroed| Event::Alloc { id, size, align_log2, zeroed };
    let records = [
        Record { event: alloc(0, 40, 3, false), time: 0, thread: 0, site: 1 },
        Record { event: alloc(1, 24, 6, true), time: 2, thread: 1, site: 1 },
        Record { event: Event::Realloc { id: 0, new_size: 300 }, time: 2, thread: 1, site: 1 },
        Record { event: Event::Free { id: 1 }, time: 50, thread: 0, site: 0 },
    ];
    let facts = [("program".to_owned(), "blinky".to_owned())];
    let site =
        Site { id: 1, parent: 0, address: 0x8000, name: "main".into(), location: "m.c:3".into() };

    let mut writer = Writer::new(Vec::new(), options).unwrap();
    writer.facts(&facts).unwrap();
    records.iter().for_each(|&record| writer.write(record).unwrap());
    writer.sites(std::slice::from_ref(&site)).unwrap();
    assert_eq!(writer.finish().unwrap(), listing(0));

    let trace = Trace::read(listing(0).as_slice()).unwrap();
    assert!(trace.records().eq(records));
    assert_eq!((trace.facts(), trace.site(1)), (facts.as_slice(), Some(&site)));
}

#[test]
fn the_listing_by_address_is_what_the_recorder_sends() {
    let header = Header { address_shift: 3, ..Header::default() };
    let mut sent = Vec::new();
    let mut recorder =
        Recorder::<_, 256>::new(|bytes: &[u8]| sent.extend_from_slice(bytes), header);
    recorder.alloc(0x2000_0100, 40, 8);
    recorder.alloc(0x2000_0140, 24, 64);
    recorder.realloc(0x2000_0100, 0x2000_0180, 300);
    recorder.free(0x2000_0140);
    recorder.finish();
    assert_eq!(sent, listing(1));

    let trace = Trace::read(listing(1).as_slice()).unwrap();
    assert_eq!(trace.events().len(), 4);
    assert_eq!(trace.info().peak_live_bytes, 324);
}

#[test]
fn the_csv_is_the_first_listing_again() {
    let text = document().split("```csv\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let (from_text, from_bytes) =
        (Trace::read(text.as_bytes()).unwrap(), Trace::read(listing(0).as_slice()).unwrap());
    assert_eq!(from_text.events(), from_bytes.events());
    let ticks =
        from_text.records().map(|record| Record { time: record.time / 1_000_000, ..record });
    assert!(ticks.eq(from_bytes.records()));
}

#[test]
fn the_documented_numbers_are_the_codes_own() {
    assert_eq!(format::crc32(0, b"123456789"), 0xcbf4_3926);
    assert_eq!(format::CHUNK_BYTES_MAX, 4_194_304);
    for (difference, code) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (2, 4), (i64::MIN, u64::MAX)] {
        assert_eq!(format::zigzag(difference), code);
        assert_eq!(format::unzigzag(code), difference);
    }
}
