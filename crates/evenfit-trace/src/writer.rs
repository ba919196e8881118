//! Writing an `.evt` file event by event.

use std::io::Write;

use crate::format::{self, CHUNK_BYTES_MAX, Header, TIME_STEP_MAX, chunk, event};
use crate::ledger::Ledger;
use crate::{Event, Fault, Record, Site, TraceError};

/// How chunks are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Stored,
    /// With zstd at this level (1 to 22).
    Zstd(i32),
}

/// How to write a file.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// The file's header.
    pub header: Header,
    /// How chunks are stored.
    pub codec: Codec,
    /// A chunk is written when it has this many bytes. With fewer bytes less is lost if the writing
    /// program is killed; more are compressed better. Limited to 64 bytes to [`CHUNK_BYTES_MAX`].
    pub chunk_bytes: u32,
}

impl Default for WriteOptions {
    /// zstd at level 9, the longest chunks.
    fn default() -> Self {
        WriteOptions {
            header: Header::default(),
            codec: Codec::Zstd(9),
            chunk_bytes: CHUNK_BYTES_MAX,
        }
    }
}

/// Streams records into an `.evt` file. A file without [`Writer::finish`] can be read up to the
/// last complete chunk.
pub struct Writer<W: Write> {
    out: W,
    options: WriteOptions,
    ledger: Ledger,
    time: u64,
    thread: u32,
    site: u32,
    chunk: Vec<u8>,
    sequence: u16,
    offset: u64,
}

/// Room for the longest group of entries one record takes: clock, thread, site, event.
const RECORD_BYTES_MAX: usize = 6 * format::LEB_BYTES_MAX;

impl<W: Write> Writer<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// The sink's; a header out of range.
    pub fn new(out: W, options: WriteOptions) -> Result<Self, TraceError> {
        let mut writer = Writer {
            out,
            options,
            ledger: Ledger::default(),
            time: 0,
            thread: 0,
            site: 0,
            chunk: Vec::new(),
            sequence: 0,
            offset: 0,
        };
        if options.header.default_align_log2 > format::ALIGN_LOG2_MAX {
            return Err(writer.error(Fault::Header("the default alignment is too large")));
        }
        if options.header.address_shift > format::ALIGN_LOG2_MAX {
            return Err(writer.error(Fault::Header("the address shift is too large")));
        }
        writer.put(&options.header.to_bytes())?;
        Ok(writer)
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The sink's; a record that can't follow those before: an id that isn't the next, a block that
    /// isn't live, a clock that goes back, a size out of range. The file is then unchanged.
    pub fn write(&mut self, record: impl Into<Record>) -> Result<(), TraceError> {
        let record = record.into();
        if record.time < self.time {
            return Err(self.error(Fault::ClockBack));
        }
        if record.time - self.time > TIME_STEP_MAX {
            return Err(self.error(Fault::Range("clock")));
        }
        self.ledger.apply(record.event).map_err(|fault| self.error(fault))?;
        self.place(&record);
        self.entry(record.event);
        let full = self.options.chunk_bytes.clamp(64, CHUNK_BYTES_MAX) as usize - RECORD_BYTES_MAX;
        if self.chunk.len() >= full {
            self.flush_events()?;
        }
        Ok(())
    }

    /// Writes the changes of clock, thread and site.
    fn place(&mut self, record: &Record) {
        if record.time != self.time {
            self.number((record.time - self.time) << 3 | event::TIME as u64);
            self.time = record.time;
        }
        if record.thread != self.thread {
            self.number((record.thread as u64) << 3 | event::THREAD as u64);
            self.thread = record.thread;
        }
        if record.site != self.site {
            self.number((record.site as u64) << 3 | event::SITE as u64);
            self.site = record.site;
        }
    }

    fn entry(&mut self, event: Event) {
        // The ledger has the event already, so an allocation's id is its newest.
        let back = self.ledger.allocations().wrapping_sub(1).wrapping_sub(event.id()) as u64;
        match event {
            Event::Alloc { size, align_log2, zeroed, .. } => {
                if align_log2 == self.options.header.default_align_log2 && !zeroed {
                    self.number(size << 3 | event::ALLOC as u64);
                } else {
                    self.number(size << 3 | event::ALLOC_WITH as u64);
                    self.chunk.push(align_log2 | if zeroed { format::WITH_ZEROED } else { 0 });
                }
            }
            Event::Free { .. } => self.number(back << 3 | event::FREE as u64),
            Event::Realloc { new_size, .. } => {
                self.number(back << 3 | event::REALLOC as u64);
                self.number(new_size);
            }
        }
    }

    fn number(&mut self, value: u64) {
        push_number(&mut self.chunk, value);
    }

    /// Writes call sites. They may come at any time before [`Writer::finish`], and as often as
    /// needed.
    ///
    /// # Errors
    /// The sink's; a name longer than a chunk.
    pub fn sites(&mut self, sites: &[Site]) -> Result<(), TraceError> {
        let mut notes = Vec::new();
        for site in sites {
            let start = notes.len();
            push_number(&mut notes, site.id as u64);
            push_number(&mut notes, site.parent as u64);
            push_number(&mut notes, site.address);
            push_text(&mut notes, &site.name);
            push_text(&mut notes, &site.location);
            self.cut_notes(chunk::SITES, &mut notes, start)?;
        }
        self.write_notes(chunk::SITES, &notes)
    }

    /// Writes keys and values about the recording, such as `program` and `source`.
    ///
    /// # Errors
    /// The sink's; a value longer than a chunk.
    pub fn facts(&mut self, facts: &[(String, String)]) -> Result<(), TraceError> {
        let mut notes = Vec::new();
        for (key, value) in facts {
            let start = notes.len();
            push_text(&mut notes, key);
            push_text(&mut notes, value);
            self.cut_notes(chunk::FACTS, &mut notes, start)?;
        }
        self.write_notes(chunk::FACTS, &notes)
    }

    /// Writes the entries before `start` if the chunk would otherwise be too long.
    fn cut_notes(&mut self, kind: u8, notes: &mut Vec<u8>, start: usize) -> Result<(), TraceError> {
        let most = CHUNK_BYTES_MAX as usize;
        if notes.len() - start > most {
            return Err(self.error(Fault::Range("text's length")));
        }
        if notes.len() > most {
            self.write_notes(kind, &notes[..start])?;
            notes.drain(..start);
        }
        Ok(())
    }

    fn write_notes(&mut self, kind: u8, notes: &[u8]) -> Result<(), TraceError> {
        if notes.is_empty() {
            return Ok(());
        }
        self.flush_events()?;
        self.put_chunk(kind, notes)
    }

    /// Writes the events so far as a chunk, so that they aren't lost if the program is killed.
    ///
    /// # Errors
    /// The sink's.
    pub fn flush(&mut self) -> Result<(), TraceError> {
        self.flush_events()?;
        self.out.flush().map_err(|e| self.error(Fault::Io(e)))
    }

    fn flush_events(&mut self) -> Result<(), TraceError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.chunk);
        self.put_chunk(chunk::EVENTS, &events)?;
        self.chunk = events;
        self.chunk.clear();
        Ok(())
    }

    fn put_chunk(&mut self, kind: u8, raw: &[u8]) -> Result<(), TraceError> {
        let raw_len = raw.len() as u32;
        if let Codec::Zstd(level) = self.options.codec {
            let packed = zstd::bulk::compress(raw, level).map_err(|e| self.error(Fault::Io(e)))?;
            if packed.len() < raw.len() {
                return self.put_stored(kind, format::codec::ZSTD, &packed, raw_len);
            }
        }
        self.put_stored(kind, format::codec::STORED, raw, raw_len)
    }

    fn put_stored(
        &mut self,
        kind: u8,
        codec: u8,
        stored: &[u8],
        raw_len: u32,
    ) -> Result<(), TraceError> {
        self.put(&format::chunk_header(kind, codec, self.sequence, stored, raw_len))?;
        self.put(stored)?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TraceError> {
        self.out.write_all(bytes).map_err(|e| self.error(Fault::Io(e)))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Writes the remaining events and the end mark, and returns the sink.
    ///
    /// # Errors
    /// The sink's.
    pub fn finish(mut self) -> Result<W, TraceError> {
        self.flush_events()?;
        let mut totals = Vec::new();
        push_number(&mut totals, self.ledger.events());
        push_number(&mut totals, self.ledger.allocations() as u64);
        self.put_chunk(chunk::END, &totals)?;
        self.out.flush().map_err(|e| self.error(Fault::Io(e)))?;
        Ok(self.out)
    }

    fn error(&self, fault: Fault) -> TraceError {
        TraceError::new(fault, self.offset)
    }
}

fn push_number(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; format::LEB_BYTES_MAX];
    let len = format::leb128(value, &mut bytes);
    out.extend_from_slice(&bytes[..len]);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
