//! Imports the output of ESP-IDF's `sysviewtrace_proc.py --print-events` for a SystemView trace
//! with heap tracing (`CONFIG_HEAP_TRACING_TOHOST`), also from a log with other lines:
//!
//! ```text
//! [0.002272225] HEAP: Allocated 8 bytes @ 0x3ffaff6c from task "main" on core 0 by:
//! /home/user/main/sysview_heap_log.c:85
//!
//! [0.003427700] HEAP: Freed bytes @ 0x3ffaff6c from task "free" on core 0 by: 0x400d276d:0x400d27c1
//! =============== HEAP TRACE REPORT ===============
//! Processed 2 heap events.
//! OK - Heap errors was not found.
//! ```
//!
//! Callers are addresses, or source lines if the program's ELF file was given. The report repeats
//! the allocations that were not freed; without `--print-events` there is nothing else.

use std::collections::HashMap;

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Bounded, Misfit, Missing, NANOSECONDS_HZ, wrong};
use crate::places::Places;
use crate::{Event, Fault, Record, Site};

pub(crate) const HEADER: Header =
    Header { tick_hz: NANOSECONDS_HZ, default_align_log2: 2, address_shift: 0 };

const EVENT: &str = "] HEAP: ";
const REPORT: &str = "= HEAP TRACE REPORT =";
const REPORT_ONLY: &str = "the text has the report of what was not freed and no events; give sysviewtrace_proc.py \
                           --print-events";
const OVERFLOWED: &str =
    "SystemView's buffer overflowed, and events are lost; raise its size, or the speed of JTAG";

/// Whether this line is part of such a text.
pub(crate) fn begins(line: &str) -> bool {
    line.contains(REPORT) || !matches!(Call::of(line), Ok(None))
}

/// An event, as parts of its line.
struct Call<'a> {
    time: u64,
    /// The size of an allocation, as a number and as text.
    size: Option<(u64, &'a str)>,
    address: u64,
    /// The task, or what else allocated.
    context: &'a str,
    callers: &'a str,
}

impl<'a> Call<'a> {
    /// `None`: it is another line.
    fn of(line: &'a str) -> Result<Option<Self>, Misfit> {
        let Some((clock, event)) = line.split_once(EVENT) else {
            return Ok(None);
        };
        let (word, rest) = event.split_at(event.find(' ').unwrap_or(event.len()));
        let (size, rest) = match word {
            "Allocated" => {
                let (size, rest) = until(rest.trim_start(), " bytes @ ")?;
                let number = size.parse().map_err(|_| {
                    wrong(size, format!("'{size}' is no number of bytes that fits"))
                })?;
                (Some((number, size)), rest)
            }
            "Freed" => (None, until(rest, " bytes @ ")?.1),
            _ => return Ok(None),
        };
        let (address, rest) = until(rest, " from ")?;
        let address = hexadecimal(address)
            .ok_or_else(|| wrong(address, format!("'{address}' is no address")))?;
        let (context, rest) = until(rest, " on core ")?;
        let (_, callers) = until(rest, " by:")?;
        let clock = clock.rsplit('[').next().unwrap_or_default();
        let time = lines::clock(nanoseconds(clock)?, NANOSECONDS_HZ, "time", clock)?;
        Ok(Some(Self { time, size, address, context, callers: callers.trim() }))
    }
}

/// The text before and behind `mark`.
fn until<'a>(text: &'a str, mark: &str) -> Result<(&'a str, &'a str), Misfit> {
    text.split_once(mark).ok_or_else(|| wrong(text, format!("'{}' is missing", mark.trim())))
}

/// Whether this is a file and a line in it: `main.c:85`, `??:0`.
fn is_source(line: &str) -> bool {
    let number = line.rsplit_once(':').map(|(_, number)| number);
    !line.starts_with('[') && number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `seconds.fraction`, of nine digits.
fn nanoseconds(text: &str) -> Result<u64, Misfit> {
    let error = || wrong(text, format!("time: '{text}' is no number of seconds"));
    let (seconds, fraction) = text.split_once('.').ok_or_else(error)?;
    if fraction.len() != 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error());
    }
    let seconds: u64 = seconds.parse().map_err(|_| error())?;
    let fraction: u64 = fraction.parse().map_err(|_| error())?;
    Ok(seconds.saturating_mul(NANOSECONDS_HZ).saturating_add(fraction))
}

/// Numbers for names, from 1 on, in the order in which they come.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, u32>,
    bytes: u64,
}

impl Names {
    fn number(&mut self, name: &str, builder: &Bounded) -> Result<u32, Fault> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(number);
        }
        self.bytes += (name.len() + size_of::<(String, u32)>()) as u64;
        builder.room_for_names(self.bytes)?;
        let number = self.numbers.len() as u32 + 1;
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }
}

#[derive(Default)]
pub(crate) struct Importer {
    places: Places<u64>,
    time: u64,
    contexts: Names,
    /// Innermost callers, as they were printed.
    callers: Names,
    /// The next line names the caller of the event added last.
    awaits_caller: bool,
    /// Events of this run of the tool.
    events: u64,
    in_report: bool,
    /// This run has only the report.
    has_report_only: bool,
    missing: Missing,
}

impl lines::Importer for Importer {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Misfit> {
        if std::mem::take(&mut self.awaits_caller) && is_source(line) {
            let site = self.callers.number(line, builder)?;
            builder.builder.site_of_last(site);
            return Ok(());
        }
        if let Some(call) = Call::of(line)? {
            return self.call(call, builder);
        }
        if line.contains("svOverflow") || line.contains("SYS_OVERFLOW") {
            self.missing.add(OVERFLOWED);
        }
        self.in_report |= line.contains(REPORT);
        if self.in_report {
            self.report(line)?;
        }
        Ok(())
    }
}

impl Importer {
    fn call(&mut self, call: Call, builder: &mut Bounded) -> Result<(), Misfit> {
        let is_repeated = !self.has_report_only || call.size.is_none();
        if self.in_report && is_repeated {
            return Ok(());
        }
        self.events += u64::from(!self.in_report);
        let thread = self.contexts.number(call.context, builder)? - 1;
        self.time = self.time.max(call.time);
        let (before, event) = match call.size {
            Some((size, _)) => {
                let id = builder.builder.allocations();
                let align_log2 = HEADER.default_align_log2;
                let event = Event::Alloc { id, size, align_log2, zeroed: false };
                self.places.settle(call.address, event)
            }
            None => match self.places.free(&call.address) {
                Some(event) => (None, event),
                None => return Ok(()),
            },
        };
        let site = match call.callers.split(':').next() {
            Some(caller) if !caller.is_empty() => self.callers.number(caller, builder)?,
            _ => 0,
        };
        for event in before.into_iter().chain([event]) {
            let pushed = builder.push(Record { event, time: self.time, thread, site });
            pushed.map_err(|fault| match call.size {
                Some((_, text)) => fault.at(text),
                None => fault.into(),
            })?;
        }
        self.awaits_caller = site == 0;
        Ok(())
    }

    /// A line of the report at the end of a run of the tool.
    fn report(&mut self, line: &str) -> Result<(), Misfit> {
        if let Some(rest) = line.strip_prefix("Processed ")
            && let Some((count, _)) = rest.split_once(" heap events.")
        {
            let events = self.events;
            let count: u64 = count
                .parse()
                .map_err(|_| wrong(count, format!("'{count}' is no number of events")))?;
            if events == 0 && count > 0 {
                self.has_report_only = true;
                self.missing.add(REPORT_ONLY);
            } else if events != count {
                self.missing.add(&format!(
                    "{count} heap events were processed and {events} are in the text: lines are missing"
                ));
            }
        }
        let is_end = line.contains("OK - Heap errors was not found")
            || line.contains(" leaked bytes in ") && line.starts_with("Found ");
        if is_end {
            (self.in_report, self.has_report_only, self.events) = (false, false, 0);
        }
        Ok(())
    }

    /// Adds what isn't an event, once the text has ended.
    pub(crate) fn finish(self, builder: &mut TraceBuilder) {
        builder.repairs(self.places.repairs);
        builder.sites(self.callers.numbers.into_iter().map(|(caller, id)| {
            match hexadecimal(&caller) {
                Some(address) => Site { id, address, ..Site::default() },
                None => Site { id, location: caller, ..Site::default() },
            }
        }));
        self.missing.tell(builder);
    }
}
