//! Importing what ESP-IDF's `heap_trace_dump` prints, from a log with other lines in it.
//!
//! ```text
//! ====== Heap Trace: 2 records (100 capacity) ======
//!     32 bytes (@ 0x3ffaf214, Internal) allocated CPU 0 ccount 0x2e9b7384 caller 0x400d276d:0x400d27c1
//!    260 bytes (@ 0x3ffaf244, Internal) allocated CPU 1 ccount 0x2e9b8a10 caller 0x400d276d freed by 0x400d2801
//! ```
//!
//! The records come in the order of allocation. A dump says *that* a block was freed, not when:
//! here it is freed at the end, or where its address is allocated again. So a pool found for such a
//! trace is large enough, and perhaps too large.

use std::collections::HashMap;
use std::io::BufRead;

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Bounded, Lines};
use crate::{Event, Fault, Limits, Record, Site, Trace, TraceError};

const LINE_BYTES_MAX: usize = 64 << 10;
/// How far into a log the dump may begin for the file to be known as one.
const LOOK_BYTES: usize = 4096;
const TITLE: &[u8] = b"Heap Trace: ";

/// Whether a dump begins in these first bytes.
pub(crate) fn is_dump(start: &[u8]) -> bool {
    let start = &start[..start.len().min(LOOK_BYTES)];
    start.windows(TITLE.len()).any(|window| window == TITLE)
}

/// Reads what can be read, and the first fault.
pub(crate) fn read(
    input: impl BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let mut lines = Lines::new(input, LINE_BYTES_MAX);
    let mut builder = TraceBuilder::new(Header { default_align_log2: 2, ..Header::default() });
    let mut importer = Importer::default();
    let fault = lines::import(&mut lines, &mut importer, &mut builder, limits).err();
    builder.sites(importer.sites());
    Ok((builder.finish(), fault))
}

#[derive(Default)]
struct Importer {
    /// By address: the block, and whether the dump says that it was freed.
    live: HashMap<u64, (u32, bool)>,
    last: Option<u64>,
    /// By the innermost caller.
    sites: HashMap<u64, u32>,
}

impl lines::Importer for Importer {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Fault> {
        if let Some((record, rest)) = line.split_once(" bytes (@ ") {
            self.record(record, rest, builder)?;
        }
        if line.contains("freed by")
            && let Some((_, freed)) = self.last.and_then(|address| self.live.get_mut(&address))
        {
            *freed = true;
        }
        Ok(())
    }

    fn end(&mut self, builder: &mut Bounded) -> Result<(), Fault> {
        let freed = self.live.values().filter(|(_, freed)| *freed);
        let mut freed: Vec<u32> = freed.map(|&(id, _)| id).collect();
        freed.sort_unstable();
        freed.into_iter().try_for_each(|id| free(builder, id))
    }
}

fn free(builder: &mut Bounded, id: u32) -> Result<(), Fault> {
    builder.push(Record { event: Event::Free { id }, time: 0, thread: 0, site: 0 })
}

impl Importer {
    fn record(&mut self, before: &str, rest: &str, builder: &mut Bounded) -> Result<(), Fault> {
        // A log puts its own words in front.
        let size = before.rsplit(' ').next().and_then(|size| size.parse().ok());
        let address = rest.split([',', ')', ' ']).next().and_then(hexadecimal);
        let (Some(size), Some(address)) = (size, address) else {
            return Err(Fault::Line("'N bytes (@ 0x...' has no size or no address".into()));
        };
        if let Some((id, _)) = self.live.remove(&address) {
            free(builder, id)?;
        }
        let word_after =
            |key: &str| rest.split_once(key).and_then(|(_, rest)| rest.split([' ', ':']).next());
        let caller = word_after("caller ").and_then(hexadecimal).unwrap_or(0);
        let site = match caller {
            0 => 0,
            caller => {
                let next = self.sites.len() as u32 + 1;
                *self.sites.entry(caller).or_insert(next)
            }
        };
        let thread = word_after("CPU ").and_then(|core| core.parse().ok()).unwrap_or(0);
        let id = builder.builder.allocations();
        let event = Event::Alloc { id, size, align_log2: 2, zeroed: false };
        builder.push(Record { event, time: 0, thread, site })?;
        self.live.insert(address, (id, false));
        self.last = Some(address);
        Ok(())
    }

    fn sites(&self) -> Vec<Site> {
        let sites =
            self.sites.iter().map(|(&address, &id)| Site { id, address, ..Site::default() });
        sites.collect()
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
