//! Making a trace, event by event.

use crate::format::{self, Header};
use crate::ledger::Ledger;
use crate::{Event, Fault, Record, Repairs, Site, Trace};

/// Builds a [`Trace`] and refuses invalid events: for importers, generators and tests.
///
/// ```
/// use evenfit_trace::TraceBuilder;
/// let mut builder = TraceBuilder::default();
/// let a = builder.alloc(100, 8)?;
/// let b = builder.alloc(24, 16)?;
/// builder.realloc(a, 200)?;
/// builder.free(b)?;
/// let trace = builder.finish();
/// assert_eq!(trace.info().peak_live_bytes, 224);
/// # Ok::<(), evenfit_trace::Fault>(())
/// ```
#[derive(Default)]
pub struct TraceBuilder {
    trace: Trace,
    ledger: Ledger,
    sizes: Vec<u64>,
    live_bytes: u64,
    time: u64,
}

impl TraceBuilder {
    /// Begins an empty trace.
    pub fn new(header: Header) -> Self {
        TraceBuilder { trace: Trace { header, ..Trace::default() }, ..TraceBuilder::default() }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// A record that can't follow those before; the trace is unchanged.
    pub fn push(&mut self, record: impl Into<Record>) -> Result<(), Fault> {
        let record = record.into();
        if record.time < self.time {
            return Err(Fault::ClockBack);
        }
        let live_bytes = self.live_bytes_after(record.event)?;
        self.ledger.apply(record.event)?;
        self.live_bytes = live_bytes;
        self.time = record.time;
        match record.event {
            Event::Alloc { size, .. } => self.sizes.push(size),
            Event::Realloc { id, new_size } => self.sizes[id as usize] = new_size,
            Event::Free { .. } => {}
        }
        self.trace.columns.push(self.trace.events.len(), &record);
        self.trace.events.push(record.event);
        Ok(())
    }

    /// Live bytes after `event`; any number for an event that the ledger will refuse.
    fn live_bytes_after(&self, event: Event) -> Result<u64, Fault> {
        let (plus, minus) = match event {
            Event::Alloc { size, .. } => (size, 0),
            Event::Free { id } => (0, self.size(id)),
            Event::Realloc { id, new_size } => (new_size, self.size(id)),
        };
        let live_bytes = self.live_bytes.saturating_sub(minus).saturating_add(plus);
        if plus <= format::SIZE_MAX && live_bytes > format::SIZE_MAX {
            return Err(Fault::LiveBytes);
        }
        Ok(live_bytes)
    }

    fn size(&self, id: u32) -> u64 {
        self.sizes.get(id as usize).copied().unwrap_or(0)
    }

    /// Adds an allocation and returns its id. `align` is in bytes, a power of two.
    ///
    /// # Errors
    /// A size or alignment out of range.
    pub fn alloc(&mut self, size: u64, align: u64) -> Result<u32, Fault> {
        if !align.is_power_of_two() {
            return Err(Fault::Align(u8::MAX));
        }
        let id = self.ledger.allocations();
        self.push(Event::Alloc {
            id,
            size,
            align_log2: align.trailing_zeros() as u8,
            zeroed: false,
        })?;
        Ok(id)
    }

    /// Adds a free.
    ///
    /// # Errors
    /// A block that isn't live.
    pub fn free(&mut self, id: u32) -> Result<(), Fault> {
        self.push(Event::Free { id })
    }

    /// Adds a reallocation.
    ///
    /// # Errors
    /// A block that isn't live, a size out of range.
    pub fn realloc(&mut self, id: u32, new_size: u64) -> Result<(), Fault> {
        self.push(Event::Realloc { id, new_size })
    }

    /// Adds named call sites. Of several with one number the last counts.
    pub fn sites(&mut self, sites: impl IntoIterator<Item = Site>) {
        self.trace.add_sites(sites);
    }

    /// Adds a key and its value.
    pub fn fact(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.trace.add_fact(key, value);
    }

    /// Notes that something is missing, and what.
    pub fn incomplete(&mut self, why: impl Into<String>) {
        self.trace.add_incomplete(why);
    }

    /// The call site of the event that was added last.
    pub(crate) fn site_of_last(&mut self, site: u32) {
        self.trace.columns.site_of_last(self.trace.events.len(), site);
    }

    /// Notes what an importer mended.
    pub fn repairs(&mut self, repairs: Repairs) {
        self.trace.repairs = repairs;
    }

    /// Allocations so far: the next one's id.
    pub fn allocations(&self) -> u32 {
        self.ledger.allocations()
    }

    /// Events so far.
    pub fn len(&self) -> usize {
        self.trace.events.len()
    }

    /// Whether there is no event yet.
    pub fn is_empty(&self) -> bool {
        self.trace.events.is_empty()
    }

    /// The trace.
    pub fn finish(mut self) -> Trace {
        self.trace.allocations = self.ledger.allocations();
        self.trace.events.shrink_to_fit();
        self.trace
    }
}
