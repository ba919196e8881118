//! Reading an `.evt` file event by event.

use std::io::Read;

use crate::bytes::Bytes;
use crate::chunks::Chunks;
use crate::format::{self, Header, chunk, event};
use crate::ledger::Ledger;
use crate::places::Places;
use crate::{Event, Fault, Limits, Record, Repairs, Site, TraceError};

/// Streams the records of an `.evt` file.
///
/// Every record yielded is valid: ids are dense, a block that is freed or resized is live, sizes
/// and alignments are in range. The first fault is the last item; the records before it are valid.
///
/// Memory: two chunks, one bit for each allocation, and the names of the sites, all bounded by
/// [`Limits`]. If the file names blocks by address, also 16 bytes and a part of a hash table for
/// each live block.
pub struct Reader<R: Read> {
    chunks: Chunks<R>,
    header: Header,
    limits: Limits,
    kind: u8,
    at: usize,
    entry_at: usize,
    /// Entries of every kind, at most four to an event: clock, thread, site, event.
    entries_read: u64,
    state: State,
    queued: Option<Record>,
    done: bool,
    sites: Vec<Site>,
    facts: Vec<(String, String)>,
    notes_bytes: u64,
}

/// What carries over from one entry to the next.
#[derive(Default)]
struct State {
    ledger: Ledger,
    time: u64,
    thread: u32,
    site: u32,
    entries: u64,
    entry_allocations: u64,
    address: u64,
    places: Places<u64>,
}

/// The meaning of an entry of an events chunk.
enum Step {
    Nothing,
    One(Event),
    Two(Event, Event),
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// Not an `.evt` file, another version, a damaged header.
    pub fn new(input: R) -> Result<Self, TraceError> {
        Self::with_limits(input, Limits::default())
    }

    /// As [`Reader::new`], with limits of one's own.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn with_limits(input: R, limits: Limits) -> Result<Self, TraceError> {
        let (chunks, header) = Chunks::new(input)?;
        Ok(Reader {
            chunks,
            header,
            limits,
            kind: 0,
            at: 0,
            entry_at: 0,
            entries_read: 0,
            state: State::default(),
            queued: None,
            done: false,
            sites: Vec::new(),
            facts: Vec::new(),
            notes_bytes: 0,
        })
    }

    /// The file's header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The sites read so far. They may be anywhere in the file, so all are known only at its end.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Keys and values about the recording, as far as read.
    pub fn facts(&self) -> &[(String, String)] {
        &self.facts
    }

    /// The repairs so far.
    pub fn repairs(&self) -> Repairs {
        self.state.places.repairs
    }

    /// A fault found in the record that was yielded last.
    pub(crate) fn error_here(&self, fault: Fault) -> TraceError {
        self.chunks.error_at(fault, self.entry_at)
    }

    pub(crate) fn into_notes(self) -> (Vec<Site>, Vec<(String, String)>) {
        (self.sites, self.facts)
    }

    fn next_record(&mut self) -> Result<Option<Record>, TraceError> {
        if let Some(record) = self.queued.take() {
            return Ok(Some(record));
        }
        loop {
            while self.at < self.chunks.data().len() {
                if let Some(record) = self.next_entry()? {
                    return Ok(Some(record));
                }
            }
            if !self.next_chunk()? {
                return Ok(None);
            }
        }
    }

    /// Decodes the entry at `self.at`, in a chunk of events.
    fn next_entry(&mut self) -> Result<Option<Record>, TraceError> {
        let start = self.at;
        self.entry_at = start;
        let mut bytes = Bytes { data: self.chunks.data(), at: start };
        let step = self.state.step(&mut bytes, self.kind, &self.header);
        self.at = bytes.at;
        let step = step.map_err(|fault| self.chunks.error_at(fault, start))?;
        self.entries_read += 1;
        let most = self.limits.events;
        if self.state.ledger.events() > most || self.entries_read.div_ceil(4) > most {
            let what = "events";
            return Err(self.chunks.error_at(Fault::Limit { what, most }, start));
        }
        let (first, second) = match step {
            Step::Nothing => return Ok(None),
            Step::One(event) => (event, None),
            Step::Two(first, second) => (first, Some(second)),
        };
        self.queued = second.map(|event| self.state.record(event));
        Ok(Some(self.state.record(first)))
    }

    /// Goes to the next chunk of events; false at the end of the file.
    fn next_chunk(&mut self) -> Result<bool, TraceError> {
        loop {
            self.at = 0;
            self.kind = self.chunks.advance()?;
            match self.kind {
                chunk::EVENTS | chunk::ADDRESSED => return Ok(true),
                chunk::SITES => self.read_notes(Self::read_site)?,
                chunk::FACTS => self.read_notes(Self::read_fact)?,
                chunk::END => {
                    self.check_totals()?;
                    self.chunks.expect_end()?;
                    return Ok(false);
                }
                chunk::SKIPPABLE.. => {}
                unknown => {
                    return Err(TraceError::new(
                        Fault::ChunkKind(unknown),
                        self.chunks.chunk_offset(),
                    ));
                }
            }
        }
    }

    /// Reads one chunk's sites or facts with `read`, which returns the memory that each needs.
    fn read_notes(
        &mut self,
        read: fn(&mut Self, &mut Bytes) -> Result<u64, Fault>,
    ) -> Result<(), TraceError> {
        let data = self.chunks.data().to_vec();
        let mut bytes = Bytes { data: &data, at: 0 };
        while !bytes.is_empty() {
            let start = bytes.at;
            let most = self.limits.notes_bytes;
            let cost =
                read(self, &mut bytes).map_err(|fault| self.chunks.error_at(fault, start))?;
            self.notes_bytes += cost;
            if self.notes_bytes > most {
                let what = "bytes of site names and facts";
                return Err(self.chunks.error_at(Fault::Limit { what, most }, start));
            }
        }
        Ok(())
    }

    fn read_site(&mut self, bytes: &mut Bytes) -> Result<u64, Fault> {
        let site = Site {
            id: bytes.number_u32("site number")?,
            parent: bytes.number_u32("site number")?,
            address: bytes.number()?,
            name: bytes.text()?.to_owned(),
            location: bytes.text()?.to_owned(),
        };
        let cost = size_of::<Site>() + site.name.len() + site.location.len();
        self.sites.push(site);
        Ok(cost as u64)
    }

    fn read_fact(&mut self, bytes: &mut Bytes) -> Result<u64, Fault> {
        let fact = (bytes.text()?.to_owned(), bytes.text()?.to_owned());
        let cost = size_of_val(&fact) + fact.0.len() + fact.1.len();
        self.facts.push(fact);
        Ok(cost as u64)
    }

    fn check_totals(&mut self) -> Result<(), TraceError> {
        let mut bytes = Bytes { data: self.chunks.data(), at: 0 };
        let state = &self.state;
        for found in [state.entries, state.entry_allocations] {
            let start = bytes.at;
            let stated = bytes.number().map_err(|fault| self.chunks.error_at(fault, start))?;
            if stated != found {
                return Err(self.chunks.error_at(Fault::Totals { stated, found }, start));
            }
        }
        if !bytes.is_empty() {
            return Err(self.chunks.error_at(Fault::Trailing, bytes.at));
        }
        self.at = self.chunks.data().len();
        Ok(())
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.next_record().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl State {
    fn record(&self, event: Event) -> Record {
        Record { event, time: self.time, thread: self.thread, site: self.site }
    }

    /// Applies one entry.
    fn step(&mut self, bytes: &mut Bytes, chunk_kind: u8, header: &Header) -> Result<Step, Fault> {
        let first = bytes.number()?;
        let operand = first >> 3;
        match (first & 7) as u8 {
            event::TIME => {
                self.time = self.time.checked_add(operand).ok_or(Fault::Range("clock"))?;
                Ok(Step::Nothing)
            }
            event::THREAD => {
                self.thread = u32::try_from(operand).map_err(|_| Fault::Range("thread number"))?;
                Ok(Step::Nothing)
            }
            event::SITE => {
                self.site = u32::try_from(operand).map_err(|_| Fault::Range("site number"))?;
                Ok(Step::Nothing)
            }
            kind @ (event::ALLOC | event::ALLOC_WITH | event::FREE | event::REALLOC) => {
                self.entries += 1;
                self.entry_allocations += matches!(kind, event::ALLOC | event::ALLOC_WITH) as u64;
                let step = match chunk_kind {
                    chunk::ADDRESSED => self.addressed(kind, operand, bytes, header)?,
                    _ => Step::One(self.by_id(kind, operand, bytes, header)?),
                };
                if let Step::One(event) | Step::Two(event, _) = step {
                    self.ledger.apply(event)?;
                }
                if let Step::Two(_, event) = step {
                    self.ledger.apply(event)?;
                }
                Ok(step)
            }
            unknown => Err(Fault::EventKind(unknown)),
        }
    }

    /// An entry that names its block by how many allocations ago it came.
    fn by_id(
        &self,
        kind: u8,
        operand: u64,
        bytes: &mut Bytes,
        header: &Header,
    ) -> Result<Event, Fault> {
        match kind {
            event::FREE => Ok(Event::Free { id: self.ledger.id_back(operand)? }),
            event::REALLOC => {
                Ok(Event::Realloc { id: self.ledger.id_back(operand)?, new_size: bytes.number()? })
            }
            _ => self.allocation(kind, operand, bytes, header),
        }
    }

    fn allocation(
        &self,
        kind: u8,
        size: u64,
        bytes: &mut Bytes,
        header: &Header,
    ) -> Result<Event, Fault> {
        let id = self.ledger.allocations();
        let with =
            if kind == event::ALLOC_WITH { bytes.byte()? } else { header.default_align_log2 };
        let align_log2 = with & !format::WITH_ZEROED;
        if align_log2 > format::ALIGN_LOG2_MAX {
            return Err(Fault::Align(with));
        }
        Ok(Event::Alloc { id, size, align_log2, zeroed: with & format::WITH_ZEROED != 0 })
    }

    /// An entry that names its block by address.
    fn addressed(
        &mut self,
        kind: u8,
        operand: u64,
        bytes: &mut Bytes,
        header: &Header,
    ) -> Result<Step, Fault> {
        let (before, event) = match kind {
            event::FREE => {
                let address = self.move_address(operand);
                return Ok(self.places.free(&address).map_or(Step::Nothing, Step::One));
            }
            event::REALLOC => {
                let old = self.move_address(operand);
                let new_size = bytes.number()?;
                let new = self.move_address(bytes.number()?);
                let next = self.ledger.allocations();
                self.places.realloc(&old, new, new_size, next, header.default_align_log2)
            }
            _ => {
                let event = self.allocation(kind, operand, bytes, header)?;
                let address = self.move_address(bytes.number()?);
                self.places.settle(address, event)
            }
        };
        Ok(match before {
            None => Step::One(event),
            Some(free) => Step::Two(free, event),
        })
    }

    /// The address that an entry names by its difference to the last one.
    fn move_address(&mut self, difference: u64) -> u64 {
        self.address = self.address.wrapping_add_signed(format::unzigzag(difference));
        self.address
    }
}
