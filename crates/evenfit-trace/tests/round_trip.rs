//! A trace that is written and read again is the same.

mod common;

use common::{build, choices};
use evenfit_trace::format::Header;
use evenfit_trace::{Codec, Fault, Limits, Reader, Record, Site, Trace, WriteOptions, Writer};
use proptest::prelude::*;

fn write(trace: &Trace, options: WriteOptions) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), options).unwrap();
    for record in trace.records() {
        writer.write(record).unwrap();
    }
    writer.sites(trace.sites()).unwrap();
    writer.facts(trace.facts()).unwrap();
    writer.finish().unwrap()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z:]{0,20}", any::<String>()]
}

fn sites() -> impl Strategy<Value = Vec<Site>> {
    let site = (1..u32::MAX, any::<u32>(), any::<u64>(), text(), text()).prop_map(
        |(id, parent, address, name, location)| Site { id, parent, address, name, location },
    );
    prop::collection::btree_map(1..u32::MAX, site, 0..6)
        .prop_map(|map| map.into_iter().map(|(id, site)| Site { id, ..site }).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_trace_survives_any_codec_and_chunk_length(
        choices in choices(200),
        stored in any::<bool>(),
        chunk_bytes in prop_oneof![0..200u32, Just(u32::MAX)],
        tick_hz in any::<u64>(),
        default_align_log2 in 0..31u8,
        sites in sites(),
        facts in prop::collection::vec((text(), text()), 0..4),
    ) {
        let header = Header { tick_hz, default_align_log2, address_shift: 0 };
        let mut trace = build(header, &choices);
        for (key, value) in &facts {
            trace.add_fact(key, value);
        }
        let codec = if stored { Codec::Stored } else { Codec::Zstd(3) };
        let options = WriteOptions { header, codec, chunk_bytes };
        let mut writer = Writer::new(Vec::new(), options).unwrap();
        writer.sites(&sites).unwrap();
        for record in trace.records() {
            writer.write(record).unwrap();
        }
        writer.facts(trace.facts()).unwrap();
        let file = writer.finish().unwrap();

        let read = Trace::read(file.as_slice()).unwrap();
        prop_assert_eq!(read.events(), trace.events());
        prop_assert!(read.records().eq(trace.records()));
        prop_assert_eq!(read.header(), header);
        prop_assert_eq!(read.sites(), &sites);
        prop_assert_eq!(read.facts(), &facts);
        prop_assert_eq!(read.allocations(), trace.allocations());
        prop_assert_eq!(read.info(), trace.info());

        let mut reader = Reader::new(file.as_slice()).unwrap();
        let streamed: Vec<Record> = (&mut reader).map(Result::unwrap).collect();
        prop_assert!(streamed.into_iter().eq(trace.records()));
        prop_assert_eq!(reader.sites(), &sites);
    }

    #[test]
    fn a_file_without_its_end_gives_all_its_whole_chunks(choices in choices(200), cut in 0..20usize) {
        let trace = build(Header::default(), &choices);
        let options = WriteOptions { codec: Codec::Stored, chunk_bytes: 64, ..WriteOptions::default() };
        let mut writer = Writer::new(Vec::new(), options).unwrap();
        let mut flushed = 0;
        for (i, record) in trace.records().enumerate() {
            writer.write(record).unwrap();
            if i % 7 == 0 {
                writer.flush().unwrap();
                flushed = i + 1;
            }
        }
        let file = writer.finish().unwrap();
        // The end mark has a header of 16 bytes and at least two of totals.
        let cut = cut.min(17) + 1;
        let (read, fault) = Trace::recover(&file[..file.len() - cut], Limits::default()).unwrap();
        prop_assert!(matches!(fault.unwrap().fault, Fault::Truncated));
        prop_assert!(read.events().len() >= flushed);
        prop_assert!(trace.events().starts_with(read.events()));
    }
}

#[test]
fn large_traces_take_several_chunks_and_site_names_may_fill_them() {
    let mut builder = evenfit_trace::TraceBuilder::default();
    for i in 0..200_000u64 {
        builder.alloc(i * 977 % 5000, 8).unwrap();
        if i % 3 == 0 {
            builder.free(i as u32).unwrap();
        }
    }
    let name = "n".repeat(60_000);
    builder.sites((1..=200).map(|id| Site { id, name: name.clone(), ..Site::default() }));
    let trace = builder.finish();
    let file = write(&trace, WriteOptions { chunk_bytes: 10_000, ..WriteOptions::default() });
    let read = Trace::read(file.as_slice()).unwrap();
    assert_eq!(read.events(), trace.events());
    assert_eq!(read.sites().len(), 200);
    assert_eq!(read.site(77).unwrap().name, name);
    assert_eq!(read.site(201), None);
}

#[test]
fn saving_replaces_the_file_whole_or_not_at_all() {
    let folder = std::env::temp_dir().join(format!("evenfit-trace-save-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.evt");
    let mut builder = evenfit_trace::TraceBuilder::default();
    builder.alloc(5, 1).unwrap();
    let trace = builder.finish();
    trace.save(&path, Codec::Zstd(3)).unwrap();
    assert_eq!(Trace::open(&path).unwrap().events(), trace.events());
    let error = trace.save(folder.join("absent/a.evt"), Codec::Zstd(3)).unwrap_err();
    assert!(matches!(error.fault, Fault::Io(_)));
    // A folder can't be replaced by a file: the save fails at its last step and leaves no part
    // behind.
    std::fs::create_dir(folder.join("b.evt")).unwrap();
    assert!(trace.save(folder.join("b.evt"), Codec::Zstd(3)).is_err());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
