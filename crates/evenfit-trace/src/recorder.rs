//! A recorder for devices: no allocator, no `std`, one buffer, any sink of bytes.

use crate::format::{
    self, CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, Header, LEB_BYTES_MAX, TIME_STEP_MAX, chunk, event,
};

/// Records a program's calls to its allocator, as an `.evt` file that is sent to `S` chunk by
/// chunk.
///
/// Blocks are named by address, so no table of live blocks is kept. `N` is the length of a chunk
/// with its header, at least [`Recorder::BYTES_MIN`]: the recorder's memory, and the most that is
/// lost if the program is killed. Every chunk is sent in one call. The reader notices chunks that
/// the sink loses.
///
/// Call it right after an allocation and right *before* a free. With threads, do both under one
/// lock: otherwise another thread's allocation at the same address may be recorded first.
///
/// ```
/// use evenfit_trace::format::Header;
/// use evenfit_trace::recorder::Recorder;
/// let mut uart = Vec::new();
/// let mut recorder = Recorder::<_, 256>::new(|bytes: &[u8]| uart.extend_from_slice(bytes), Header::default());
/// recorder.alloc(0x2000_0100, 40, 8);
/// recorder.free(0x2000_0100);
/// recorder.finish();
/// # #[cfg(feature = "std")]
/// assert_eq!(evenfit_trace::Trace::read(uart.as_slice())?.events().len(), 2);
/// # #[cfg(feature = "std")]
/// # Ok::<(), evenfit_trace::TraceError>(())
/// ```
pub struct Recorder<S: FnMut(&[u8]), const N: usize> {
    sink: S,
    encoder: Encoder,
    /// The chunk being filled, room for its header first.
    chunk: [u8; N],
    len: usize,
    kind: u8,
    sequence: u16,
    events: u64,
    allocations: u64,
}

/// When and where an event happens.
#[derive(Clone, Copy, Default)]
struct Place {
    time: u64,
    thread: u32,
    site: u32,
}

impl<S: FnMut(&[u8]), const N: usize> Recorder<S, N> {
    /// The shortest chunk: its header and the longest event.
    pub const BYTES_MIN: usize = CHUNK_HEADER_BYTES + ENTRY_BYTES_MAX;

    /// Sends the file's header. Blocks of `header.default_align_log2` take a byte less than others.
    pub fn new(mut sink: S, header: Header) -> Self {
        const { assert!(N >= Self::BYTES_MIN, "a chunk must hold its header and the longest event") };
        const { assert!(N <= CHUNK_BYTES_MAX as usize, "readers refuse longer chunks") };
        sink(&header.to_bytes());
        Recorder {
            sink,
            encoder: Encoder::new(header),
            chunk: [0; N],
            len: CHUNK_HEADER_BYTES,
            kind: chunk::ADDRESSED,
            sequence: 0,
            events: 0,
            allocations: 0,
        }
    }

    /// Sets the clock of the following events. If it goes back, the events have the last time.
    #[inline]
    pub fn set_time(&mut self, ticks: u64) {
        self.encoder.set_time(ticks);
    }

    /// Sets the thread of the following events.
    #[inline]
    pub fn set_thread(&mut self, thread: u32) {
        self.encoder.set_thread(thread);
    }

    /// Sets the call site of the following events: any number, such as the return address; 0 if
    /// unknown.
    #[inline]
    pub fn set_site(&mut self, site: u32) {
        self.encoder.set_site(site);
    }

    /// Records that a block of `size` bytes was allocated at `address`; `align` is in bytes, a
    /// power of two. A size that readers would refuse is omitted.
    #[inline]
    pub fn alloc(&mut self, address: u64, size: u64, align: u64) {
        self.allocations += (size <= format::SIZE_MAX) as u64;
        self.event(|encoder, room| encoder.alloc(room, address, size, align));
    }

    /// As [`Recorder::alloc`], for a block that had to be zero.
    #[inline]
    pub fn alloc_zeroed(&mut self, address: u64, size: u64, align: u64) {
        self.allocations += (size <= format::SIZE_MAX) as u64;
        self.event(|encoder, room| encoder.alloc_zeroed(room, address, size, align));
    }

    /// Records that the block at `address` is about to be freed.
    #[inline]
    pub fn free(&mut self, address: u64) {
        self.event(|encoder, room| encoder.free(room, address));
    }

    /// Records that the block at `old` has become one of `new_size` bytes at `new`.
    #[inline]
    pub fn realloc(&mut self, old: u64, new: u64, new_size: u64) {
        self.event(|encoder, room| encoder.realloc(room, old, new, new_size));
    }

    /// Names a call site, at any time. Text that is longer than half a chunk is cut.
    pub fn name_site(&mut self, id: u32, parent: u32, address: u64, name: &str, location: &str) {
        self.notes(chunk::SITES, &[id as u64, parent as u64, address], name, location);
    }

    /// Adds a key and its value about the recording, such as `program`. Text that is longer than
    /// half a chunk is cut.
    pub fn fact(&mut self, key: &str, value: &str) {
        self.notes(chunk::FACTS, &[], key, value);
    }

    /// Sends numbers and two texts as a chunk.
    fn notes(&mut self, kind: u8, numbers: &[u64], first: &str, second: &str) {
        self.flush();
        numbers.iter().for_each(|&number| self.put_number(number));
        let room = (N - self.len) / 2 - LEB_BYTES_MAX;
        for text in [first, second] {
            let text = cut(text, room);
            self.put_number(text.len() as u64);
            self.put(text.as_bytes());
        }
        self.kind = kind;
        self.flush();
    }

    /// Sends the events so far, so that they aren't lost if the program is killed.
    pub fn flush(&mut self) {
        let (header, data) = self.chunk[..self.len].split_at_mut(CHUNK_HEADER_BYTES);
        if data.is_empty() {
            return;
        }
        let raw_len = data.len() as u32;
        header.copy_from_slice(&format::chunk_header(
            self.kind,
            format::codec::STORED,
            self.sequence,
            data,
            raw_len,
        ));
        (self.sink)(&self.chunk[..self.len]);
        self.sequence = self.sequence.wrapping_add(1);
        self.len = CHUNK_HEADER_BYTES;
        self.kind = chunk::ADDRESSED;
    }

    /// Sends the rest and the end mark.
    pub fn finish(mut self) {
        self.flush();
        self.put_number(self.events);
        self.put_number(self.allocations);
        self.kind = chunk::END;
        self.flush();
    }

    /// Adds an event.
    #[inline(always)]
    fn event(&mut self, encode: impl Fn(&mut Encoder, &mut [u8; ENTRY_BYTES_MAX]) -> usize) {
        let Self { chunk, len, encoder, .. } = self;
        let added = if let Some(room) = chunk.get_mut(*len..).and_then(<[u8]>::first_chunk_mut) {
            // The longest event fits: straight into the chunk.
            let added = encode(encoder, room);
            *len += added;
            added
        } else {
            let mut bytes = [0; ENTRY_BYTES_MAX];
            let added = encode(encoder, &mut bytes);
            self.append(&bytes[..added]);
            added
        };
        self.events += (added > 0) as u64;
    }

    #[cold]
    #[inline(never)]
    fn append(&mut self, entry: &[u8]) {
        if self.len + entry.len() > N {
            self.flush();
        }
        self.put(entry);
    }

    /// Appends bytes that are known to fit.
    fn put(&mut self, bytes: &[u8]) {
        self.chunk[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_number(&mut self, value: u64) {
        let mut bytes = [0; LEB_BYTES_MAX];
        let len = format::leb128(value, &mut bytes);
        self.put(&bytes[..len]);
    }
}

/// The longest beginning of `text` within `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The longest event, in bytes: clock, thread and site, and the three numbers of a reallocation.
pub const ENTRY_BYTES_MAX: usize = 6 * LEB_BYTES_MAX;

/// Encodes events as entries of an [`ADDRESSED`](chunk::ADDRESSED) chunk, into memory of the
/// caller. [`Recorder`] uses it; use it directly if you write the chunks yourself.
///
/// The functions for events return the length of the entries that they wrote: the changes of clock,
/// thread and site, and the event itself. 0: the event was omitted.
pub struct Encoder {
    header: Header,
    address: u64,
    written: Place,
    place: Place,
}

impl Encoder {
    /// Begins a recording with this header.
    pub const fn new(header: Header) -> Self {
        let place = Place { time: 0, thread: 0, site: 0 };
        Self { header, address: 0, written: place, place }
    }

    /// See [`Recorder::set_time`].
    #[inline]
    pub fn set_time(&mut self, ticks: u64) {
        let written = self.written.time;
        self.place.time = ticks.clamp(written, written.saturating_add(TIME_STEP_MAX));
    }

    /// See [`Recorder::set_thread`].
    #[inline]
    pub fn set_thread(&mut self, thread: u32) {
        self.place.thread = thread;
    }

    /// See [`Recorder::set_site`].
    #[inline]
    pub fn set_site(&mut self, site: u32) {
        self.place.site = site;
    }

    /// See [`Recorder::alloc`].
    #[inline(always)]
    pub fn alloc(
        &mut self,
        room: &mut [u8; ENTRY_BYTES_MAX],
        address: u64,
        size: u64,
        align: u64,
    ) -> usize {
        self.allocated(room, address, size, align, 0)
    }

    /// See [`Recorder::alloc_zeroed`].
    #[inline(always)]
    pub fn alloc_zeroed(
        &mut self,
        room: &mut [u8; ENTRY_BYTES_MAX],
        address: u64,
        size: u64,
        align: u64,
    ) -> usize {
        self.allocated(room, address, size, align, format::WITH_ZEROED)
    }

    #[inline(always)]
    fn allocated(
        &mut self,
        room: &mut [u8; ENTRY_BYTES_MAX],
        address: u64,
        size: u64,
        align: u64,
        zeroed: u8,
    ) -> usize {
        if size > format::SIZE_MAX {
            return 0;
        }
        let with = align.trailing_zeros().min(format::ALIGN_LOG2_MAX as u32) as u8 | zeroed;
        let is_default = with == self.header.default_align_log2;
        let way = self.move_to(address);
        let mut entry = self.begin(room);
        if is_default {
            entry.event(event::ALLOC, size);
        } else {
            entry.event(event::ALLOC_WITH, size);
            entry.byte(with);
        }
        entry.number(way);
        entry.len
    }

    /// See [`Recorder::free`].
    #[inline(always)]
    pub fn free(&mut self, room: &mut [u8; ENTRY_BYTES_MAX], address: u64) -> usize {
        let way = self.move_to(address);
        let mut entry = self.begin(room);
        entry.event(event::FREE, way);
        entry.len
    }

    /// See [`Recorder::realloc`].
    #[inline(always)]
    pub fn realloc(
        &mut self,
        room: &mut [u8; ENTRY_BYTES_MAX],
        old: u64,
        new: u64,
        new_size: u64,
    ) -> usize {
        if new_size > format::SIZE_MAX {
            return 0;
        }
        let (from, to) = (self.move_to(old), self.move_to(new));
        let mut entry = self.begin(room);
        entry.event(event::REALLOC, from);
        entry.number(new_size);
        entry.number(to);
        entry.len
    }

    /// Begins an entry with what has changed in clock, thread and site.
    #[inline(always)]
    fn begin<'a>(&mut self, bytes: &'a mut [u8; ENTRY_BYTES_MAX]) -> Entry<'a> {
        let (place, written) = (self.place, self.written);
        let mut entry = Entry { bytes, len: 0 };
        if (place.time, place.thread, place.site) != (written.time, written.thread, written.site) {
            entry.changes(written, place);
            self.written = place;
        }
        entry
    }

    /// The code of the difference from the last address to this one. Both have 60 bits, so that it
    /// fits beside an event's kind.
    #[inline(always)]
    fn move_to(&mut self, address: u64) -> u64 {
        let address = (address >> self.header.address_shift) & (u64::MAX >> 4);
        let difference = address.wrapping_sub(self.address) as i64;
        self.address = address;
        format::zigzag(difference)
    }
}

/// An encoded event, which a chunk must not cut.
struct Entry<'a> {
    bytes: &'a mut [u8; ENTRY_BYTES_MAX],
    len: usize,
}

impl Entry<'_> {
    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        // No event is longer, so this always is one.
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    #[inline(always)]
    fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline(always)]
    fn event(&mut self, kind: u8, operand: u64) {
        self.number(operand << 3 | kind as u64);
    }

    #[inline(always)]
    fn changes(&mut self, written: Place, place: Place) {
        if place.time != written.time {
            self.event(event::TIME, place.time - written.time);
        }
        if place.thread != written.thread {
            self.event(event::THREAD, place.thread as u64);
        }
        if place.site != written.site {
            self.event(event::SITE, place.site as u64);
        }
    }
}
