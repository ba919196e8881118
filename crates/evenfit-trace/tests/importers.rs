//! Recordings of other tools, read.

use std::io::Write as _;
use std::process::Command;

use evenfit_trace::{Codec, Event, Fault, Limits, Trace};

fn alloc(id: u32, size: u64, align_log2: u8) -> Event {
    Event::Alloc { id, size, align_log2, zeroed: false }
}

const HEAPTRACK: &str = "\
v 10400 3
X ./app with arguments
I 1000 5e2990
s 8 /opt/app
s 6 decode
s 8 decode.c
s 4 main
i 401000 1 2 3 1f
i 402000 1 4 0 0
t 2 0
t 1 1
a 64 2
a 10 1
# a comment
+ 0
c a
+ 1
+ 0
- 0
R 100
- 1
- 1
";

#[test]
fn heaptracks_data_is_read_with_sizes_order_call_paths_and_time() {
    let trace = Trace::read(HEAPTRACK.as_bytes()).unwrap();
    let expected = [
        alloc(0, 100, 4),
        alloc(1, 16, 4),
        alloc(2, 100, 4),
        Event::Free { id: 2 },
        Event::Free { id: 1 },
    ];
    assert_eq!(trace.events(), expected);
    assert_eq!(trace.repairs().unknown_frees, 1);
    let record = trace.record(2).unwrap();
    assert_eq!((record.time, trace.header().tick_hz), (10, 1000));
    let site = trace.site(record.site).unwrap();
    assert_eq!(
        (site.name.as_str(), site.location.as_str(), site.parent),
        ("decode", "decode.c:31", 1)
    );
    assert_eq!(trace.site(1).unwrap().location, "/opt/app");
    assert_eq!(trace.facts(), [("program".to_owned(), "./app with arguments".to_owned())]);
}

#[test]
fn heaptracks_data_is_read_packed_too() {
    let packed = zstd::encode_all(HEAPTRACK.as_bytes(), 3).unwrap();
    assert_eq!(Trace::read(packed.as_slice()).unwrap().events().len(), 5);
    for len in 0..packed.len() {
        let error = Trace::read(&packed[..len]).unwrap_err();
        assert!(error.offset <= HEAPTRACK.len() as u64, "{len}: {error}");
    }
    let else_packed = zstd::encode_all(b"garbage".as_slice(), 3).unwrap();
    let error = Trace::read(else_packed.as_slice()).unwrap_err();
    assert!(matches!(error.fault, Fault::NotATrace), "{error}");
}

#[test]
fn what_is_no_data_of_heaptrack_is_named_with_its_place() {
    for (text, part) in [
        ("v 10400 9\n", "format 9"),
        ("v 1 3\n+ 0\n", "kind of allocation"),
        ("v 1 3\na zz 0\n", "'zz'"),
        ("v 1 3\na 10\n", "missing"),
        ("v 1 3\na ffffffffffffff 0\n+ 0\n", "at most"),
        ("v 1 3\na 10 fffffffff\n", "call path"),
    ] {
        let error = Trace::read(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn no_small_file_takes_much_memory() {
    // A long name that many call paths share, each of which would copy it.
    let mut text = format!("v 1 3\ns f0000 {}\ni 1 0 1 1 1\n", "x".repeat(0xf0000));
    text.push_str(&"t 1 0\n".repeat(100_000));
    let limits = Limits { notes_bytes: 8 << 20, ..Limits::default() };
    let (trace, fault) = Trace::recover(text.as_bytes(), limits).unwrap();
    assert!(fault.is_none());
    let bytes: usize = trace.sites().iter().map(|site| site.name.len()).sum();
    assert!(trace.sites().len() == 100_000 && bytes < 8 << 20, "{bytes}");
}

/// With the real tool, where it is installed.
#[test]
fn a_real_recording_of_heaptrack_is_read() {
    let directory = std::env::temp_dir().join(format!("evenfit-heaptrack-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let output = directory.join("sort");
    let run = Command::new("heaptrack").arg("-o").arg(&output).args(["sort", "/dev/null"]).output();
    let read = match run {
        Ok(run) if run.status.success() => Trace::open(output.with_extension("zst")).ok(),
        _ => None,
    };
    let _ = std::fs::remove_dir_all(&directory);
    let Some(trace) = read else {
        // Not by `eprintln!`, whose output is only shown of tests that fail.
        let _ = writeln!(std::io::stderr(), "skipped: this test needs heaptrack with zstd");
        return;
    };
    assert!(trace.events().len() > 10);
    assert!(trace.sites().iter().any(|site| !site.location.is_empty()));
}

const ESP_IDF: &str = "\
I (342) main: tracing
====== Heap Trace: 4 records (100 capacity) ======
    32 bytes (@ 0x3ffaf214, Internal) allocated CPU 0 ccount 0x2e9b7384 caller 0x400d276d:0x400d27c1
0x400d276d: leak_some_memory at /esp/main.c:27
   260 bytes (@ 0x3ffaf244, Internal) allocated CPU 1 ccount 0x2e9b8a10 caller 0x400d2701
freed by 0x400d2801:0x400d2805
    16 bytes (@ 0x3ffaf244, Internal) allocated CPU 0 ccount 0x2e9b9a10 caller 0x400d276d
     8 bytes (@ 0x3ffaf300) allocated CPU 0 ccount 0x2e9b9b10 caller 0x400d276d freed by 0x400d2801
====== Heap Trace Summary ======
";

#[test]
fn a_dump_of_esp_idf_is_read_out_of_a_log() {
    let trace = Trace::read(ESP_IDF.as_bytes()).unwrap();
    let expected = [
        alloc(0, 32, 2),
        alloc(1, 260, 2),
        // Its address is allocated again.
        Event::Free { id: 1 },
        alloc(2, 16, 2),
        alloc(3, 8, 2),
        // Freed at some time: taken as the end.
        Event::Free { id: 3 },
    ];
    assert_eq!(trace.events(), expected);
    let sites: Vec<u32> = trace.records().map(|record| record.site).collect();
    assert_eq!(trace.site(sites[0]).unwrap().address, 0x400d_276d);
    assert_eq!((sites[0], trace.record(1).unwrap().thread), (sites[3], 1));
    let broken = "Heap Trace: 1\n many bytes (@ 0x3ffaf214) allocated\n";
    let error = Trace::read(broken.as_bytes()).unwrap_err();
    assert!(matches!(error.fault, Fault::Line(_)), "{error}");
}

/// Found by a fuzz target: such a file was read as a log.
#[test]
fn a_file_whose_notes_speak_of_a_dump_is_no_dump() {
    let mut trace = Trace::read(HEAPTRACK.as_bytes()).unwrap();
    trace.add_fact("title", "====== Heap Trace: 2 records");
    let mut file = Vec::new();
    trace.write(&mut file, evenfit_trace::Codec::Stored).unwrap();
    let again = Trace::read(file.as_slice()).unwrap();
    assert_eq!(again.events(), trace.events());
    assert!(again.facts().contains(&trace.facts()[1]));
}

const ZEPHYR: &str = "\
*** Booting Zephyr OS build v3.6.0 ***
[00:00:00.250,000] <inf> app: 0 bytes allocated so far
[00:00:01.000,000] <inf> app: Memory allocated at 0x20001a40, size 40
[00:00:01.000,500] <inf> nrf_modem: lib alloc 0x20002000, size 96
[0] Heap 0x20000b80, alloc 0x20001b00, size 16
[00:00:02.000,000] <inf> app: heap ALLOC #4 size=24 ptr=0x20001c00 running_total=64 thread=\"main\"
[00:00:02.500,000] <inf> app: Memory allocated at 0x20001a40, size 64
[00:00:02.500,000] <inf> app: Memory freed at 0x20001a40, size 40
[00:00:03.000,000] <inf> nrf_modem: lib free  0x20002000, size 96
[00:00:03.100,000] <inf> nrf_modem: shm: free 0123, allocated 0040, max allocated 0096, failed 0
Heap 0x20000b80, free 0x20001b00, size 16
[00:00:04.000,000] <inf> app: heap FREE  #5 size=8 ptr=0x2000ffff running_total=0
[01:00:00.000,001] <inf> app: Memory freed at 0x20001a40, size 64
";

#[test]
fn a_log_of_zephyrs_heap_listeners_is_read() {
    let trace = Trace::read(ZEPHYR.as_bytes()).unwrap();
    let expected = [
        alloc(0, 40, 3),
        alloc(1, 96, 3),
        alloc(2, 16, 3),
        alloc(3, 24, 3),
        // Allocated at its own address, then freed with its old size: resized in place.
        Event::Realloc { id: 0, new_size: 64 },
        Event::Free { id: 1 },
        Event::Free { id: 2 },
        Event::Free { id: 0 },
    ];
    assert_eq!(trace.events(), expected);
    assert_eq!(trace.header().tick_hz, 1_000_000);
    let times: Vec<u64> = trace.records().map(|record| record.time).collect();
    assert_eq!(times[..4], [1_000_000, 1_000_500, 1_000_500, 2_000_000]);
    assert_eq!(times[7], 3_600_000_001);
    assert_eq!(trace.repairs().unknown_frees, 1);
}

#[test]
fn a_free_that_the_log_lost_is_mended_by_the_next_one() {
    let log = "alloc 0x1000, size 40\nalloc 0x1000, size 56\nfree 0x1000, size 56\n";
    let trace = Trace::read(log.as_bytes()).unwrap();
    assert_eq!(trace.events().len(), 3);
    assert_eq!(trace.events()[2], Event::Free { id: 0 });
}

#[test]
fn what_a_zephyr_log_can_not_mean_is_named_with_its_place() {
    let good = "alloc 0x1000, size 40\n";
    for (bad, part) in [
        ("alloc 0x2000, size 99999999999999999999\n", "fits"),
        ("alloc 0xfffffffffffffffff, size 4\n", "no address"),
        ("alloc 0x2000, size many\n", "'many'"),
        ("alloc 0x2000, size 400000000000000\n", "bytes"),
    ] {
        let log = format!("{good}{bad}");
        let error = Trace::read(log.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(part), "{bad}: {error}");
        assert_eq!(error.offset, good.len() as u64, "{bad}");
        let (trace, fault) = Trace::recover(log.as_bytes(), Limits::default()).unwrap();
        assert_eq!((trace.events().len(), fault.is_some()), (1, true));
    }
    let limits = Limits { events: 1, ..Limits::default() };
    let (trace, fault) = Trace::recover(format!("{good}{ZEPHYR}").as_bytes(), limits).unwrap();
    assert_eq!(trace.events().len(), 1);
    assert!(fault.is_some());
    // A log without a listener's line is no trace at all.
    assert!(Trace::read(&b"free memory: 12 bytes\nallocated 0x10\n"[..]).is_err());
}

#[test]
fn a_clock_that_could_not_be_written_again_is_refused_with_its_line() {
    const NANOSECONDS_MAX: u64 = u64::MAX >> 3;
    let heaptrack = |ms: u64| format!("v 10400 3\nt 1 1\na 10 1\n+ 0\nc {ms:x}\n+ 0\n");
    let zephyr = |clock: &str| {
        format!("Heap 0x20, alloc 0x40, size 16\n[{clock}] <inf> app: alloc 0x80, size 16\n")
    };
    let csv = |ns: u64| format!("op,block,size,time_ns\nalloc,a,8,0\n\nfree,a,,{ns}\n");

    let last_ms = NANOSECONDS_MAX / 1_000_000;
    for text in [
        heaptrack(last_ms),
        // 2,305,843,009 s and a little.
        zephyr("640511:56:49.213,693"),
        csv(NANOSECONDS_MAX),
    ] {
        let trace = Trace::read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}{error}"));
        let last = |trace: &Trace| trace.records().last().map(|record| record.time);
        let mut written = Vec::new();
        trace.write(&mut written, Codec::Stored).unwrap();
        assert_eq!(last(&Trace::read(written.as_slice()).unwrap()), last(&trace));
        written.clear();
        trace.write_csv(&mut written).unwrap();
        let again = Trace::read(written.as_slice()).unwrap();
        assert_eq!(again.events(), trace.events());
    }

    for (text, words) in [
        (heaptrack(last_ms + 1), "in line 5, column 3, at byte 27: clock: '218def416be'"),
        (heaptrack(0xbbbb_bbbb_bbbb_bbba), "clock: 'bbbbbbbbbbbbbbba'"),
        (
            zephyr("640511:56:49.213,694"),
            "in line 2, column 2, at byte 31: time: '640511:56:49.213,694'",
        ),
        (zephyr("99999999:00:00.000,000"), "time: '99999999:00:00.000,000'"),
        (zephyr("99999999999999999999999:00:00.000,000"), "is later than"),
        (zephyr("00:00:00.000,99999999999999999999999"), "is later than"),
        (
            csv(NANOSECONDS_MAX + 1),
            "in line 4, column 9, at byte 35: time_ns: '2305843009213693952'",
        ),
        (csv(u64::MAX), "time_ns: '18446744073709551615'"),
    ] {
        let error = Trace::read(text.as_bytes()).expect_err(&text).to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}
