//! The statistics, against a program small enough to count by hand and against a plain model.

mod common;

use std::collections::HashMap;

use common::{build, choices};
use evenfit_trace::format::Header;
use evenfit_trace::{Event, Record, TraceBuilder};
use proptest::prelude::*;

#[test]
fn a_small_program_counted_by_hand() {
    let mut builder = TraceBuilder::default();
    let a = builder.alloc(100, 8).unwrap();
    let b = builder.alloc(0, 64).unwrap();
    builder.realloc(a, 300).unwrap();
    builder.free(b).unwrap();
    builder.realloc(a, 50).unwrap();
    let id = builder.allocations();
    let event = Event::Alloc { id, size: 7, align_log2: 3, zeroed: true };
    builder.push(Record { event, time: 900, thread: 4, site: 12 }).unwrap();
    let info = builder.finish().info();

    assert_eq!((info.operations, info.allocations, info.frees, info.reallocations), (6, 3, 1, 2));
    assert_eq!((info.zeroed, info.grown, info.shrunk), (1, 1, 1));
    assert_eq!(
        (info.peak_live_bytes, info.blocks_at_peak, info.peak_at, info.peak_live_blocks),
        (300, 2, 2, 2)
    );
    assert_eq!((info.leaked_bytes, info.leaked_blocks), (57, 2));
    assert_eq!((info.total_bytes, info.largest_size), (307, 300));
    assert_eq!((info.threads, info.sites_seen, info.ticks), (2, 1, 900));
    assert_eq!(info.alignments.into_iter().collect::<Vec<_>>(), [(8, 2), (64, 1)]);
    let sizes: Vec<_> = info.sizes.bins().filter(|bin| bin.2 > 0).collect();
    assert_eq!(sizes, [(0, 0, 1), (4, 7, 1), (32, 63, 1), (64, 127, 1), (256, 511, 1)]);
    assert_eq!(info.lifetimes.bins().last(), Some((2, 3, 1)));
    assert_eq!(info.lifetimes.total(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn peaks_agree_with_a_plain_model(choices in choices(300)) {
        let trace = build(Header::default(), &choices);
        let mut live: HashMap<u32, u64> = HashMap::new();
        let (mut bytes_max, mut blocks_max) = (0, 0);
        for event in trace.events() {
            match *event {
                Event::Alloc { id, size, .. } => live.insert(id, size),
                Event::Realloc { id, new_size } => live.insert(id, new_size),
                Event::Free { id } => live.remove(&id),
            };
            bytes_max = bytes_max.max(live.values().sum());
            blocks_max = blocks_max.max(live.len() as u64);
        }
        let info = trace.info();
        prop_assert_eq!(info.peak_live_bytes, bytes_max);
        prop_assert_eq!(info.peak_live_blocks, blocks_max);
        prop_assert_eq!(info.leaked_blocks, live.len() as u64);
        prop_assert_eq!(info.leaked_bytes, live.values().sum::<u64>());
        prop_assert_eq!(info.lifetimes.total(), info.frees);
        prop_assert_eq!(info.sizes.total(), info.allocations + info.reallocations);
    }
}
