//! The recorder for devices sends exactly what happened, with any length of its buffer.

mod common;

use common::{build, choices};
use evenfit_trace::format::Header;
use evenfit_trace::recorder::Recorder;
use evenfit_trace::{Event, Fault, Limits, Site, Trace};
use proptest::prelude::*;

/// Plays a trace into a recorder, giving every block an address as an allocator would: freed ones
/// are used again.
fn record<const N: usize>(trace: &Trace, header: Header, base: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut recorder = Recorder::<_, N>::new(|bytes: &[u8]| out.extend_from_slice(bytes), header);
    let (mut places, mut holes, mut top) = (Vec::new(), Vec::new(), base);
    let mut place = |holes: &mut Vec<u64>| {
        holes.pop().unwrap_or_else(|| {
            top = top.wrapping_add(48);
            top
        })
    };
    for record in trace.records() {
        recorder.set_time(record.time);
        recorder.set_thread(record.thread);
        recorder.set_site(record.site);
        match record.event {
            Event::Alloc { size, align_log2, zeroed, .. } => {
                let address = place(&mut holes);
                places.push(address);
                match zeroed {
                    true => recorder.alloc_zeroed(address, size, 1 << align_log2),
                    false => recorder.alloc(address, size, 1 << align_log2),
                }
            }
            Event::Free { id } => {
                holes.push(places[id as usize]);
                recorder.free(places[id as usize]);
            }
            Event::Realloc { id, new_size } => {
                let (old, new) = (places[id as usize], place(&mut holes));
                holes.push(old);
                places[id as usize] = new;
                recorder.realloc(old, new, new_size);
            }
        }
    }
    recorder.finish();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_recording_reads_back(
        choices in choices(200),
        base in prop_oneof![Just(0x2000_0000u64), Just(0x7fff_ffff_f000), Just(u64::MAX - 1000)],
        address_shift in 0..4u8,
    ) {
        let header = Header { tick_hz: 25_000_000, default_align_log2: 3, address_shift };
        let trace = build(header, &choices);
        for file in [record::<76>(&trace, header, base), record::<4096>(&trace, header, base)] {
            let read = Trace::read(file.as_slice()).unwrap();
            prop_assert!(read.records().eq(trace.records()));
            prop_assert_eq!(read.header(), header);
            prop_assert_eq!(read.repairs(), Default::default());
        }
    }
}

#[test]
fn names_may_come_at_any_time_and_long_ones_are_cut() {
    let mut out = Vec::new();
    let mut recorder =
        Recorder::<_, 128>::new(|bytes: &[u8]| out.extend_from_slice(bytes), Header::default());
    recorder.fact("program", "blinky");
    recorder.set_site(7);
    recorder.alloc(0x100, 10, 8);
    recorder.name_site(7, 0, 0x0800_0123, "main", "main.c:9");
    recorder.free(0x100);
    let long = "ü".repeat(500);
    recorder.name_site(8, 7, u64::MAX, &long, &long);
    recorder.fact(&long, &long);
    recorder.finish();

    let trace = Trace::read(out.as_slice()).unwrap();
    assert_eq!(trace.events().len(), 2);
    let main = Site {
        id: 7,
        parent: 0,
        address: 0x0800_0123,
        name: "main".into(),
        location: "main.c:9".into(),
    };
    assert_eq!(trace.site(7), Some(&main));
    let cut = trace.site(8).unwrap();
    assert!(long.starts_with(&cut.name) && cut.name.len() >= 30, "{}", cut.name);
    assert!(long.starts_with(&cut.location) && !cut.location.is_empty());
    assert_eq!(trace.facts()[0], ("program".to_owned(), "blinky".to_owned()));
}

#[test]
fn what_the_sink_loses_is_noticed() {
    let mut sent = Vec::new();
    let mut recorder =
        Recorder::<_, 76>::new(|bytes: &[u8]| sent.push(bytes.to_vec()), Header::default());
    (0..100).for_each(|i| recorder.alloc(0x1000 + i * 64, 64, 8));
    recorder.finish();
    for lost in 1..sent.len() - 1 {
        let mut kept = sent.clone();
        kept.remove(lost);
        let (trace, fault) = Trace::recover(kept.concat().as_slice(), Limits::default()).unwrap();
        let fault = fault.unwrap();
        assert!(matches!(fault.fault, Fault::Sequence { .. }), "{fault}");
        assert!(trace.events().len() < 100);
    }
}

#[test]
fn arguments_out_of_range_do_not_spoil_the_recording() {
    let mut out = Vec::new();
    let mut recorder =
        Recorder::<_, 128>::new(|bytes: &[u8]| out.extend_from_slice(bytes), Header::default());
    recorder.set_time(900);
    recorder.alloc(0x100, 8, 1);
    recorder.set_time(5);
    recorder.alloc(0xffff_ffff_0000_0000, 8, 1 << 63);
    recorder.set_time(u64::MAX);
    recorder.free(0xffff_ffff_0000_0000);
    recorder.alloc(0xffff_ffff_ffff_ffff, u64::MAX, 8);
    recorder.realloc(0x100, 0x200, u64::MAX);
    recorder.finish();
    let trace = Trace::read(out.as_slice()).unwrap();
    let times: Vec<u64> = trace.records().map(|record| record.time).collect();
    assert_eq!(times, [900, 900, 900 + (u64::MAX >> 3)]);
    let aligns: Vec<_> = trace.info().alignments.into_iter().collect();
    assert_eq!(aligns, [(1, 1), (1 << 31, 1)]);
}
