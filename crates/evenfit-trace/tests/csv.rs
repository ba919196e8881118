//! Traces as CSV: written and read again, and invalid lines.

mod common;

use common::{build, choices};
use evenfit_trace::format::Header;
use evenfit_trace::{Event, Fault, Limits, Trace};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn there_and_back(choices in choices(100), timed in any::<bool>()) {
        let header = Header { tick_hz: 1_000_000_000, ..Header::default() };
        let mut trace = build(header, &choices);
        if !timed {
            let mut builder = evenfit_trace::TraceBuilder::default();
            trace.records().for_each(|record| builder.push(evenfit_trace::Record { time: 0, ..record }).unwrap());
            trace = builder.finish();
        }
        let mut text = Vec::new();
        trace.write_csv(&mut text).unwrap();
        let read = Trace::read(text.as_slice()).unwrap();
        prop_assert!(read.records().eq(trace.records()));
        prop_assert_eq!(read.header(), trace.header());
        prop_assert_eq!(read.repairs(), Default::default());
    }
}

#[test]
fn a_hand_written_file_by_address() {
    let text = "op,size,block,to\r\n\
                alloc, 100, 0x20,\r\n\
                \r\n\
                alloc,8,0x90,\r\n\
                realloc,300,0x20,0x200\r\n\
                free,,0x20,\r\n\
                alloc,9,0x20,\r\n\
                free,,0x90,";
    let trace = Trace::read(text.as_bytes()).unwrap();
    assert_eq!(
        trace.events(),
        [
            Event::Alloc { id: 0, size: 100, align_log2: 3, zeroed: false },
            Event::Alloc { id: 1, size: 8, align_log2: 3, zeroed: false },
            Event::Realloc { id: 0, new_size: 300 },
            Event::Alloc { id: 2, size: 9, align_log2: 3, zeroed: false },
            Event::Free { id: 1 },
        ]
    );
    assert_eq!(trace.repairs().unknown_frees, 1);
}

#[test]
fn lines_that_make_no_sense_are_refused_at_their_byte() {
    let cases = [
        ("op,size\n", 0, "there is no column 'block'"),
        ("op,block,block\n", 0, "column 'block' stands twice"),
        ("op,block,colour\n", 0, "unknown column 'colour'"),
        ("op,block,size\nalloc,1,8\nalloc,2\n", 24, "2 cells where the first line names 3 columns"),
        ("op,block,size\nalloc,1,8\nalloc,2,big\n", 24, "size: 'big' is no number that fits"),
        ("op,block,size\nalloc,1,8\nalloc,2,-1\n", 24, "size: '-1'"),
        ("op,block,size\nalloc,1,\n", 14, "'size' is empty"),
        ("op,block,size\nalloc,,8\n", 14, "'block' is empty"),
        ("op,block,size\nfetch,1,8\n", 14, "op: 'fetch' is none of"),
        (
            "op,block,size\nalloc,1,9223372036854775808\n",
            14,
            "a block of 9223372036854775808 bytes",
        ),
        ("op,block,size,align\nalloc,1,8,12\n", 20, "align: 12 is no power of two"),
        ("op,block,size,align\nalloc,1,8,8589934592\n", 20, "bad alignment"),
        ("op,block,size,zeroed\nalloc,1,8,yes\n", 21, "zeroed: 'yes' is neither"),
        ("op,block,size,time_ns\nalloc,1,8,5\nalloc,2,8,4\n", 34, "the clock goes back"),
        (
            "op,block,size,thread\nalloc,1,8,4294967296\n",
            21,
            "thread: '4294967296' is no number that fits",
        ),
    ];
    for (text, offset, why) in cases {
        let error = Trace::read(text.as_bytes()).unwrap_err();
        assert_eq!(error.offset, offset, "{error} for {text}");
        assert!(error.to_string().contains(why), "{error} for {text}");
    }
    let error = Trace::read(b"op,block\nfree,\xff\n".as_slice()).unwrap_err();
    assert!(matches!(error.fault, Fault::Text) && error.offset == 9, "{error}");
    let endless = ["op,block\nfree,".to_owned(), "x".repeat(5000)].concat();
    let error = Trace::read(endless.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("more than 4096 bytes") && error.offset == 9, "{error}");
    let limits = Limits { events: 2, ..Limits::default() };
    let text = "op,block,size\nalloc,1,8\nalloc,2,8\nalloc,3,8\n";
    let error = Trace::read_with(text.as_bytes(), limits).unwrap_err();
    assert!(matches!(error.fault, Fault::Limit { most: 2, .. }) && error.offset == 34, "{error}");
}
