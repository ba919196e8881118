//! Importing `.ytr` files: what they say, and what they must not say.

mod common;

use common::number;
use evenfit_trace::{Event, Fault, Limits, Trace};

fn v(kind: u64, operand: u64) -> Vec<u8> {
    number(operand << 2 | kind)
}

fn ytr(count: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    [b"YTR1".to_vec(), number(count), entries.concat()].concat()
}

fn sample() -> Vec<u8> {
    ytr(
        5,
        &[
            v(0, 100),
            [v(3, 64), vec![6]].concat(),
            v(1, 1),
            [v(2, 0), number(70)].concat(),
            v(1, 0),
        ],
    )
}

#[test]
fn plain_and_packed_files_are_read_alike() {
    let packed = zstd::bulk::compress(&sample(), 3).unwrap();
    for bytes in [sample(), packed] {
        let trace = Trace::read(bytes.as_slice()).unwrap();
        assert_eq!(
            trace.events(),
            [
                Event::Alloc {
                    id: 0,
                    size: 100,
                    align_log2: 3,
                    zeroed: false
                },
                Event::Alloc {
                    id: 1,
                    size: 64,
                    align_log2: 6,
                    zeroed: false
                },
                Event::Free { id: 0 },
                Event::Realloc {
                    id: 1,
                    new_size: 70
                },
                Event::Free { id: 1 },
            ]
        );
    }
}

#[test]
fn a_file_cut_anywhere_says_where_and_gives_what_came_before() {
    let whole = sample();
    for len in 4..whole.len() {
        let (trace, fault) = match Trace::recover(&whole[..len], Limits::default()) {
            Ok((trace, fault)) => (trace, fault.unwrap()),
            Err(error) => panic!("{error}"),
        };
        assert!(matches!(fault.fault, Fault::Truncated), "{fault}");
        assert_eq!(fault.offset, len as u64);
        assert!(trace.events().len() < 5);
    }
    let packed = zstd::bulk::compress(&whole, 3).unwrap();
    for len in 1..packed.len() {
        let error = Trace::read(&packed[..len]).unwrap_err();
        assert!(error.offset <= len as u64, "{error}");
    }
}

#[test]
fn hostile_events_are_refused_at_their_byte() {
    type Expected = fn(&Fault) -> bool;
    let cases: &[(Vec<u8>, Expected)] = &[
        (v(1, 1), |f| {
            matches!(f, Fault::NeverAllocated { allocations: 1 })
        }),
        ([v(2, 1 << 40), vec![1]].concat(), |f| {
            matches!(f, Fault::NeverAllocated { allocations: 1 })
        }),
        (v(0, 1 << 61), |f| matches!(f, Fault::Size(_))),
        ([v(2, 0), number(1 << 63)].concat(), |f| {
            matches!(f, Fault::Size(_))
        }),
        ([v(3, 8), vec![0xff]].concat(), |f| {
            matches!(f, Fault::Align(0xff))
        }),
        (vec![0xff; 11], |f| matches!(f, Fault::Number)),
    ];
    for (bad, expected) in cases {
        let bytes = ytr(2, &[v(0, 8), bad.clone()]);
        let error = Trace::read(bytes.as_slice()).unwrap_err();
        assert!(expected(&error.fault), "{error}");
        assert_eq!((error.offset, error.unpacked_offset), (6, None), "{error}");
        let packed = zstd::bulk::compress(&bytes, 3).unwrap();
        let error = Trace::read(packed.as_slice()).unwrap_err();
        assert!(expected(&error.fault), "{error}");
        assert_eq!(error.unpacked_offset, Some(6), "{error}");
        assert!(error.offset <= packed.len() as u64);
    }
    let error = Trace::read(ytr(3, &[v(0, 8), v(1, 0), v(1, 0)]).as_slice()).unwrap_err();
    assert!(
        matches!(error.fault, Fault::AlreadyFreed(0)) && error.offset == 7,
        "{error}"
    );
    let error = Trace::read(ytr(1, &[v(0, 8), v(1, 0)]).as_slice()).unwrap_err();
    assert!(
        matches!(error.fault, Fault::Trailing) && error.offset == 6,
        "{error}"
    );
    let error = Trace::read(b"YTR2".as_slice()).unwrap_err();
    assert!(matches!(error.fault, Fault::NotATrace), "{error}");
}
