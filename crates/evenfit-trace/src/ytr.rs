//! Importing `.ytr` files: the same events without thread, time and site, as one zstd frame or plain.
//!
//! Magic `YTR1`, LEB128 count of events, then the events. Each is a LEB128 number whose low two bits are the kind:
//! 0 allocation of `v >> 2` bytes, 3 the same followed by a byte log2(alignment), 1 free of the block `v >> 2`
//! allocations before the newest, 2 reallocation of that block, followed by LEB128 new size.

use std::io::{self, BufRead, BufReader, Read};

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::heaptrack;
use crate::{Event, Fault, Limits, Trace, TraceError};

const MAGIC: &[u8; 4] = b"YTR1";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Windows of up to 128 MiB are unpacked; a file that asks more is refused.
const WINDOW_LOG2_MAX: u32 = 27;

/// Whether these first bytes are those of a `.ytr` file, compressed or not.
pub(crate) fn is_ytr(start: &[u8]) -> bool {
    start.starts_with(MAGIC) || start.starts_with(&ZSTD_MAGIC)
}

/// Reads what can be read, and the first fault.
pub(crate) fn read(
    mut input: impl BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let start = input
        .fill_buf()
        .map_err(|e| TraceError::new(Fault::Io(e), 0))?;
    let source = if start.starts_with(&ZSTD_MAGIC) {
        Source::Packed(unpacker(input).map_err(|e| TraceError::new(Fault::Io(e), 0))?)
    } else {
        Source::Plain(input)
    };
    let mut source = BufReader::new(source);
    if source.fill_buf().is_ok_and(heaptrack::is_heaptrack) {
        return heaptrack::read(source, limits);
    }
    let mut decoder = Decoder { source, offset: 0 };
    decoder.magic()?;
    let mut builder = TraceBuilder::new(Header::default());
    let fault = decoder.events(&mut builder, limits).err();
    Ok((builder.finish(), fault))
}

type Unpacker<R> = zstd::stream::read::Decoder<'static, Counted<R>>;

fn unpacker<R: BufRead>(input: R) -> io::Result<Unpacker<R>> {
    let mut unpacker = zstd::stream::read::Decoder::with_buffer(Counted { input, consumed: 0 })?;
    unpacker.window_log_max(WINDOW_LOG2_MAX)?;
    Ok(unpacker)
}

/// Counts what is taken out of a buffered input.
struct Counted<R> {
    input: R,
    consumed: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(out)?;
        self.consumed += len as u64;
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.consumed += len as u64;
        self.input.consume(len);
    }
}

enum Source<R: BufRead> {
    Plain(R),
    Packed(Unpacker<R>),
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(input) => input.read(out),
            Source::Packed(input) => input.read(out),
        }
    }
}

struct Decoder<R: BufRead> {
    source: BufReader<Source<R>>,
    offset: u64,
}

impl<R: BufRead> Decoder<R> {
    /// `fault` at `offset` of the unpacked data.
    fn error(&self, fault: Fault, offset: u64) -> TraceError {
        match self.source.get_ref() {
            Source::Plain(_) => TraceError::new(fault, offset),
            Source::Packed(unpacker) => TraceError {
                fault,
                offset: unpacker.get_ref().consumed,
                unpacked_offset: Some(offset),
                line: None,
            },
        }
    }

    /// The next byte; `None` at the end.
    fn next(&mut self) -> Result<Option<u8>, TraceError> {
        let packed = matches!(self.source.get_ref(), Source::Packed(_));
        let byte = match self.source.fill_buf() {
            Ok(buffer) => buffer.first().copied(),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.error(Fault::Truncated, self.offset));
            }
            Err(e) if packed => return Err(self.error(Fault::Unpack(e.to_string()), self.offset)),
            Err(e) => return Err(self.error(Fault::Io(e), self.offset)),
        };
        if byte.is_some() {
            self.source.consume(1);
            self.offset += 1;
        }
        Ok(byte)
    }

    fn byte(&mut self) -> Result<u8, TraceError> {
        self.next()?
            .ok_or_else(|| self.error(Fault::Truncated, self.offset))
    }

    fn number(&mut self) -> Result<u64, TraceError> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = (byte & 0x7f) as u64;
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(Fault::Number, start))
    }

    fn magic(&mut self) -> Result<(), TraceError> {
        for expected in MAGIC {
            if self.byte()? != *expected {
                return Err(self.error(Fault::NotATrace, 0));
            }
        }
        Ok(())
    }

    fn events(&mut self, builder: &mut TraceBuilder, limits: Limits) -> Result<(), TraceError> {
        let start = self.offset;
        let count = self.number()?;
        if count > limits.events {
            return Err(self.error(
                Fault::Limit {
                    what: "events",
                    most: limits.events,
                },
                start,
            ));
        }
        for _ in 0..count {
            let start = self.offset;
            let event = self.event(builder.allocations())?;
            builder
                .push(event)
                .map_err(|fault| self.error(fault, start))?;
        }
        let end = self.offset;
        match self.next()? {
            None => Ok(()),
            Some(_) => Err(self.error(Fault::Trailing, end)),
        }
    }

    fn event(&mut self, allocations: u32) -> Result<Event, TraceError> {
        let start = self.offset;
        let first = self.number()?;
        let operand = first >> 2;
        let align_log2 = match first & 3 {
            0 => Header::default().default_align_log2,
            3 => self.byte()?,
            kind => {
                if operand >= allocations as u64 {
                    return Err(self.error(Fault::NeverAllocated { allocations }, start));
                }
                let id = allocations - 1 - operand as u32;
                let free = kind == 1;
                return Ok(if free {
                    Event::Free { id }
                } else {
                    Event::Realloc {
                        id,
                        new_size: self.number()?,
                    }
                });
            }
        };
        Ok(Event::Alloc {
            id: allocations,
            size: operand,
            align_log2,
            zeroed: false,
        })
    }
}
