//! A whole recorded program in memory.

use std::fs::File;
use std::io::{BufRead, BufWriter, Read, Write};
use std::path::Path;

use crate::builder::TraceBuilder;
use crate::columns::Columns;
use crate::format::{self, Header, MAGIC};
use crate::unpack::{self, Packer};
use crate::{
    Codec, Event, Fault, Reader, Record, Site, TraceError, TraceInfo, WriteOptions, Writer, csv,
    heaptrack, lines, log, perfetto,
};

/// How many first bytes identify a file's format.
const LOOK_BYTES: u64 = 256;

/// How much a file may have, so that no file can use all memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most events. In a [`Trace`] an event takes 16 bytes, up to 32 with thread, time and site.
    pub events: u64,
    /// Most bytes of site names and facts.
    pub notes_bytes: u64,
}

impl Default for Limits {
    /// 64 Mi events (1 GiB as a [`Trace`], 2 GiB with thread, time and site), 64 MiB of names.
    fn default() -> Self {
        Limits { events: 64 << 20, notes_bytes: 64 << 20 }
    }
}

/// The repairs of a reader in a recording that names blocks by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Frees of unknown blocks, dropped.
    pub unknown_frees: u64,
    /// Reallocations of unknown blocks, read as allocations.
    pub unknown_reallocs: u64,
    /// Blocks counted as freed because another was allocated at their address.
    pub assumed_frees: u64,
}

impl Repairs {
    /// A sentence for people; `None` if nothing was repaired.
    pub fn describe(&self) -> Option<String> {
        if *self == Repairs::default() {
            return None;
        }
        Some(format!(
            "{} frees of unknown blocks dropped, {} reallocations of unknown blocks taken as allocations, \
             {} blocks taken as freed where another was allocated",
            self.unknown_frees, self.unknown_reallocs, self.assumed_frees
        ))
    }
}

/// A recorded program: its events in order, valid by construction.
///
/// Ids are dense and in order of allocation; a block that is freed or resized is live; sizes,
/// alignments and the sum of all live sizes are in range. So a replay needs no checks: a table with
/// [`allocations`](Trace::allocations) entries, indexed by id, is enough.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub(crate) header: Header,
    pub(crate) events: Vec<Event>,
    pub(crate) columns: Columns,
    pub(crate) allocations: u32,
    pub(crate) sites: Vec<Site>,
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) repairs: Repairs,
}

impl Trace {
    /// Reads a whole file; its first bytes show whether it is `.evt`, CSV or another format.
    ///
    /// # Errors
    /// The first fault, with its byte offset. See [`Trace::recover`] for files cut short.
    pub fn open(path: impl AsRef<Path>) -> Result<Trace, TraceError> {
        Self::open_with(path, Limits::default())
    }

    /// As [`Trace::open`], with limits of one's own.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: Limits) -> Result<Trace, TraceError> {
        Self::read_with(open(path.as_ref())?, limits)
    }

    /// As [`Trace::open`], from any input.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn read(input: impl Read) -> Result<Trace, TraceError> {
        Self::read_with(input, Limits::default())
    }

    /// As [`Trace::read`], with limits of one's own.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn read_with(input: impl Read, limits: Limits) -> Result<Trace, TraceError> {
        match Self::recover(input, limits)? {
            (trace, None) => Ok(trace),
            (_, Some(fault)) => Err(fault),
        }
    }

    /// Reads everything before the first fault, and returns the fault too. Use it for the recording
    /// of a program that was killed: its fault is [`Fault::Truncated`].
    ///
    /// # Errors
    /// If not even the file's header can be read.
    pub fn recover(
        input: impl Read,
        limits: Limits,
    ) -> Result<(Trace, Option<TraceError>), TraceError> {
        let (start, mut input) = unpack::look(input, LOOK_BYTES)?;
        let Some(packer) = Packer::of(&start) else {
            return Self::recover_unpacked(&start, &mut input, limits);
        };
        let (start, mut input) = unpack::look(packer.unpack(input)?, LOOK_BYTES)?;
        Self::recover_unpacked(&start, &mut input, limits)
    }

    fn recover_unpacked(
        start: &[u8],
        input: &mut dyn BufRead,
        limits: Limits,
    ) -> Result<(Trace, Option<TraceError>), TraceError> {
        // First, since its facts may contain the words that identify text formats.
        if start.starts_with(&MAGIC) || MAGIC.starts_with(start) {
            return Self::recover_evt(input, limits);
        }
        let text = start.strip_prefix(lines::BYTE_ORDER_MARK).unwrap_or(start);
        if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
            return Err(TraceError::new(Fault::Utf16, 0));
        }
        if csv::is_csv(text) {
            csv::read(input, limits)
        } else if heaptrack::is_heaptrack(text) {
            heaptrack::read(input, limits)
        } else {
            log::read(input, limits)
        }
    }

    /// As [`Trace::recover`], from a file.
    ///
    /// # Errors
    /// As [`Trace::recover`].
    pub fn recover_file(path: impl AsRef<Path>) -> Result<(Trace, Option<TraceError>), TraceError> {
        Self::recover(open(path.as_ref())?, Limits::default())
    }

    fn recover_evt(
        input: impl Read,
        limits: Limits,
    ) -> Result<(Trace, Option<TraceError>), TraceError> {
        let mut reader = Reader::with_limits(input, limits)?;
        let mut builder = TraceBuilder::new(reader.header());
        let mut fault = None;
        for record in &mut reader {
            match record {
                Ok(record) => {
                    if let Err(wrong) = builder.push(record) {
                        fault = Some(reader.error_here(wrong));
                        break;
                    }
                }
                Err(error) => fault = Some(error),
            }
        }
        builder.repairs(reader.repairs());
        let (sites, facts) = reader.into_notes();
        builder.sites(sites);
        facts.into_iter().for_each(|(key, value)| builder.fact(key, value));
        Ok((builder.finish(), fault))
    }

    /// The events in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events in order, with when and where.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record> + '_ {
        self.events.iter().enumerate().map(|(i, &event)| self.columns.record(i, event))
    }

    /// The record of the event at `index`; `None` past the end.
    pub fn record(&self, index: usize) -> Option<Record> {
        self.events.get(index).map(|&event| self.columns.record(index, event))
    }

    /// How many allocations there are: one more than the largest id.
    pub fn allocations(&self) -> u32 {
        self.allocations
    }

    /// The header: the clock's rate and the default alignment.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The named call sites, by rising number.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The call site of this number; `None` where it has no name. O(log n).
    pub fn site(&self, id: u32) -> Option<&Site> {
        let at = self.sites.binary_search_by_key(&id, |site| site.id).ok()?;
        Some(&self.sites[at])
    }

    /// Adds named call sites. Of several with one number the last counts. O(n log n).
    pub fn add_sites(&mut self, sites: impl IntoIterator<Item = Site>) {
        self.sites.extend(sites);
        // The sort is stable, so of those with one number the last added comes first.
        self.sites.reverse();
        self.sites.sort_by_key(|site| site.id);
        self.sites.dedup_by_key(|site| site.id);
    }

    /// Keys and values about the recording, such as `program`.
    pub fn facts(&self) -> &[(String, String)] {
        &self.facts
    }

    /// What is missing from the recording, as far as its writer knew: a sentence each. An
    /// incomplete recording doesn't show how much memory the program needs.
    pub fn incomplete(&self) -> impl Iterator<Item = &str> {
        let facts = self.facts.iter().filter(|(key, _)| key == format::INCOMPLETE);
        facts.map(|(_, why)| why.as_str())
    }

    /// Notes that something is missing, and what. Kept by `.evt` and CSV.
    pub fn add_incomplete(&mut self, why: impl Into<String>) {
        self.add_fact(format::INCOMPLETE, why);
    }

    /// Adds a key and its value.
    pub fn add_fact(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.facts.push((key.into(), value.into()));
    }

    /// The reader's repairs.
    pub fn repairs(&self) -> Repairs {
        self.repairs
    }

    /// Statistics of the whole. O(events).
    pub fn info(&self) -> TraceInfo {
        TraceInfo::of(self)
    }

    /// Writes the whole as `.evt`.
    ///
    /// # Errors
    /// The sink's.
    pub fn write(&self, out: impl Write, codec: Codec) -> Result<(), TraceError> {
        let options = WriteOptions { header: self.header, codec, ..WriteOptions::default() };
        let mut writer = Writer::new(out, options)?;
        writer.facts(&self.facts)?;
        if let Some(mended) = self.repairs.describe() {
            writer.facts(&[("mended".to_owned(), mended)])?;
        }
        for record in self.records() {
            writer.write(record)?;
        }
        writer.sites(&self.sites)?;
        writer.finish()?;
        Ok(())
    }

    /// Writes the whole as CSV, which [`Trace::read`] reads again: for people and for other tools.
    /// Names of sites and facts are left out; time is in whole nanoseconds.
    ///
    /// # Errors
    /// The sink's.
    pub fn write_csv(&self, out: impl Write) -> std::io::Result<()> {
        csv::write(self, out)
    }

    /// Writes Chrome's trace events in JSON: see [`Trace::save_perfetto`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn write_perfetto(&self, out: impl Write) -> std::io::Result<()> {
        perfetto::write(self, out)
    }

    /// Writes the whole to a file: first to a new one beside it, so that the file is never
    /// incomplete.
    ///
    /// # Errors
    /// The operating system's.
    pub fn save(&self, path: impl AsRef<Path>, codec: Codec) -> Result<(), TraceError> {
        replace(path.as_ref(), |file| self.write(file, codec))
    }

    /// As [`Trace::save`], as Chrome's trace events in JSON, which Perfetto shows: live bytes and
    /// blocks over time, and the lives of the larger blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn save_perfetto(&self, path: impl AsRef<Path>) -> Result<(), TraceError> {
        replace(path.as_ref(), |file| self.write_perfetto(file).map_err(io_error))
    }

    /// As [`Trace::save`], as CSV.
    ///
    /// # Errors
    /// The operating system's.
    pub fn save_csv(&self, path: impl AsRef<Path>) -> Result<(), TraceError> {
        replace(path.as_ref(), |file| self.write_csv(file).map_err(io_error))
    }
}

/// Replaces the file at `path` by the output of `write`, completely or not at all.
fn replace(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> Result<(), TraceError>,
) -> Result<(), TraceError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let result = File::create(&part)
        .map_err(io_error)
        .and_then(|file| write(BufWriter::new(file)))
        .and_then(|()| std::fs::rename(&part, path).map_err(io_error));
    if result.is_err() {
        // The error that led here is the one to report.
        let _ = std::fs::remove_file(&part);
    }
    result
}

fn io_error(error: std::io::Error) -> TraceError {
    TraceError::new(Fault::Io(error), 0)
}

fn open(path: &Path) -> Result<File, TraceError> {
    File::open(path).map_err(io_error)
}
