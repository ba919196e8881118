//! Importing what Zephyr's heap listeners print, from a log with other lines in it.
//!
//! Zephyr calls a listener with an address and a size for each allocation and each free
//! (`CONFIG_SYS_HEAP_LISTENER`); the listener prints them in its own words. Known are the words of
//! Zephyr's documentation, of its tests and of the nRF modem library, and everything like them:
//!
//! ```text
//! [00:00:01.250,000] <inf> app: Memory allocated at 0x20001a40, size 40
//! [00:00:01.250,030] <inf> app: Memory freed at 0x20001a40, size 40
//! [0] Heap 0x20000b80, alloc 0x20001a40, size 40
//! [00:00:02.000,000] <inf> nrf_modem: lib alloc 0x20001a40, size 40
//! [00:00:02.000,000] <inf> app: heap ALLOC #7 size=40 ptr=0x20001a40
//! ```
//!
//! That is: `alloc`, `allocated`, `free` or `freed` as a word; after it the address, beginning with
//! `0x`; and for an allocation `size` or `bytes` and a number. The time is that of Zephyr's
//! logging, if there is one. Other lines are passed over.
//!
//! Sizes are those of the chunks that Zephyr's heap gave, which it rounds to 4 or 8 bytes. A block
//! that it resizes in place is told as allocated at its address anew and then freed with its old
//! size: this is read as a reallocation.

use std::collections::HashMap;
use std::io::BufRead;

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Bounded, Lines};
use crate::{Event, Fault, Limits, Record, Repairs, Trace, TraceError};

const LINE_BYTES_MAX: usize = 64 << 10;
/// How far into a log the first listener's line may be for the file to be known as one.
const LOOK_BYTES: usize = 32 << 10;
const MICROSECONDS_HZ: u64 = 1_000_000;

/// Whether a listener's allocation is among these first bytes.
pub(crate) fn is_log(start: &[u8]) -> bool {
    let start = &start[..start.len().min(LOOK_BYTES)];
    let mut lines = start.split(|&byte| byte == b'\n');
    lines.any(|line| {
        std::str::from_utf8(line)
            .is_ok_and(|line| matches!(Call::of(line), Ok(Some(Call::Alloc { .. }))))
    })
}

/// Reads what can be read, and the first fault.
pub(crate) fn read(
    input: impl BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let mut lines = Lines::new(input, LINE_BYTES_MAX);
    let mut builder = TraceBuilder::new(Header { tick_hz: MICROSECONDS_HZ, ..Header::default() });
    let mut importer = Importer::default();
    let fault = lines::import(&mut lines, &mut importer, &mut builder, limits).err();
    builder.repairs(importer.repairs);
    Ok((builder.finish(), fault))
}

/// What a listener was called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Alloc {
        address: u64,
        size: u64,
    },
    /// Some print no size here.
    Free {
        address: u64,
        size: Option<u64>,
    },
}

impl Call {
    /// `None`: it is another line.
    fn of(line: &str) -> Result<Option<Self>, Fault> {
        let mut words =
            line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let is = |word: &str, known: &[&str]| known.iter().any(|k| word.eq_ignore_ascii_case(k));
        let is_alloc = loop {
            match words.next() {
                None => return Ok(None),
                Some(word) if is(word, &["alloc", "allocated"]) => break true,
                Some(word) if is(word, &["free", "freed"]) => break false,
                Some(_) => {}
            }
        };
        let (mut address, mut size) = (None, None);
        let mut names_size = false;
        for word in words {
            if let Some(digits) = word.strip_prefix("0x") {
                // A heap's own address may stand before the block's.
                address = Some(
                    u64::from_str_radix(digits, 16)
                        .map_err(|_| Fault::Line(format!("'{word}' is no address")))?,
                );
            } else if names_size {
                size = Some(word.parse().map_err(|_| {
                    Fault::Line(format!("'{word}' is no number of bytes that fits"))
                })?);
            }
            names_size = size.is_none() && is(word, &["size", "bytes"]);
        }
        Ok(match (is_alloc, address, size) {
            (true, Some(address), Some(size)) => Some(Self::Alloc { address, size }),
            (false, Some(address), size) => Some(Self::Free { address, size }),
            _ => None,
        })
    }
}

/// Microseconds in `[hh:mm:ss.mmm,uuu]`, as Zephyr's logging writes it before a message.
fn time(line: &str) -> Option<Result<u64, Fault>> {
    let (clock, _) = line.strip_prefix('[')?.split_once(']')?;
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, rest) = rest.split_once(':')?;
    let (seconds, fraction) = rest.split_once('.')?;
    let (milliseconds, microseconds) = fraction.split_once(',')?;
    // What is too large stays so, to be refused.
    let number = |text: &str, unit: u64| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX).saturating_mul(unit))
    };
    let parts = [
        number(hours, 3600 * MICROSECONDS_HZ)?,
        number(minutes, 60 * MICROSECONDS_HZ)?,
        number(seconds, MICROSECONDS_HZ)?,
        number(milliseconds, 1000)?,
        number(microseconds, 1)?,
    ];
    let time = parts.into_iter().fold(0, u64::saturating_add);
    Some(lines::clock(time, MICROSECONDS_HZ, "time", clock))
}

/// A live block.
struct Live {
    id: u32,
    size: u64,
    /// Its size before it was told as allocated anew, until the free that belongs to that.
    before: Option<u64>,
}

#[derive(Default)]
struct Importer {
    live: HashMap<u64, Live>,
    repairs: Repairs,
    time: u64,
}

impl lines::Importer for Importer {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Fault> {
        let Some(call) = Call::of(line)? else {
            return Ok(());
        };
        // A clock that goes back is a device that began anew: its time stands still here.
        let time = time(line).transpose()?;
        self.time = self.time.max(time.unwrap_or(self.time));
        match call {
            Call::Alloc { address, size } => self.alloc(address, size, builder),
            Call::Free { address, size } => self.free(address, size, builder),
        }
    }
}

impl Importer {
    fn alloc(&mut self, address: u64, size: u64, builder: &mut Bounded) -> Result<(), Fault> {
        if let Some(live) = self.live.get_mut(&address) {
            let event = Event::Realloc { id: live.id, new_size: size };
            live.before = Some(live.size);
            live.size = size;
            return self.push(event, builder);
        }
        let id = builder.builder.allocations();
        let event = Event::Alloc {
            id,
            size,
            align_log2: Header::default().default_align_log2,
            zeroed: false,
        };
        self.push(event, builder)?;
        let live = Live { id, size, before: None };
        self.live.insert(address, live);
        Ok(())
    }

    fn free(
        &mut self,
        address: u64,
        size: Option<u64>,
        builder: &mut Bounded,
    ) -> Result<(), Fault> {
        let Some(live) = self.live.get_mut(&address) else {
            self.repairs.unknown_frees += 1;
            return Ok(());
        };
        // The second half of a resize in place; one that has no size can't be told from a free, and
        // is taken as one half too.
        let belongs =
            live.before.take().is_some_and(|before| size.is_none_or(|size| size == before));
        if belongs {
            return Ok(());
        }
        let event = Event::Free { id: live.id };
        self.live.remove(&address);
        self.push(event, builder)
    }

    fn push(&self, event: Event, builder: &mut Bounded) -> Result<(), Fault> {
        builder.push(Record { event, time: self.time, thread: 0, site: 0 })
    }
}
