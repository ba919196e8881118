//! Text formats, line by line.

use std::io::{BufRead, Read};

use crate::builder::TraceBuilder;
use crate::format::TIME_STEP_MAX;
use crate::{Fault, Limits, Record, TraceError, unpack};

/// The clock of CSV, in ticks a second.
pub(crate) const NANOSECONDS_HZ: u64 = 1_000_000_000;
/// The byte order mark that some programs write before UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An importer: makes events of lines.
pub(crate) trait Importer {
    /// Reads one line that isn't empty.
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Misfit>;

    /// The end of the input.
    fn end(&mut self, _builder: &mut Bounded) -> Result<(), Misfit> {
        Ok(())
    }
}

/// A fault in a line, and where in it.
pub(crate) struct Misfit {
    pub(crate) fault: Fault,
    /// The address of the part of the line that is wrong; without one, the whole line is.
    part: Option<usize>,
}

impl From<Fault> for Misfit {
    fn from(fault: Fault) -> Self {
        Self { fault, part: None }
    }
}

impl Fault {
    /// This fault, in the part of a line that `part` borrows.
    pub(crate) fn at(self, part: &str) -> Misfit {
        Misfit { fault: self, part: Some(part.as_ptr() as usize) }
    }
}

/// An invalid line, because of `part` of it.
pub(crate) fn wrong(part: &str, why: impl Into<String>) -> Misfit {
    Fault::Line(why.into()).at(part)
}

/// The text in `line` behind `part` of it.
pub(crate) fn behind<'a>(line: &'a str, part: &str) -> &'a str {
    let start = (part.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
    line.get(start.wrapping_add(part.len())..).unwrap_or_default()
}

/// A trace being built that refuses more events than it may have.
pub(crate) struct Bounded<'a> {
    pub(crate) builder: &'a mut TraceBuilder,
    pub(crate) limits: Limits,
}

impl Bounded<'_> {
    pub(crate) fn push(&mut self, record: Record) -> Result<(), Fault> {
        if self.builder.len() as u64 >= self.limits.events {
            return Err(Fault::Limit { what: "events", most: self.limits.events });
        }
        self.builder.push(record)
    }

    /// Whether names of this many bytes in all may be kept.
    pub(crate) fn room_for_names(&self, bytes: u64) -> Result<(), Fault> {
        let most = self.limits.notes_bytes;
        if bytes > most { Err(Fault::Limit { what: "bytes of names", most }) } else { Ok(()) }
    }
}

/// Most reasons that are kept, so that no file can use all memory.
const REASONS_MAX: usize = 8;

/// Why a recording is incomplete, each reason once.
#[derive(Default)]
pub(crate) struct Missing(Vec<String>);

impl Missing {
    pub(crate) fn add(&mut self, why: &str) {
        if self.0.len() < REASONS_MAX && !self.0.iter().any(|known| known == why) {
            self.0.push(why.to_owned());
        }
    }

    pub(crate) fn tell(self, builder: &mut TraceBuilder) {
        self.0.into_iter().for_each(|why| builder.incomplete(why));
    }
}

/// Passes every line to `importer`. Returns the first fault with its position.
pub(crate) fn import(
    lines: &mut Lines,
    importer: &mut impl Importer,
    builder: &mut TraceBuilder,
    limits: Limits,
) -> Result<(), TraceError> {
    let mut builder = Bounded { builder, limits };
    while let Some(line) = lines.next()? {
        let taken = importer.line(line, &mut builder);
        taken.map_err(|misfit| lines.error(misfit))?;
    }
    importer.end(&mut builder).map_err(|misfit| lines.error(misfit))
}

/// Refuses a time that can't be written again, in `.evt` and as nanoseconds in CSV: more than 73
/// years. `field` names the field of `text`.
pub(crate) fn clock(ticks: u64, tick_hz: u64, field: &str, text: &str) -> Result<u64, Misfit> {
    let most = u128::from(TIME_STEP_MAX) * u128::from(tick_hz) / u128::from(NANOSECONDS_HZ);
    if u128::from(ticks) > most {
        return Err(wrong(
            text,
            format!(
                "{field}: '{text}' is later than {most} ticks of 1/{tick_hz} s, the last that can be written again"
            ),
        ));
    }
    Ok(ticks)
}

/// How to treat lines that aren't text, are too long, or are cut off by the end of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    /// The first two are faults, since a program wrote every line.
    Text,
    /// All three are faults, since a program wrote and ended every line.
    WholeLines,
    /// None is a fault, as in logs of devices: invalid UTF-8 is replaced, and a long line is read
    /// in pieces.
    Anything,
}

/// The lines of a file with their positions; none is longer than a limit.
pub(crate) struct Lines<'a> {
    input: &'a mut dyn BufRead,
    most: usize,
    accept: Accept,
    bytes: Vec<u8>,
    text: String,
    offset: u64,
    next_offset: u64,
    number: u64,
    /// Characters of this line in the pieces before this one.
    characters_before: u64,
    /// Whether the last piece did not reach the line's end.
    is_open: bool,
}

impl<'a> Lines<'a> {
    /// The lines of `input`, each of at most `most` bytes.
    pub(crate) fn new(input: &'a mut dyn BufRead, most: usize, accept: Accept) -> Self {
        Self {
            input,
            most,
            accept,
            bytes: Vec::new(),
            text: String::new(),
            offset: 0,
            next_offset: 0,
            number: 0,
            characters_before: 0,
            is_open: false,
        }
    }

    /// The next line that isn't empty, without its end.
    pub(crate) fn next(&mut self) -> Result<Option<&str>, TraceError> {
        while self.read()? {
            if !self.text.trim_ascii().is_empty() {
                return Ok(Some(self.text.trim_ascii()));
            }
        }
        Ok(None)
    }

    /// Reads a line or a piece of one into `text`; false at the end of the file.
    fn read(&mut self) -> Result<bool, TraceError> {
        if self.is_open {
            self.characters_before += self.text.chars().count() as u64;
        } else {
            self.number += 1;
            self.characters_before = 0;
        }
        self.text.clear();
        self.bytes.clear();
        self.offset = self.next_offset;
        let len = (&mut *self.input)
            .take(self.most as u64 + 1)
            .read_until(b'\n', &mut self.bytes)
            .map_err(|error| self.error(unpack::fault(error)))?;
        if len == 0 {
            return Ok(false);
        }
        self.next_offset += len as u64;
        let has_end = self.bytes.ends_with(b"\n");
        self.is_open = len > self.most && !has_end;
        if len > self.most && self.accept != Accept::Anything {
            let why = format!("a line of more than {} bytes", self.most);
            return Err(self.error(Fault::Line(why)));
        }
        if !has_end && self.accept == Accept::WholeLines {
            return Err(self.error(Fault::Truncated));
        }
        let is_first = self.number == 1 && self.characters_before == 0;
        let skipped = match is_first && self.bytes.starts_with(BYTE_ORDER_MARK) {
            true => BYTE_ORDER_MARK.len(),
            false => 0,
        };
        let text = String::from_utf8_lossy(&self.bytes[skipped..]);
        self.text.push_str(&text);
        if self.accept != Accept::Anything
            && let Err(error) = str::from_utf8(&self.bytes[skipped..])
        {
            let good = error.valid_up_to();
            return Err(self.error(Fault::Text.at(&self.text[good..])));
        }
        Ok(true)
    }

    /// A fault in the line that was read last.
    pub(crate) fn error(&self, misfit: impl Into<Misfit>) -> TraceError {
        let Misfit { fault, part } = misfit.into();
        let start = self.text.len() - self.text.trim_ascii_start().len();
        let part = part.and_then(|part| part.checked_sub(self.text.as_ptr() as usize));
        let before = part.and_then(|part| self.text.get(..part)).unwrap_or(&self.text[..start]);
        let column = self.characters_before + before.chars().count() as u64 + 1;
        TraceError {
            line: Some(self.number),
            column: Some(column),
            ..TraceError::new(fault, self.offset)
        }
    }
}
