//! Files from the field: behind boot logs, compressed, with other line ends, incomplete.

use std::fmt::Write as _;
use std::io::{Read, Write};

use evenfit_trace::{Codec, Event, Fault, Limits, Trace, TraceBuilder, TraceError};

fn alloc(id: u32, size: u64, align_log2: u8) -> Event {
    Event::Alloc { id, size, align_log2, zeroed: false }
}

fn read(text: &str) -> Trace {
    Trace::read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn missing(trace: &Trace) -> Vec<&str> {
    trace.incomplete().collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// As versions 3 to 5.0 print it.
fn dump_of_version_4(mode_line: &str, total: u64) -> String {
    format!(
        "3 allocations trace (100 entry buffer)
32 bytes (@ 0x3ffaf214) allocated CPU 0 ccount 0x2e9b7384 caller 0x400d276d:0x400d27c1
0x400d276d: leak_some_memory at /path/main/blink.c:27
260 bytes (@ 0x3ffaf244) allocated CPU 1 ccount 0x2e9b79c0 caller 0x400d2776:0x400d27c1
freed by 0x400d2801:0x400d2805
8 bytes (@ 0x3ffaf804) allocated CPU 1 ccount 0x2e9b79d0 caller \n{mode_line}
total allocations {total} total frees 1
"
    )
}

const ALL: &str = "40 bytes alive in trace (2/3 allocations)";

/// As versions from 5.1 on print it; `freed` stands behind the second record.
fn dump_of_version_5(mode: &str, freed: &str, end: &str) -> String {
    format!(
        "====== Heap Trace: 3 records (100 capacity) ======
    32 bytes (@ 0x3fca1000, Internal) allocated CPU 0 ccount 0x042ac374 caller 0x40376183:0x4037da9c
--- 0x40376183: heap_caps_malloc at C:/esp-idf-v5.3.1/components/heap/heap_caps.c:84

   260 bytes (@ 0x3fcaa114, Internal) allocated CPU 1 ccount 0x04371de8 caller 0x40376183:0x403761b8{freed}
     8 bytes (@ 0x3c0d0000,    PSRAM) allocated CPU 1 ccount 0x04391de8
====== Heap Trace Summary ======
Mode: Heap Trace {mode}
40 bytes alive in trace (2/3 allocations)
records: 3 (100 capacity, 3 high water mark)
total allocations: 3
total frees: 1
{end}================================
"
    )
}

fn whole_dump_of_version_5() -> String {
    dump_of_version_5("All", "\nfreed by 0x40376200:0x4037da9c", "")
}

const SYSTEM_VIEW: &str = "\
[INFO] Parse trace from 'a.svdat'...
[0.002272225] HEAP: Allocated 8 bytes @ 0x3ffaff6c from task \"main\" on core 0 by:
/home/user/main/sysview_heap_log.c:85
/home/user/components/esp32/cpu_start.c:570

[0.002307300] HEAP: Allocated 2500 bytes @ 0x3ffb580c from task \"worker\" on core 1 by: 0x400d276d:0x400d27c1
[0.002835275] LOG: I (298) example: Task[0x3ffb61d4]: allocated 2 bytes @ 0x3ffafff4
[0.003427700] HEAP: Freed bytes @ 0x3ffaff6c from task \"free\" on core 0 by:
/home/user/main/sysview_heap_log.c:31 (discriminator 2)

[0.003427800] HEAP: Freed bytes @ 0x3ffc0000 from IRQ \"5\" on core 0 by:
=============== HEAP TRACE REPORT ===============
Processed 4 heap events.
[0.002307300] HEAP: Allocated 2500 bytes @ 0x3ffb580c from task \"worker\" on core 1 by: 0x400d276d:0x400d27c1
Found 2500 leaked bytes in 1 blocks.
";

const ZEPHYR: &str = "\
[00:00:01.000,000] <inf> app: Memory allocated at 0x20001a40, size 40
[00:00:01.000,500] <inf> nrf_modem: lib alloc 0x20002000, size 96
[00:00:02.500,000] <inf> app: Memory freed at 0x20001a40, size 40
";

const HEAPTRACK: &str = "v 10400 3\nX ./app\nt 1 0\na 64 1\na 10 1\n+ 0\n+ 1\n- 0\n";
const CSV: &str = "op,block,size\nalloc,a,100\nalloc,b,24\nfree,a,\n";

/// One text of every format that is read as text.
fn texts() -> Vec<(&'static str, String)> {
    vec![
        ("csv", CSV.into()),
        ("heaptrack", HEAPTRACK.into()),
        ("ESP-IDF 4", dump_of_version_4(ALL, 3)),
        ("ESP-IDF 5", whole_dump_of_version_5()),
        ("SystemView", SYSTEM_VIEW.into()),
        ("Zephyr", ZEPHYR.into()),
    ]
}

#[test]
fn dumps_of_esp_idf_are_read_with_the_headings_of_every_version() {
    let expected = [alloc(0, 32, 2), alloc(1, 260, 2), alloc(2, 8, 2), Event::Free { id: 1 }];
    for text in [
        dump_of_version_4(ALL, 3),
        whole_dump_of_version_5(),
        dump_of_version_5("All", " freed", ""),
    ] {
        let trace = read(&text);
        assert_eq!(trace.events(), expected, "{text}");
        assert_eq!(missing(&trace), [""; 0], "{text}");
        assert_eq!(trace.record(1).unwrap().thread, 1);
        let site = trace.site(trace.record(0).unwrap().site).unwrap();
        assert!(site.address == 0x400d_276d || site.address == 0x4037_6183);
    }
}

#[test]
fn the_text_of_system_view_is_read_and_its_report_not_counted_twice() {
    let trace = read(SYSTEM_VIEW);
    assert_eq!(trace.events(), [alloc(0, 8, 2), alloc(1, 2500, 2), Event::Free { id: 0 }]);
    assert_eq!(missing(&trace), [""; 0]);
    assert_eq!(trace.repairs().unknown_frees, 1);
    assert_eq!(trace.header().tick_hz, 1_000_000_000);
    let records: Vec<_> = trace.records().collect();
    let times: Vec<u64> = records.iter().map(|record| record.time).collect();
    assert_eq!(times, [2_272_225, 2_307_300, 3_427_700]);
    let threads: Vec<u32> = records.iter().map(|record| record.thread).collect();
    assert_eq!(threads, [0, 1, 2]);
    let site = |index: usize| trace.site(records[index].site).unwrap();
    assert_eq!(site(0).location, "/home/user/main/sysview_heap_log.c:85");
    assert_eq!(site(1).address, 0x400d_276d);
    assert_eq!(site(2).location, "/home/user/main/sysview_heap_log.c:31 (discriminator 2)");
}

#[test]
fn a_dump_is_found_behind_any_log_and_between_any_lines() {
    let boot: Vec<Vec<u8>> = vec![
        Vec::new(),
        (0..5000)
            .flat_map(|i| format!("I ({i}) boot: a line of the log\r\n").into_bytes())
            .collect(),
        // A serial line before its speed is set.
        (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        vec![b'x'; 3 << 20],
        vec![0; 200_000],
        b"I (3) esp_psram: allocated 0x3f800000, size 4096\nHeap Trace: off\n".to_vec(),
        b"free memory: 12 bytes\nallocated 0x10\n32 bytes (@ 0x10) given\n".to_vec(),
    ];
    let between =
        "\u{1b}[0;33mW (9) wifi: 3 bytes (@ 0x12, rx) dropped\u{1b}[0m\n\u{0}\u{fffd}\nop,block\n";
    for (name, text) in texts().into_iter().skip(2) {
        let expected = read(&text);
        for before in &boot {
            if name == "Zephyr" && before.windows(9).any(|bytes| bytes == b"esp_psram") {
                continue;
            }
            let mut log = [before.as_slice(), b"\n"].concat();
            for line in text.lines() {
                log.extend_from_slice(line.as_bytes());
                log.push(b'\n');
                // What was printed by one call stands together.
                if !line.ends_with("by:") {
                    log.extend_from_slice(between.as_bytes());
                    log.extend_from_slice(b"\xff\xfe broken\n");
                }
            }
            let trace = Trace::read(log.as_slice()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(trace.events(), expected.events(), "{name}");
            assert_eq!(missing(&trace), missing(&expected), "{name}");
        }
    }
}

#[test]
fn every_text_is_read_packed_with_a_byte_order_mark_and_with_other_line_ends() {
    for (name, text) in texts() {
        let expected = read(&text);
        assert!(expected.events().len() > 2, "{name}");
        let marked = format!("\u{feff}{text}");
        let carriage_returns = text.replace('\n', "\r\n");
        for text in [marked.clone(), carriage_returns, marked.replace('\n', "\r\r\n")] {
            let half = text.len() / 2;
            let parts = [gzip(&text.as_bytes()[..half]), gzip(&text.as_bytes()[half..])].concat();
            for bytes in
                [text.as_bytes().to_vec(), gzip(text.as_bytes()), zstd(text.as_bytes()), parts]
            {
                let trace = Trace::read(bytes.as_slice()).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(trace.events(), expected.events(), "{name}");
                assert!(trace.records().eq(expected.records()), "{name}");
                // As pipes give it.
                let trickle = std::io::Cursor::new(bytes).bytes().map(Result::unwrap);
                let trace = Trace::read(Trickle(trickle)).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(trace.events(), expected.events(), "{name}");
            }
        }
        for packed in [gzip(text.as_bytes()), zstd(text.as_bytes())] {
            for len in 0..packed.len() {
                let error = Trace::read(&packed[..len]).expect_err(name);
                if len > 4 {
                    assert!(matches!(error.fault, Fault::Truncated), "{name}, {len}: {error}");
                }
            }
        }
    }
    // An .evt file too, though it is packed by itself.
    let mut file = Vec::new();
    read(CSV).write(&mut file, Codec::Stored).unwrap();
    assert_eq!(Trace::read(gzip(&file).as_slice()).unwrap().events().len(), 3);
    let error = Trace::read(gzip(b"nothing of the kind\n").as_slice()).unwrap_err();
    assert!(matches!(error.fault, Fault::NotATrace), "{error}");
    let wide: Vec<u8> = CSV.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = Trace::read([b"\xff\xfe".as_slice(), &wide].concat().as_slice()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

/// One byte at a time.
struct Trickle<I>(I);

impl<I: Iterator<Item = u8>> Read for Trickle<I> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let Some(place) = out.first_mut() else {
            return Ok(0);
        };
        Ok(self.0.next().map_or(0, |byte| {
            *place = byte;
            1
        }))
    }
}

#[test]
fn what_says_that_it_is_incomplete_is_known_to_be() {
    let good = whole_dump_of_version_5();
    let overflowed = "(NB: Internal Buffer has overflowed, so trace data is incomplete.)\n";
    let late =
        "(NB: New entries were traced while dumping, so trace dump may have duplicate entries.)\n";
    let leaks = "40 bytes 'leaked' in trace (3 allocations)";
    let without = |part: &str| {
        let lines = good.lines().filter(|line| !line.contains(part));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let leaks_only = SYSTEM_VIEW.split_once("====").unwrap().1;
    let cases: Vec<(String, &str)> = vec![
        (dump_of_version_4(leaks, 3), "leaks mode"),
        (dump_of_version_4(ALL, 5598), "5598 allocations and has records of 3"),
        (
            dump_of_version_4(ALL, 3)
                + "(NB: Buffer has overflowed, so trace data is incomplete.)\n",
            "overflowed",
        ),
        (dump_of_version_5("Leaks", "", ""), "leaks mode"),
        (dump_of_version_5("All", "", overflowed), "overflowed"),
        (dump_of_version_5("All", "", late), "heap_trace_stop"),
        (
            good.replace(
                "caps.c:84\n",
                "Error: heap trace linked list is corrupt. expected more records.\n",
            ),
            "corrupt",
        ),
        (without("260 bytes"), "announces 3 records and 2 are in the log"),
        (without("Heap Trace: 3"), "outside of a dump"),
        (good.split_once("======\nMode").unwrap().0.to_owned(), "the end of a heap trace"),
        (without("total allocations"), "the end of a heap trace"),
        (good.replace("allocations: 3", "allocations: 7"), "7 allocations"),
        // Another trace, at other times.
        (format!("{good}{}", good.replace("ccount 0x0", "ccount 0x1")), "several heap traces"),
        (SYSTEM_VIEW.replace("Processed 4", "Processed 612"), "612 heap events"),
        (format!("==={leaks_only}"), "--print-events"),
        (format!("{SYSTEM_VIEW}svOverflow: drop_cnt 3\n"), "SystemView's buffer"),
        (
            format!("{ZEPHYR}--- 12 messages dropped ---\n{ZEPHYR}--- 3 messages dropped ---\r\n"),
            "15 messages",
        ),
        (format!("--- 1 messages dropped ---\n{ZEPHYR}"), "CONFIG_LOG_BUFFER_SIZE"),
        (HEAPTRACK.replace("X ./app\n", "X ./app\nA\n"), "attached"),
        (format!("{CSV}# incomplete: the disk was full\n# a comment\n"), "the disk was full"),
    ];
    for (text, part) in cases {
        let trace = read(&text);
        assert!(!trace.events().is_empty(), "{text}");
        let why = missing(&trace).join("; ");
        assert!(why.contains(part), "{part}: {why}\n{text}");
        // It stays so in every format that can be read again.
        let mut file = Vec::new();
        trace.write(&mut file, Codec::Stored).unwrap();
        assert_eq!(missing(&Trace::read(file.as_slice()).unwrap()), missing(&trace));
        let mut table = Vec::new();
        trace.write_csv(&mut table).unwrap();
        assert_eq!(missing(&Trace::read(table.as_slice()).unwrap()), missing(&trace));
    }
    for (name, text) in texts() {
        assert_eq!(missing(&read(&text)), [""; 0], "{name}");
    }
}

#[test]
fn a_dump_that_is_printed_again_while_the_trace_goes_on_is_counted_once() {
    let first = whole_dump_of_version_5();
    let second = first
        .replace("3 records", "4 records")
        .replace("allocations: 3", "allocations: 4")
        .replace(
            "     8 bytes (@ 0x3c0d0000,    PSRAM) allocated CPU 1 ccount 0x04391de8\n",
            "     8 bytes (@ 0x3c0d0000,    PSRAM) allocated CPU 1 ccount 0x04391de8 freed\n    \
             24 bytes (@ 0x3c0d0000,    PSRAM) allocated CPU 1 ccount 0x04391f00\n",
        );
    let trace = read(&format!("{first}I (9) app: later\n{second}"));
    let expected = [
        alloc(0, 32, 2),
        alloc(1, 260, 2),
        alloc(2, 8, 2),
        Event::Free { id: 2 },
        alloc(3, 24, 2),
        Event::Free { id: 1 },
    ];
    assert_eq!(trace.events(), expected);
    assert_eq!(missing(&trace), [""; 0]);
}

#[test]
fn what_is_written_as_csv_says_it_in_one_line_that_can_be_read() {
    let mut builder = TraceBuilder::default();
    builder.alloc(8, 8).unwrap();
    builder.incomplete(format!("two\nlines\r\n{}", "\u{1f980}".repeat(9000)));
    let mut table = Vec::new();
    builder.finish().write_csv(&mut table).unwrap();
    let again = Trace::read(table.as_slice()).unwrap();
    assert_eq!((again.events().len(), missing(&again).len()), (1, 1));
    assert!(missing(&again)[0].starts_with("two lines"));
}

#[test]
fn errors_in_text_name_line_and_column() {
    let dump = whole_dump_of_version_5();
    let late = |text: &str| format!("boot\n\n{text}");
    let system_view = |event: &str| format!("{SYSTEM_VIEW}[0.1] HEAP: full\n[0.5] x\n{event}\n");
    for (text, line, column, part) in [
        (CSV.replace("24", "2x4"), 3, 9, "'2x4'"),
        (CSV.replace("alloc,b", " fetch,b"), 3, 2, "'fetch'"),
        (CSV.replace("alloc,b,24", "alloc,ä,24,7"), 3, 12, "4 cells"),
        (CSV.replace("alloc,b,24", "alloc,b"), 3, 8, "2 cells"),
        (CSV.replace("alloc,b,24", "alloc,b,999999999999999"), 3, 9, "at most"),
        (CSV.replace("block,size", "block,colour"), 1, 10, "'colour'"),
        (format!("\u{feff}{}", CSV.replace("block,size", "block,colour")), 1, 10, "'colour'"),
        (format!("{CSV}alloc,{},8\n", "x".repeat(5000)), 5, 1, "a line of more than 4096"),
        (HEAPTRACK.replace("+ 1", "+ 9"), 7, 3, "kind of allocation"),
        (HEAPTRACK.replace("a 64 1", "a 64"), 4, 5, "missing"),
        (HEAPTRACK.replace("a 64 1", "a 64 zz"), 4, 6, "'zz'"),
        (HEAPTRACK.replace("+ 1", "\u{1} 1"), 7, 1, "no kind of entry"),
        (HEAPTRACK.replace("X ./app", "x 5 ./app"), 2, 1, "--interpret"),
        (HEAPTRACK.trim_end().to_owned(), 8, 1, "the file ends here"),
        (late(&dump.replace("260 bytes", "26O bytes")), 7, 4, "'26O'"),
        (late(&dump.replace("0x3fcaa114", "3fcaa114")), 7, 17, "'3fcaa114'"),
        (late(&dump.replace("CPU 1", "CPU one")), 7, 53, "'one'"),
        (late(&dump.replace("260 bytes", "999999999999999 bytes")), 7, 4, "at most"),
        (system_view("[0.5] HEAP: Allocated 8 bytes"), 18, 23, "'bytes @' is missing"),
        (
            system_view(
                "[0.000000005] HEAP: Allocated 8x bytes @ 0x3 from task \"a\" on core 0 by:",
            ),
            18,
            31,
            "'8x'",
        ),
        (
            system_view("[0.05] HEAP: Freed bytes @ 0x3 from task \"a\" on core 0 by:"),
            18,
            2,
            "seconds",
        ),
        (late(&ZEPHYR.replace("size 96", "size many")), 4, 64, "'many'"),
        (late(&ZEPHYR.replace("0x20002000", "0xzz")), 4, 47, "'0xzz'"),
    ] {
        for bytes in [text.clone().into_bytes(), gzip(text.as_bytes())] {
            let error: TraceError = Trace::read(bytes.as_slice()).expect_err(&text);
            let place = (error.line, error.column);
            assert_eq!(place, (Some(line), Some(column)), "{part}: {error}\n{text}");
            let message = error.to_string();
            assert!(message.contains(part), "{part}: {message}");
            assert!(message.starts_with(&format!("in line {line}, column {column}, at byte ")));
        }
    }
}

#[test]
fn what_was_read_before_a_fault_is_kept_from_packed_text_too() {
    let mut text = CSV.to_owned();
    (0..200_000).for_each(|i| writeln!(text, "alloc,{i},{}", i * 37 % 1000).unwrap());
    for packed in [gzip(text.as_bytes()), zstd(text.as_bytes())] {
        let cut = &packed[..packed.len() - 10];
        let (trace, fault) = Trace::recover(cut, Limits::default()).unwrap();
        assert!(trace.events().len() > 1000, "{}", trace.events().len());
        assert!(matches!(fault.unwrap().fault, Fault::Truncated));
    }
}
