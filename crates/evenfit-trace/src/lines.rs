//! Text formats, line by line.

use std::io::{BufRead, Read};

use crate::builder::TraceBuilder;
use crate::format::TIME_STEP_MAX;
use crate::{Fault, Limits, Record, TraceError};

/// The clock of CSV, in ticks a second.
pub(crate) const NANOSECONDS_HZ: u64 = 1_000_000_000;

/// What makes events of lines.
pub(crate) trait Importer {
    /// Takes one line that isn't empty.
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Fault>;

    /// The end of the input.
    fn end(&mut self, _builder: &mut Bounded) -> Result<(), Fault> {
        Ok(())
    }
}

/// A trace being built that refuses more events than it may have.
pub(crate) struct Bounded<'a> {
    pub(crate) builder: &'a mut TraceBuilder,
    limits: Limits,
}

impl Bounded<'_> {
    pub(crate) fn push(&mut self, record: Record) -> Result<(), Fault> {
        if self.builder.len() as u64 >= self.limits.events {
            return Err(Fault::Limit { what: "events", most: self.limits.events });
        }
        self.builder.push(record)
    }
}

/// Gives `importer` every line; the first fault with its place.
pub(crate) fn import<R: BufRead>(
    lines: &mut Lines<R>,
    importer: &mut impl Importer,
    builder: &mut TraceBuilder,
    limits: Limits,
) -> Result<(), TraceError> {
    let mut builder = Bounded { builder, limits };
    while let Some(line) = lines.next()? {
        let taken = importer.line(line, &mut builder);
        taken.map_err(|fault| lines.error(fault))?;
    }
    importer.end(&mut builder).map_err(|fault| lines.error(fault))
}

/// A clock that can be written again, in `.evt` and as nanoseconds in CSV. Later than that, 73
/// years, is refused; `field` says where `text` stood.
pub(crate) fn clock(ticks: u64, tick_hz: u64, field: &str, text: &str) -> Result<u64, Fault> {
    let most = u128::from(TIME_STEP_MAX) * u128::from(tick_hz) / u128::from(NANOSECONDS_HZ);
    if u128::from(ticks) > most {
        return Err(Fault::Line(format!(
            "{field}: '{text}' is later than {most} ticks of 1/{tick_hz} s, the last that can be written again"
        )));
    }
    Ok(ticks)
}

/// The lines of a file, each with its place; none longer than a limit.
pub(crate) struct Lines<R> {
    input: R,
    most: usize,
    line: Vec<u8>,
    offset: u64,
    next_offset: u64,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`, each of at most `most` bytes.
    pub(crate) fn new(input: R, most: usize) -> Self {
        Self { input, most, line: Vec::new(), offset: 0, next_offset: 0, number: 0 }
    }

    /// The next line that isn't empty, without its end.
    pub(crate) fn next(&mut self) -> Result<Option<&str>, TraceError> {
        loop {
            self.line.clear();
            self.offset = self.next_offset;
            self.number += 1;
            let len = (&mut self.input)
                .take(self.most as u64 + 1)
                .read_until(b'\n', &mut self.line)
                .map_err(|e| self.error(Fault::Io(e)))?;
            if len == 0 {
                return Ok(None);
            }
            if len > self.most {
                return Err(
                    self.error(Fault::Line(format!("a line of more than {} bytes", self.most)))
                );
            }
            self.next_offset += len as u64;
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let line =
            std::str::from_utf8(self.line.trim_ascii()).map_err(|_| self.error(Fault::Text))?;
        Ok(Some(line))
    }

    /// A fault in the line that was read last.
    pub(crate) fn error(&self, fault: Fault) -> TraceError {
        TraceError { line: Some(self.number), ..TraceError::new(fault, self.offset) }
    }
}
