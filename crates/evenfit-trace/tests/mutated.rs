//! Five hundred damaged files of each imported format, always the same ones. Each is refused with
//! its line and column, or read correctly.
//!
//! A second reader below, which is as simple as possible, decides what is correct. This test has
//! its own process, so that its peak memory can be read.

mod common;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use common::peak_mib;
use evenfit_trace::{Codec, Event, Fault, Limits, Trace};

const MUTANTS: u64 = 500;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }
}

/// A program of 60 blocks: size and address of each, and which block is freed after which.
fn program() -> Vec<(usize, usize, Option<usize>)> {
    let mut random = Random(1);
    let block = |index: usize| {
        let size = 8 + random.below(3000);
        let freed = (index % 3 == 2).then(|| index - random.below(2));
        (size, 0x3ffa_0000 + index * 4096, freed)
    };
    (0..60).map(block).collect()
}

fn csv() -> String {
    let mut out = "op,block,size,align,time_ns\n".to_owned();
    for (index, (size, address, freed)) in program().into_iter().enumerate() {
        writeln!(out, "alloc,{address:#x},{size},8,{}", index * 1000).unwrap();
        if let Some(freed) = freed {
            writeln!(out, "free,{:#x},,,", 0x3ffa_0000 + freed * 4096).unwrap();
        }
    }
    out
}

fn heaptrack() -> String {
    let mut out = "v 10400 3\nX ./app\ns 4 main\ns 8 /opt/app\ni 401000 2 1\nt 1 0\n".to_owned();
    program().iter().for_each(|(size, ..)| writeln!(out, "a {size:x} 1").unwrap());
    for (index, (.., freed)) in program().into_iter().enumerate() {
        writeln!(out, "c {index:x}\n+ {index:x}").unwrap();
        freed.iter().for_each(|freed| writeln!(out, "- {freed:x}").unwrap());
    }
    out
}

fn esp_idf() -> String {
    let mut out =
        "I (5) boot: hello\n====== Heap Trace: 60 records (100 capacity) ======\n".to_owned();
    let program = program();
    for (index, (size, address, _)) in program.iter().enumerate() {
        writeln!(
            out,
            "{size:6} bytes (@ {address:#x}, Internal) allocated CPU 0 ccount {:#010x} caller 0x40376183:0x4037da9c",
            index * 1024
        )
        .unwrap();
        if program.iter().any(|&(.., freed)| freed == Some(index)) {
            out += "freed by 0x40376200:0x4037da9c\n";
        }
        out += if index % 7 == 0 { "I (9) wifi: between\n" } else { "" };
    }
    out + "====== Heap Trace Summary ======\nMode: Heap Trace All\n1 bytes alive in trace (1/60 allocations)\n\
           records: 60 (100 capacity, 60 high water mark)\ntotal allocations: 60\ntotal frees: 20\n\
           ================================\n"
}

fn system_view() -> String {
    let mut out = "[INFO] Parse trace from 'a.svdat'...\n".to_owned();
    let mut events = 0;
    for (index, (size, address, freed)) in program().into_iter().enumerate() {
        let task = "from task \"main\" on core 0 by:";
        writeln!(
            out,
            "[0.{index:09}] HEAP: Allocated {size} bytes @ {address:#x} {task}\n/main.c:{index}\n"
        )
        .unwrap();
        events += 1;
        if let Some(freed) = freed {
            let address = 0x3ffa_0000 + freed * 4096;
            writeln!(out, "[0.{index:09}] HEAP: Freed bytes @ {address:#x} {task} 0x400d276d")
                .unwrap();
            events += 1;
        }
    }
    writeln!(
        out,
        "=============== HEAP TRACE REPORT ===============\nProcessed {events} heap events."
    )
    .unwrap();
    out + "OK - Heap errors was not found.\n"
}

fn zephyr() -> String {
    let mut out = "*** Booting Zephyr OS build v3.6.0 ***\n".to_owned();
    for (index, (size, address, freed)) in program().into_iter().enumerate() {
        let clock = format!("[00:00:{index:02}.000,000] <inf> app: Memory");
        writeln!(out, "{clock} allocated at {address:#x}, size {size}").unwrap();
        if let Some(freed) = freed {
            let address = 0x3ffa_0000 + freed * 4096;
            writeln!(out, "{clock} freed at {address:#x}, size {}", program()[freed].0).unwrap();
        }
    }
    out
}

/// The sizes asked for, in order, as a text of a format says; `None` where this reading can't tell.
type Sizes = fn(&str) -> Option<Vec<u64>>;

fn csv_sizes(text: &str) -> Option<Vec<u64>> {
    let rows = text.lines().filter(|line| line.trim_start().starts_with("alloc"));
    rows.map(|row| row.split(',').nth(2)?.trim().parse().ok()).collect()
}

fn heaptrack_sizes(text: &str) -> Option<Vec<u64>> {
    let (mut kinds, mut sizes) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        let number = || u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
        match line.split(' ').next() {
            Some("a") => kinds.push(number()?),
            Some("+") => sizes.push(*kinds.get(number()? as usize)?),
            _ => {}
        }
    }
    Some(sizes)
}

fn esp_idf_sizes(text: &str) -> Option<Vec<u64>> {
    let mut known = HashSet::new();
    let records =
        text.lines().filter(|line| line.contains(" bytes (@ ") && line.contains(") allocated"));
    let records = records.filter(|line| known.insert(line.split(" caller").next().map(str::trim)));
    records.map(|line| line.split(" bytes (@ ").next()?.rsplit(' ').next()?.parse().ok()).collect()
}

fn system_view_sizes(text: &str) -> Option<Vec<u64>> {
    let events = text.split("= HEAP TRACE REPORT").next()?.lines();
    let events = events.filter_map(|line| line.split_once("] HEAP: Allocated "));
    events.map(|(_, event)| event.split(' ').next()?.parse().ok()).collect()
}

fn zephyr_sizes(text: &str) -> Option<Vec<u64>> {
    let is_call = |line: &&str| {
        let words = || line.split(|c: char| !c.is_ascii_alphanumeric());
        let has = |known: &str| words().any(|word| word.eq_ignore_ascii_case(known));
        has("allocated") && has("size") && words().any(|word| word.starts_with("0x"))
    };
    let calls = text.lines().filter(is_call);
    let size = |line: &str| {
        let at = line.to_ascii_lowercase().rfind("size")? + "size".len();
        let rest = line[at..].trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    calls.map(size).collect()
}

/// One kind of damage, or two.
fn damaged(text: &str, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(2) {
        if !bytes.iter().any(u8::is_ascii_digit) {
            break;
        }
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        let line = random.below(lines.len());
        let other = random.below(lines.len());
        match random.below(8) {
            0 => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                continue;
            }
            1 => {
                bytes.truncate(random.below(bytes.len()));
                continue;
            }
            2 => drop(lines.remove(line)),
            3 => lines.insert(other, lines[line].clone()),
            4 => lines.swap(line, other),
            5 => {
                let junk = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
                lines.insert(line, junk);
            }
            // A digit becomes another, or many.
            kind => {
                let digits: Vec<usize> =
                    (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit()).collect();
                let at = digits[random.below(digits.len())];
                let digit = b'0' + random.below(10) as u8;
                match kind {
                    6 => bytes[at] = digit,
                    _ => drop(bytes.splice(at..at, vec![digit; 1 + random.below(30)])),
                }
                continue;
            }
        }
        bytes = lines.concat();
    }
    bytes
}

/// What a trace asks for, in order, and a proof that what it frees was live.
fn sizes_of(trace: &Trace) -> Vec<u64> {
    let (mut live, mut sizes) = (HashSet::new(), Vec::new());
    for event in trace.events() {
        match *event {
            Event::Alloc { id, size, .. } => {
                assert!(live.insert(id));
                sizes.push(size);
            }
            Event::Realloc { id, new_size } => {
                assert!(live.contains(&id));
                sizes.push(new_size);
            }
            Event::Free { id } => assert!(live.remove(&id)),
        }
    }
    let info = trace.info();
    assert_eq!(info.leaked_blocks, live.len() as u64);
    assert_eq!(info.allocations - info.frees, info.leaked_blocks);
    sizes
}

fn check(name: &str, bytes: &[u8], sizes: Sizes, counts: &mut [u32; 3]) {
    let begun = Instant::now();
    let result = Trace::recover(bytes, Limits::default());
    assert!(begun.elapsed() < Duration::from_secs(5), "{name}: {:?}", begun.elapsed());
    let text = String::from_utf8_lossy(bytes);
    let (trace, fault) = match result {
        Ok(read) => read,
        Err(error) => {
            let is_unknown = matches!(error.fault, Fault::NotATrace | Fault::Utf16);
            assert!(is_unknown || error.line.is_some(), "{name}: {error}\n{text}");
            (Trace::default(), Some(error))
        }
    };
    let found = sizes_of(&trace);
    let mut file = Vec::new();
    trace.write(&mut file, Codec::Stored).unwrap();
    assert_eq!(Trace::read(file.as_slice()).unwrap().events(), trace.events());
    if let Some(fault) = fault {
        counts[0] += 1;
        let column = fault.line.is_none() || fault.column.is_some_and(|column| column > 0);
        assert!(column, "{name}: {fault}");
        return;
    }
    assert!(trace.info().largest_size < 1 << 48);
    let is_incomplete = trace.incomplete().next().is_some();
    match sizes(&text) {
        Some(sizes) => assert_eq!(sizes, found, "{name}\n{text}"),
        None => assert!(is_incomplete, "{name}\n{text}"),
    }
    if is_incomplete {
        counts[1] += 1;
        return;
    }
    counts[2] += 1;
    if name == "esp_idf" {
        // As the damage may be to this number, only then.
        let announced = text.split("Heap Trace: ").nth(1).and_then(|rest| rest.split(' ').next());
        assert_eq!(announced, Some(found.len().to_string().as_str()), "{text}");
    }
}

#[test]
fn a_damaged_file_is_refused_at_its_place_or_read_as_what_it_says() {
    let formats: [(&str, String, Sizes); 5] = [
        ("csv", csv(), csv_sizes),
        ("heaptrack", heaptrack(), heaptrack_sizes),
        ("esp_idf", esp_idf(), esp_idf_sizes),
        ("system_view", system_view(), system_view_sizes),
        ("zephyr", zephyr(), zephyr_sizes),
    ];
    for (name, text, sizes) in &formats {
        let whole = Trace::read(text.as_bytes()).unwrap();
        assert_eq!(whole.events().len(), 80, "{name}");
        assert_eq!(whole.incomplete().count(), 0, "{name}");
        let mut counts = [0; 3];
        for seed in 0..MUTANTS {
            check(name, &damaged(text, seed), *sizes, &mut counts);
        }
        println!("{name}: {counts:?} refused, incomplete, read");
        assert!(counts[2] > 50 && counts[0] + counts[1] > 50, "{name}: {counts:?}");

        // Damage to the packed file.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
        for packed in [gzip.finish().unwrap(), zstd] {
            for seed in 0..MUTANTS / 2 {
                let mut random = Random(seed);
                let (at, bit) = (random.below(packed.len()), random.below(8));
                let mut broken = packed.clone();
                broken[at] ^= 1 << bit;
                let _ = Trace::recover(broken.as_slice(), Limits::default());
                broken.truncate(at);
                let _ = Trace::recover(broken.as_slice(), Limits::default());
            }
        }
    }
    assert!(peak_mib().is_none_or(|mib| mib < 200), "{:?} MiB", peak_mib());
}
