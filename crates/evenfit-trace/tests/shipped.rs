//! The recorded programs in `traces/` agree with their table.

use std::path::PathBuf;

use evenfit_trace::Trace;

fn traces() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../traces")
}

/// The table's rows: file, program, operations, peak live bytes, blocks live then, most blocks
/// live.
fn table() -> Vec<(String, String, [u64; 4])> {
    let text = std::fs::read_to_string(traces().join("README.md")).unwrap();
    let rows = text.lines().filter(|line| line.contains(".evt |"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let figure = |i: usize| cells[i].replace(',', "").parse().unwrap();
        (cells[1].into(), cells[2].into(), [figure(3), figure(4), figure(5), figure(6)])
    })
    .collect()
}

#[test]
fn every_shipped_trace_reads_and_matches_the_table() {
    let table = table();
    assert_eq!(table.len(), 6);
    for (file, program, [operations, peak_live_bytes, blocks_at_peak, peak_live_blocks]) in table {
        let trace = Trace::open(traces().join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let info = trace.info();
        assert_eq!(info.operations, operations, "{file}");
        assert_eq!(info.peak_live_bytes, peak_live_bytes, "{file}");
        assert_eq!(info.blocks_at_peak, blocks_at_peak, "{file}");
        assert_eq!(info.peak_live_blocks, peak_live_blocks, "{file}");
        assert_eq!(info.allocations, trace.allocations() as u64, "{file}");
        assert_eq!(info.allocations - info.frees, info.leaked_blocks, "{file}");
        assert_eq!(info.allocations + info.frees + info.reallocations, operations, "{file}");
        assert_eq!(trace.facts(), [("program".to_owned(), program)], "{file}");
    }
}

#[test]
fn the_table_names_every_file_and_they_are_small() {
    let files = std::fs::read_dir(traces()).unwrap().map(|entry| entry.unwrap());
    let (mut names, mut bytes) = (Vec::new(), 0);
    for file in files.filter(|file| file.path().extension().is_some_and(|e| e == "evt")) {
        names.push(file.file_name().into_string().unwrap());
        bytes += file.metadata().unwrap().len();
    }
    names.sort();
    let listed: Vec<String> = table().into_iter().map(|(file, ..)| file).collect();
    assert_eq!(names, listed);
    assert!(bytes <= 4 << 20, "{bytes} bytes");
}
