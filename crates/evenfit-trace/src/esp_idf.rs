//! Importing what ESP-IDF's `heap_trace_dump` prints, from a log with other lines in it.
//!
//! Versions 3 to 5.0, and those from 5.1 on (`components/heap/heap_trace_standalone.c`):
//!
//! ```text
//! 2 allocations trace (100 entry buffer)
//! 32 bytes (@ 0x3ffaf214) allocated CPU 0 ccount 0x2e9b7384 caller 0x400d276d:0x400d27c1
//! 8 bytes (@ 0x3ffaf804) allocated CPU 1 ccount 0x2e9b79c0 caller 0x400d2776:0x400d27c1
//! freed by 0x400d2801:0x400d2805
//! 32 bytes alive in trace (1/2 allocations)
//! total allocations 2 total frees 1
//! (NB: Buffer has overflowed, so trace data is incomplete.)
//!
//! ====== Heap Trace: 2 records (100 capacity) ======
//!     32 bytes (@ 0x3ffaf214, Internal) allocated CPU 0 ccount 0x2e9b7384 caller 0x400d276d:0x400d27c1
//!    260 bytes (@ 0x3ffaf244, Internal) allocated CPU 1 ccount 0x2e9b8a10 freed
//! ====== Heap Trace Summary ======
//! Mode: Heap Trace All
//! 32 bytes alive in trace (1/2 allocations)
//! records: 2 (100 capacity, 2 high water mark)
//! total allocations: 2
//! total frees: 1
//! ================================
//! ```
//!
//! The records are in the order of allocation. A dump doesn't say when a block was freed. It is
//! read as freed at the end, or where its address is allocated again. So a pool found for such a
//! trace is large enough, and perhaps too large. A dump that is printed again while the trace goes
//! on repeats its first records; they are recognised by address, size and cycle count.

use std::collections::{HashMap, HashSet};

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Bounded, Misfit, Missing, wrong};
use crate::{Event, Fault, Record, Site};

pub(crate) const HEADER: Header = Header { tick_hz: 0, default_align_log2: 2, address_shift: 0 };

/// Most records that are kept apart, so that no file can use all memory. No such device has room
/// for that many.
const RECORDS_MAX: u64 = 4 << 20;
const RECORD: &str = " bytes (@ ";
const LEAKS: &str = "the heap trace was made in leaks mode, which forgets what is freed; start it with HEAP_TRACE_ALL";
const OVERFLOWED: &str = "the heap trace's buffer overflowed, and its first records are lost; give \
                          heap_trace_init_standalone a longer one";
const DUMPED_LATE: &str =
    "more was traced while the heap trace was dumped; call heap_trace_stop before heap_trace_dump";
const CORRUPT: &str = "the device found its list of records corrupt";
const NO_END: &str = "the end of a heap trace is not in the log, which would tell whether all of it was recorded; keep \
                      the log until behind the dump";
const NO_TITLE: &str =
    "records of a heap trace stand outside of a dump: its beginning or a part is missing";
const SEVERAL: &str =
    "the log has several heap traces, and what happened between them is in none; keep one of them";

/// Whether this line is part of a dump.
pub(crate) fn begins(line: &str) -> bool {
    title(line).is_some() || matches!(parse(line), Ok(Some(_)))
}

/// How many records a dump's first line announces.
fn title(line: &str) -> Option<u64> {
    if let Some((_, rest)) = line.split_once("Heap Trace: ") {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        return rest[..digits].parse().ok();
    }
    let (before, rest) = line.split_once(" allocations trace (")?;
    rest.contains(" entry buffer)").then_some(())?;
    last_word(before).parse().ok()
}

/// How many allocations were traced, in a summary.
fn total(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("total allocations")?;
    rest.trim_start_matches([':', ' ']).split(' ').next()?.parse().ok()
}

fn last_word(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or_default()
}

/// A record, as parts of its line.
#[derive(Clone, Copy)]
struct Entry<'a> {
    size: u64,
    size_text: &'a str,
    address: u64,
    core: u32,
    cycles: Option<u64>,
    /// The innermost; 0 where unknown.
    caller: u64,
    is_freed: bool,
}

/// The record in a line, if it is one.
fn parse(line: &str) -> Result<Option<Entry<'_>>, Misfit> {
    let Some((before, rest)) = line.split_once(RECORD) else {
        return Ok(None);
    };
    let Some((place, rest)) = rest.split_once(") allocated") else {
        return Ok(None);
    };
    // A log may have its own words before it.
    let size_text = last_word(before);
    let size = size_text
        .parse()
        .map_err(|_| wrong(size_text, format!("'{size_text}' is no number of bytes that fits")))?;
    let address = hexadecimal(place.split(',').next().unwrap_or_default())?;
    let word_after = |key: &str| {
        let (_, rest) = rest.split_once(key)?;
        rest.split([' ', ':']).next()
    };
    let core = word_after(" CPU ").map_or(Ok(0), |core| {
        core.parse().map_err(|_| wrong(core, format!("CPU: '{core}' is no number")))
    })?;
    let cycles = word_after(" ccount ").map(hexadecimal).transpose()?;
    let caller = word_after(" caller ").filter(|caller| !caller.is_empty());
    let caller = caller.filter(|&word| word != "freed").map_or(Ok(0), hexadecimal)?;
    let is_freed = rest.contains(" freed");
    Ok(Some(Entry { size, size_text, address, core, cycles, caller, is_freed }))
}

fn hexadecimal(text: &str) -> Result<u64, Misfit> {
    let digits = text.strip_prefix("0x");
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or_else(|| wrong(text, format!("'{text}' is no number that begins with 0x")))
}

/// A live block.
struct Live {
    id: u32,
    /// The dump says that it was freed.
    is_freed: bool,
}

/// The state of the dump that is being read.
#[derive(Default)]
struct Dump {
    announced: u64,
    /// The blocks of its records.
    blocks: HashSet<u32>,
    /// How many blocks had records in the dumps before it, and how many of those it repeats.
    blocks_before: usize,
    repeated: usize,
    /// Whether its records are over.
    is_summed_up: bool,
    has_mode: bool,
    in_leaks_mode: bool,
    /// How many allocations were traced.
    total: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Importer {
    /// By address.
    live: HashMap<u64, Live>,
    /// The block of the record read last.
    last: Option<(u64, u32)>,
    /// Every record, by address, size and cycle count.
    seen: HashMap<(u64, u64, u64), u32>,
    /// By the innermost caller.
    sites: HashMap<u64, u32>,
    dump: Option<Dump>,
    missing: Missing,
}

impl lines::Importer for Importer {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Misfit> {
        if let Some(announced) = title(line) {
            self.close();
            let blocks_before = builder.builder.allocations() as usize;
            self.dump = Some(Dump { announced, blocks_before, ..Dump::default() });
            return Ok(());
        }
        let in_records = self.dump.as_ref().is_some_and(|dump| !dump.is_summed_up);
        match parse(line) {
            Ok(Some(entry)) => {
                if !in_records {
                    self.missing.add(NO_TITLE);
                }
                return self.record(entry, builder);
            }
            Err(misfit) if in_records => return Err(misfit),
            _ => {}
        }
        if in_records && line.contains("freed by 0x") {
            self.freed();
        }
        self.summary(line);
        Ok(())
    }

    fn end(&mut self, builder: &mut Bounded) -> Result<(), Misfit> {
        self.close();
        let freed = self.live.values().filter(|live| live.is_freed);
        let mut freed: Vec<u32> = freed.map(|live| live.id).collect();
        freed.sort_unstable();
        freed.into_iter().try_for_each(|id| Ok(free(builder, id)?))
    }
}

fn free(builder: &mut Bounded, id: u32) -> Result<(), Fault> {
    builder.push(Record { event: Event::Free { id }, time: 0, thread: 0, site: 0 })
}

impl Importer {
    fn record(&mut self, entry: Entry, builder: &mut Bounded) -> Result<(), Misfit> {
        let Entry { size, size_text, address, core, cycles, caller, is_freed } = entry;
        let known = cycles.and_then(|cycles| self.seen.get(&(address, size, cycles))).copied();
        let id = known.unwrap_or(builder.builder.allocations());
        if let Some(dump) = &mut self.dump {
            let is_new = dump.blocks.insert(id);
            dump.repeated += usize::from(is_new && (id as usize) < dump.blocks_before);
        }
        if known.is_none() {
            if let Some(live) = self.live.remove(&address) {
                free(builder, live.id)?;
            }
            let most = builder.limits.events.min(RECORDS_MAX);
            if self.seen.len() as u64 >= most {
                return Err(Fault::Limit { what: "records of a heap trace", most }.at(size_text));
            }
            let next = self.sites.len() as u32 + 1;
            let site = match caller {
                0 => 0,
                caller => *self.sites.entry(caller).or_insert(next),
            };
            let align_log2 = HEADER.default_align_log2;
            let event = Event::Alloc { id, size, align_log2, zeroed: false };
            let record = Record { event, time: 0, thread: core, site };
            builder.push(record).map_err(|fault| fault.at(size_text))?;
            self.live.insert(address, Live { id, is_freed: false });
            if let Some(cycles) = cycles {
                self.seen.insert((address, size, cycles), id);
            }
        }
        self.last = Some((address, id));
        if is_freed {
            self.freed();
        }
        Ok(())
    }

    /// The dump says that the block of the last record was freed.
    fn freed(&mut self) {
        let Some((address, id)) = self.last else {
            return;
        };
        if let Some(live) = self.live.get_mut(&address).filter(|live| live.id == id) {
            live.is_freed = true;
        }
    }

    /// Reads a line behind a dump's records.
    fn summary(&mut self, line: &str) {
        let Some(dump) = &mut self.dump else {
            return;
        };
        let in_leaks_mode =
            line.contains("Mode: Heap Trace Leaks") || line.contains(" bytes 'leaked' in trace");
        let in_all_mode =
            line.contains("Mode: Heap Trace All") || line.contains(" bytes alive in trace");
        if in_leaks_mode || in_all_mode || line.contains("= Heap Trace Summary =") {
            dump.is_summed_up = true;
            dump.has_mode |= in_leaks_mode || in_all_mode;
            dump.in_leaks_mode |= in_leaks_mode;
        }
        if dump.is_summed_up {
            dump.total = dump.total.or_else(|| total(line));
        }
        if line.contains("uffer has overflowed") {
            self.missing.add(OVERFLOWED);
        }
        if line.contains("New entries were traced while dumping") {
            self.missing.add(DUMPED_LATE);
        }
        if line.contains("heap trace linked list is corrupt") {
            self.missing.add(CORRUPT);
        }
    }

    /// Checks at the end of a dump whether it is complete.
    fn close(&mut self) {
        let Some(dump) = self.dump.take() else {
            return;
        };
        let (announced, found) = (dump.announced, dump.blocks.len() as u64);
        if dump.in_leaks_mode {
            self.missing.add(LEAKS);
        }
        if found != announced {
            self.missing.add(&format!(
                "a heap trace announces {announced} records and {found} are in the log: lines are missing, or it was \
                 dumped for one kind of memory only"
            ));
        } else if dump.total.is_none() || !dump.has_mode {
            self.missing.add(NO_END);
        }
        match dump.total {
            Some(total) if total != announced && !dump.in_leaks_mode => self.missing.add(&format!(
                "the device traced {total} allocations and has records of {announced}; give \
                 heap_trace_init_standalone a longer buffer"
            )),
            _ => {}
        }
        if dump.repeated < dump.blocks_before {
            self.missing.add(SEVERAL);
        }
    }

    /// Adds what isn't an event, once the log has ended.
    pub(crate) fn finish(self, builder: &mut TraceBuilder) {
        let sites =
            self.sites.iter().map(|(&address, &id)| Site { id, address, ..Site::default() });
        builder.sites(sites);
        self.missing.tell(builder);
    }
}
