//! Imports the output of Zephyr's heap listeners, also from a log with other lines.
//!
//! Zephyr calls a listener with an address and a size for each allocation and each free
//! (`CONFIG_SYS_HEAP_LISTENER`); the listener prints them in its own words. Lines like those in
//! Zephyr's documentation, in its tests and of the nRF modem library are read:
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
//! `0x`; and for an allocation `size` or `bytes` and a number. The time is that of Zephyr's log, if
//! it has one. Other lines are skipped.
//!
//! Sizes are those of the chunks in Zephyr's heap, which are multiples of 4 or 8 bytes. When Zephyr
//! resizes a block in place, it logs an allocation at the same address and then a free with the old
//! size; both together are read as a reallocation.
//!
//! If messages come faster than they can be printed, Zephyr's logging drops some, and prints
//! `--- 12 messages dropped ---`.

use std::collections::HashMap;

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Bounded, Misfit, wrong};
use crate::{Event, Record, Repairs};

const MICROSECONDS_HZ: u64 = 1_000_000;
pub(crate) const HEADER: Header =
    Header { tick_hz: MICROSECONDS_HZ, default_align_log2: 3, address_shift: 0 };

/// How many messages the logging dropped, by this line.
pub(crate) fn dropped(line: &str) -> u64 {
    let Some((before, _)) = line.split_once(" messages dropped ---") else {
        return 0;
    };
    let count = before.rsplit(' ').next().and_then(|count| count.parse().ok());
    count.unwrap_or(1)
}

/// What a listener was called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Alloc {
        address: u64,
        size: u64,
    },
    /// Some listeners print no size for a free.
    Free {
        address: u64,
        size: Option<u64>,
    },
}

impl Call {
    /// `None`: it is another line.
    pub(crate) fn of(line: &str) -> Result<Option<Self>, Misfit> {
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
        let (mut address_text, mut size_text) = ("", "");
        let mut names_size = false;
        for word in words {
            if let Some(digits) = word.strip_prefix("0x") {
                // The address of the heap may come before that of the block.
                address_text = word;
                address = Some(
                    u64::from_str_radix(digits, 16)
                        .map_err(|_| wrong(word, format!("'{word}' is no address")))?,
                );
            } else if names_size {
                size_text = word;
                size = Some(word.parse().map_err(|_| {
                    wrong(word, format!("'{word}' is no number of bytes that fits"))
                })?);
            }
            names_size = size.is_none() && is(word, &["size", "bytes"]);
        }
        let call = match (is_alloc, address, size) {
            (true, Some(address), Some(size)) => Self::Alloc { address, size },
            (false, Some(address), size) => Self::Free { address, size },
            _ => return Ok(None),
        };
        ends(line, address_text)?;
        ends(line, size_text)?;
        Ok(Some(call))
    }
}

/// Whether the number `word` ends as a number must: a damaged digit would cut it short.
fn ends(line: &str, word: &str) -> Result<(), Misfit> {
    let rest = lines::behind(line, word);
    let may_follow = |c: char| c.is_ascii_whitespace() || ",;:.)]}\u{1b}".contains(c);
    match rest.chars().next() {
        Some(c) if !word.is_empty() && !may_follow(c) => {
            Err(wrong(rest, format!("'{}' behind the number {word}", c.escape_default())))
        }
        _ => Ok(()),
    }
}

/// Microseconds in `[hh:mm:ss.mmm,uuu]`, as Zephyr's logging writes it before a message.
fn time(line: &str) -> Option<Result<u64, Misfit>> {
    let (clock, _) = line.strip_prefix('[')?.split_once(']')?;
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, rest) = rest.split_once(':')?;
    let (seconds, fraction) = rest.split_once('.')?;
    let (milliseconds, microseconds) = fraction.split_once(',')?;
    // A number that is too large stays so, and is refused later.
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
    /// Its size before a second allocation at its address was logged, until the free that belongs
    /// to that.
    before: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Importer {
    live: HashMap<u64, Live>,
    repairs: Repairs,
    time: u64,
}

impl lines::Importer for Importer {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Misfit> {
        let Some(call) = Call::of(line)? else {
            return Ok(());
        };
        // A clock that goes back belongs to a device that was restarted: the time stays as it was.
        let time = time(line).transpose()?;
        self.time = self.time.max(time.unwrap_or(self.time));
        match call {
            Call::Alloc { address, size } => self.alloc(address, size, builder),
            Call::Free { address, size } => self.free(address, size, builder),
        }
    }
}

impl Importer {
    /// Adds what isn't an event, once the log has ended.
    pub(crate) fn finish(mut self, unknown_frees: u64, dropped: u64, builder: &mut TraceBuilder) {
        self.repairs.unknown_frees += unknown_frees;
        builder.repairs(self.repairs);
        if dropped > 0 {
            builder.incomplete(format!(
                "the device's logging dropped {dropped} messages; give it a longer CONFIG_LOG_BUFFER_SIZE, or \
                 CONFIG_LOG_MODE_IMMEDIATE"
            ));
        }
    }

    fn alloc(&mut self, address: u64, size: u64, builder: &mut Bounded) -> Result<(), Misfit> {
        if let Some(live) = self.live.get_mut(&address) {
            let event = Event::Realloc { id: live.id, new_size: size };
            live.before = Some(live.size);
            live.size = size;
            return self.push(event, builder);
        }
        let id = builder.builder.allocations();
        let event = Event::Alloc { id, size, align_log2: HEADER.default_align_log2, zeroed: false };
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
    ) -> Result<(), Misfit> {
        let Some(live) = self.live.get_mut(&address) else {
            self.repairs.unknown_frees += 1;
            return Ok(());
        };
        // The second half of a resize in place. A line without a size may be a free instead; it is
        // read as such a half too.
        let belongs =
            live.before.take().is_some_and(|before| size.is_none_or(|size| size == before));
        if belongs {
            return Ok(());
        }
        let event = Event::Free { id: live.id };
        self.live.remove(&address);
        self.push(event, builder)
    }

    fn push(&self, event: Event, builder: &mut Bounded) -> Result<(), Misfit> {
        Ok(builder.push(Record { event, time: self.time, thread: 0, site: 0 })?)
    }
}
