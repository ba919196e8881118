//! Files that are cut off, damaged or malicious: each gives an error with the right byte offset.

mod common;

use common::{chunk, entry, file, number};
use evenfit_trace::format::{self, CHUNK_BYTES_MAX, Header, codec, event};
use evenfit_trace::{
    Codec, Event, Fault, Limits, Reader, Record, Site, Trace, TraceBuilder, TraceError,
};
use proptest::prelude::*;

const EVENTS: u8 = format::chunk::EVENTS;
const ADDRESSED: u8 = format::chunk::ADDRESSED;
/// Where the first chunk's data begins.
const DATA: u64 = (format::HEADER_BYTES + format::CHUNK_HEADER_BYTES) as u64;

fn fault(bytes: &[u8]) -> TraceError {
    Trace::read(bytes).expect_err("a bad file was taken")
}

/// A file with every kind of chunk; `packed` long enough that zstd makes it shorter.
fn small(codec: Codec) -> Vec<u8> {
    let mut builder = TraceBuilder::default();
    for i in 0..40 {
        builder.alloc(i % 5 * 16, 8).unwrap();
    }
    builder.free(3).unwrap();
    let event = Event::Realloc { id: 7, new_size: 4000 };
    builder.push(Record { event, time: 55, thread: 2, site: 1 }).unwrap();
    builder.sites([Site {
        id: 1,
        parent: 0,
        address: 0x4010,
        name: "main".into(),
        location: "a.c:3".into(),
    }]);
    builder.fact("program", "a.out");
    let mut bytes = Vec::new();
    builder.finish().write(&mut bytes, codec).unwrap();
    bytes
}

#[test]
fn a_file_cut_anywhere_says_where() {
    for codec in [Codec::Stored, Codec::Zstd(3)] {
        let whole = small(codec);
        Trace::read(whole.as_slice()).unwrap();
        for len in 0..whole.len() {
            let error = fault(&whole[..len]);
            assert_eq!(error.offset, len as u64, "{error}");
            match len {
                0 => assert!(matches!(error.fault, Fault::NotATrace), "{error}"),
                _ => assert!(matches!(error.fault, Fault::Truncated), "{len}: {error}"),
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for codec in [Codec::Stored, Codec::Zstd(3)] {
        let whole = small(codec);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = fault(&bytes);
            assert!(error.offset <= whole.len() as u64, "{error}");
        }
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = small(Codec::Stored);
    let len = bytes.len() as u64;
    bytes.push(0);
    let error = fault(&bytes);
    assert!(matches!(error.fault, Fault::Trailing), "{error}");
    assert_eq!(error.offset, len);
}

#[test]
fn other_files_and_versions_are_named() {
    let error = fault(b"\x7fELF and so on, long enough to be a header");
    assert!(matches!(error.fault, Fault::NotATrace) && error.offset == 0, "{error}");
    let mut bytes = small(Codec::Stored);
    bytes[8] = 2;
    let error = fault(&bytes);
    assert!(matches!(error.fault, Fault::Version(2)) && error.offset == 8, "{error}");
    assert_eq!(error.to_string(), "at byte 8: format version 2; this build reads version 1");
}

#[test]
fn a_header_out_of_range_is_named_though_its_checksum_holds() {
    let header = Header { default_align_log2: 32, ..Header::default() };
    let error = fault(&header.to_bytes());
    assert!(matches!(error.fault, Fault::Header(_)) && error.offset == 10, "{error}");
    let header = Header { address_shift: 200, ..Header::default() };
    let error = fault(&header.to_bytes());
    assert!(matches!(error.fault, Fault::Header(_)) && error.offset == 11, "{error}");
}

/// Each hostile list of entries, the byte in it at fault, and the fault.
#[test]
fn hostile_events_are_refused_at_their_byte() {
    type Expected = fn(&Fault) -> bool;
    let alloc = |size| entry(event::ALLOC, size);
    let with = |byte| [entry(event::ALLOC_WITH, 8), vec![byte]].concat();
    let free = |back| entry(event::FREE, back);
    let realloc = |back, size| [entry(event::REALLOC, back), number(size)].concat();
    let cases: &[(Vec<Vec<u8>>, Expected)] = &[
        (vec![alloc(8), alloc(1 << 60)], |f| matches!(f, Fault::Size(size) if *size == 1 << 60)),
        (vec![alloc(format::SIZE_MAX), alloc(1)], |f| matches!(f, Fault::LiveBytes)),
        (vec![alloc(format::SIZE_MAX + 1)], |f| matches!(f, Fault::Size(_))),
        (
            vec![alloc(8), realloc(0, 1 << 63)],
            |f| matches!(f, Fault::Size(size) if *size == 1 << 63),
        ),
        (vec![free(0)], |f| matches!(f, Fault::NeverAllocated { allocations: 0 })),
        (vec![alloc(8), free(1)], |f| matches!(f, Fault::NeverAllocated { allocations: 1 })),
        (vec![alloc(8), realloc(u64::MAX >> 3, 8)], |f| {
            matches!(f, Fault::NeverAllocated { allocations: 1 })
        }),
        (vec![alloc(8), free(0), free(0)], |f| matches!(f, Fault::AlreadyFreed(0))),
        (vec![alloc(8), alloc(9), free(0), realloc(0, 4)], |f| matches!(f, Fault::AlreadyFreed(1))),
        (vec![with(32)], |f| matches!(f, Fault::Align(32))),
        (vec![with(0x80)], |f| matches!(f, Fault::Align(0x80))),
        (vec![alloc(8), entry(7, 0)], |f| matches!(f, Fault::EventKind(7))),
        (vec![alloc(8), vec![0xff; 10]], |f| matches!(f, Fault::Number)),
        (vec![alloc(8), [vec![0x80; 9], vec![2]].concat()], |f| matches!(f, Fault::Number)),
        (vec![alloc(8), vec![0x80; 11]], |f| matches!(f, Fault::Number)),
        (vec![alloc(8), vec![0x80]], |f| matches!(f, Fault::Cut)),
        (vec![alloc(8), entry(event::REALLOC, 0)], |f| matches!(f, Fault::Cut)),
        (vec![alloc(8), entry(event::ALLOC_WITH, 8)], |f| matches!(f, Fault::Cut)),
        (vec![alloc(8), entry(event::THREAD, 1 << 32)], |f| matches!(f, Fault::Range(_))),
        (vec![alloc(8), entry(event::SITE, 1 << 32)], |f| matches!(f, Fault::Range(_))),
        (vec![vec![entry(event::TIME, u64::MAX >> 3); 9].concat()], |f| {
            matches!(f, Fault::Range("clock"))
        }),
    ];
    for (entries, expected) in cases {
        let bytes = file(EVENTS, &entries.concat(), 2, 2);
        let error = fault(&bytes);
        assert!(expected(&error.fault), "{error} for {entries:x?}");
        let at = match error.fault {
            // The ninth advance is one too many.
            Fault::Range("clock") => 8 * entry(event::TIME, u64::MAX >> 3).len(),
            _ => entries[..entries.len() - 1].concat().len(),
        };
        assert_eq!(error.offset, DATA + at as u64, "{error} for {entries:x?}");
        assert_eq!(error.unpacked_offset, None);
    }
}

#[test]
fn inside_packed_data_both_offsets_are_named() {
    let mut entries = vec![entry(event::ALLOC, 8); 100].concat();
    let at = entries.len();
    entries.extend(entry(event::FREE, 100));
    let packed = zstd::bulk::compress(&entries, 3).unwrap();
    let mut bytes = Header::default().to_bytes().to_vec();
    bytes.extend(chunk(EVENTS, codec::ZSTD, 0, &packed, entries.len() as u32));
    let error = fault(&bytes);
    assert!(matches!(error.fault, Fault::NeverAllocated { .. }), "{error}");
    assert_eq!((error.offset, error.unpacked_offset), (DATA, Some(at as u64)));
    let said = "at byte 40 (byte 100 of the data unpacked there): a block that was never allocated";
    assert!(error.to_string().starts_with(said), "{error}");
}

#[test]
fn hostile_chunks_are_refused_at_their_byte() {
    let start = Header::default().to_bytes().to_vec();
    let with = |chunk: Vec<u8>| [start.clone(), chunk].concat();
    let claims = |stored_len: u32, raw_len: u32| {
        let mut header = chunk(EVENTS, codec::STORED, 0, &[], raw_len);
        header[4..8].copy_from_slice(&stored_len.to_le_bytes());
        header
    };
    let error = fault(&with(claims(u32::MAX, 0)));
    assert!(matches!(error.fault, Fault::ChunkTooLong(u32::MAX)) && error.offset == 28, "{error}");
    let error = fault(&with(claims(0, CHUNK_BYTES_MAX + 1)));
    assert!(matches!(error.fault, Fault::ChunkTooLong(_)) && error.offset == 32, "{error}");
    let error = fault(&with(claims(CHUNK_BYTES_MAX, CHUNK_BYTES_MAX)));
    assert!(matches!(error.fault, Fault::Truncated) && error.offset == 40, "{error}");
    let error = fault(&with(chunk(EVENTS, codec::STORED, 0, &[0], 2)));
    assert!(matches!(error.fault, Fault::UnpackedLength) && error.offset == 32, "{error}");
    let error = fault(&with(chunk(EVENTS, 2, 0, &[0], 1)));
    assert!(matches!(error.fault, Fault::Codec(2)) && error.offset == 25, "{error}");
    let error = fault(&with(chunk(9, codec::STORED, 0, &[0], 1)));
    assert!(matches!(error.fault, Fault::ChunkKind(9)) && error.offset == 24, "{error}");
    let error = fault(&with(chunk(EVENTS, codec::ZSTD, 0, b"not zstd", 8)));
    assert!(matches!(error.fault, Fault::Unpack(_)) && error.offset == DATA, "{error}");
    let error = fault(&with(chunk(EVENTS, codec::STORED, 5, &[0], 1)));
    assert!(
        matches!(error.fault, Fault::Sequence { expected: 0, found: 5 }) && error.offset == 26,
        "{error}"
    );
    let packed = zstd::bulk::compress(&[0; 100], 3).unwrap();
    let error = fault(&with(chunk(EVENTS, codec::ZSTD, 0, &packed, 200)));
    assert!(matches!(error.fault, Fault::UnpackedLength), "{error}");
}

#[test]
fn an_unknown_chunk_that_may_be_skipped_is() {
    let mut bytes = Header::default().to_bytes().to_vec();
    bytes.extend(chunk(200, 77, 0, b"from a later version", 3));
    bytes.extend(chunk(EVENTS, codec::STORED, 1, &entry(event::ALLOC, 8), 1));
    bytes.extend(chunk(format::chunk::END, codec::STORED, 2, &[1, 1], 2));
    assert_eq!(Trace::read(bytes.as_slice()).unwrap().events().len(), 1);
}

#[test]
fn wrong_totals_are_refused() {
    let entries = entry(event::ALLOC, 8);
    Trace::read(file(EVENTS, &entries, 1, 1).as_slice()).unwrap();
    for (events, allocations) in [(2, 1), (1, 0), (u64::MAX, 1)] {
        let error = fault(&file(EVENTS, &entries, events, allocations));
        assert!(matches!(error.fault, Fault::Totals { .. }), "{error}");
    }
}

#[test]
fn hostile_names_are_refused_at_their_byte() {
    let facts = |data: &[u8]| {
        let mut bytes = Header::default().to_bytes().to_vec();
        bytes.extend(chunk(format::chunk::FACTS, codec::STORED, 0, data, data.len() as u32));
        bytes
    };
    let good = b"\x01k\x01v".to_vec();
    let error = fault(&facts(&[good.clone(), number(u64::MAX)].concat()));
    assert!(matches!(error.fault, Fault::Cut) && error.offset == DATA + 4, "{error}");
    let error = fault(&facts(&[good.clone(), number(1 << 40), vec![b'x'; 9]].concat()));
    assert!(matches!(error.fault, Fault::Cut) && error.offset == DATA + 4, "{error}");
    let error = fault(&facts(&[good, b"\x02\xff\xfe\x00".to_vec()].concat()));
    assert!(matches!(error.fault, Fault::Text) && error.offset == DATA + 4, "{error}");
}

#[test]
fn limits_hold() {
    let entries = vec![entry(event::ALLOC, 8); 11].concat();
    let bytes = file(EVENTS, &entries, 11, 11);
    let limits = Limits { events: 10, ..Limits::default() };
    let (trace, fault) = Trace::recover(bytes.as_slice(), limits).unwrap();
    let error = fault.unwrap();
    assert!(
        matches!(error.fault, Fault::Limit { most: 10, .. }) && error.offset == DATA + 10,
        "{error}"
    );
    assert_eq!(trace.events().len(), 10);
    // Entries that are no events can't go on for ever either.
    let bytes = file(EVENTS, &vec![entry(event::TIME, 0); 41].concat(), 0, 0);
    let error = Trace::read_with(bytes.as_slice(), limits).unwrap_err();
    assert!(matches!(error.fault, Fault::Limit { most: 10, .. }), "{error}");
}

#[test]
fn addresses_are_followed_and_gaps_mended() {
    let at = |difference| number(format::zigzag(difference));
    let entries = [
        [entry(event::ALLOC, 8), at(0x1000)].concat(),
        [entry(event::ALLOC_WITH, 24), vec![6 | format::WITH_ZEROED], at(0x40)].concat(),
        // Moves from 0x1000 to 0x2000.
        [entry(event::REALLOC, format::zigzag(-0x40)), number(500), at(0x1000)].concat(),
        // Nothing was ever at 0x1fff.
        entry(event::FREE, format::zigzag(-1)),
        // Neither at 0x3000; it is at 0x3008 now.
        [entry(event::REALLOC, format::zigzag(0x1001)), number(5), at(8)].concat(),
        // A block still lives at 0x2000.
        [entry(event::ALLOC, 9), at(-0x1008)].concat(),
        entry(event::FREE, format::zigzag(-0xfc0)),
    ];
    let trace = Trace::read(file(ADDRESSED, &entries.concat(), 7, 3).as_slice()).unwrap();
    assert_eq!(
        trace.events(),
        [
            Event::Alloc { id: 0, size: 8, align_log2: 3, zeroed: false },
            Event::Alloc { id: 1, size: 24, align_log2: 6, zeroed: true },
            Event::Realloc { id: 0, new_size: 500 },
            Event::Alloc { id: 2, size: 5, align_log2: 3, zeroed: false },
            Event::Free { id: 0 },
            Event::Alloc { id: 3, size: 9, align_log2: 3, zeroed: false },
            Event::Free { id: 1 },
        ]
    );
    let repairs = trace.repairs();
    assert_eq!((repairs.unknown_frees, repairs.unknown_reallocs, repairs.assumed_frees), (1, 1, 1));
    // A trace that was repaired says so when it is written again.
    let mut again = Vec::new();
    trace.write(&mut again, Codec::Stored).unwrap();
    let again = Trace::read(again.as_slice()).unwrap();
    assert_eq!(again.events(), trace.events());
    assert_eq!(again.facts()[0].0, "mended");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Trace::read(bytes.as_slice());
        let mut evt = format::MAGIC.to_vec();
        evt.extend_from_slice(&bytes);
        prop_assert!(Trace::read(evt.as_slice()).is_err());
        let packed = [&[0x28, 0xb5, 0x2f, 0xfd], bytes.as_slice()].concat();
        prop_assert!(Trace::read(packed.as_slice()).is_err());
    }

    #[test]
    fn any_chunk_with_a_checksum_that_holds_gives_valid_events_or_an_error(
        kind in 0..6u8,
        entries in prop::collection::vec(prop_oneof![any::<u8>(), 0..24u8], 0..200),
    ) {
        let bytes = file(kind, &entries, 0, 0);
        let reader = Reader::new(bytes.as_slice()).unwrap();
        let mut builder = TraceBuilder::default();
        for record in reader {
            match record {
                Ok(record) => match builder.push(record) {
                    Ok(()) => {}
                    Err(Fault::LiveBytes) => break,
                    Err(other) => panic!("the reader let through: {other}"),
                },
                Err(error) => prop_assert!(error.offset <= bytes.len() as u64),
            }
        }
        let _ = builder.finish().info();
    }
}
