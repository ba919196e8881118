//! What can be wrong with a trace, and where.

use std::{fmt, io};

/// A fault and its position in the file.
#[derive(Debug)]
pub struct TraceError {
    /// What is wrong.
    pub fault: Fault,
    /// Byte offset in the file. Inside compressed data: of the chunk's data.
    pub offset: u64,
    /// Byte offset in the unpacked data, if the fault is inside compressed data.
    pub unpacked_offset: Option<u64>,
    /// Number of the line, from 1, in a file of text.
    pub line: Option<u64>,
    /// Number of the character in that line, from 1.
    pub column: Option<u64>,
}

/// The kinds of fault.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system refused.
    Io(io::Error),
    /// Neither an `.evt` nor a CSV file, nor one of those that are imported.
    NotATrace,
    /// An `.evt` file of a version this build doesn't know.
    Version(u16),
    /// The file ends too early; everything before was readable.
    Truncated,
    /// A header's or chunk's checksum differs: the bytes were changed.
    Checksum,
    /// A field of the file header is out of its range.
    Header(&'static str),
    /// A chunk kind that must be understood and isn't known.
    ChunkKind(u8),
    /// A codec that isn't known.
    Codec(u8),
    /// A chunk claims more than [`CHUNK_BYTES_MAX`](crate::format::CHUNK_BYTES_MAX).
    ChunkTooLong(u32),
    /// A chunk is missing or stands twice.
    Sequence {
        /// The number that had to come.
        expected: u16,
        /// The number that came.
        found: u16,
    },
    /// The compressed data is broken, or unpacks to too much.
    Unpack(String),
    /// The data unpacks to another length than stated.
    UnpackedLength,
    /// An event kind that isn't known.
    EventKind(u8),
    /// A number of more than 64 bits.
    Number,
    /// An event or entry is cut off by its chunk's end.
    Cut,
    /// A size above [`SIZE_MAX`](crate::format::SIZE_MAX).
    Size(u64),
    /// All live blocks together exceed [`SIZE_MAX`](crate::format::SIZE_MAX).
    LiveBytes,
    /// An alignment, as a power of two, above [`ALIGN_LOG2_MAX`](crate::format::ALIGN_LOG2_MAX), or
    /// unknown bits beside it.
    Align(u8),
    /// A block that was never allocated.
    NeverAllocated {
        /// How many allocations there were before this event.
        allocations: u32,
    },
    /// An allocation whose id isn't the number of allocations before it.
    NotDense {
        /// The id that had to come.
        expected: u32,
        /// The id that came.
        found: u32,
    },
    /// A block that was freed before.
    AlreadyFreed(u32),
    /// A thread or site number, or a clock, too large for its field.
    Range(&'static str),
    /// The clock goes back.
    ClockBack,
    /// Text that isn't UTF-8.
    Text,
    /// Text in UTF-16.
    Utf16,
    /// A line of a text file that makes no sense, and why.
    Line(String),
    /// More of something than [`Limits`](crate::Limits) allows.
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        most: u64,
    },
    /// The stated number of events or allocations isn't the number that came.
    Totals {
        /// Stated.
        stated: u64,
        /// Found.
        found: u64,
    },
    /// Bytes after the end.
    Trailing,
}

impl TraceError {
    pub(crate) fn new(fault: Fault, offset: u64) -> Self {
        TraceError { fault, offset, unpacked_offset: None, line: None, column: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io(e) => write!(f, "{e}"),
            Fault::NotATrace => {
                f.write_str(
                    "not a trace: neither an .evt file, nor CSV that begins with op,block, nor heaptrack's data, \
                     nor a log with a heap trace of ESP-IDF or the lines of Zephyr's heap listeners",
                )
            }
            Fault::Version(v) => write!(f, "format version {v}; this build reads version 1"),
            Fault::Truncated => f.write_str("the file ends here, before its end mark"),
            Fault::Checksum => f.write_str("the checksum differs: the bytes were changed"),
            Fault::Header(what) => write!(f, "bad header: {what}"),
            Fault::ChunkKind(kind) => write!(f, "unknown chunk kind {kind}"),
            Fault::Codec(codec) => write!(f, "unknown codec {codec}"),
            Fault::ChunkTooLong(len) => {
                write!(
                    f,
                    "a chunk of {len} bytes; at most {} are allowed",
                    crate::format::CHUNK_BYTES_MAX
                )
            }
            Fault::Sequence { expected, found } => {
                write!(
                    f,
                    "chunk number {found} where {expected} had to come: chunks are missing or repeated"
                )
            }
            Fault::Unpack(why) => write!(f, "can't unpack: {why}"),
            Fault::UnpackedLength => f.write_str("the data unpacks to another length than stated"),
            Fault::EventKind(kind) => write!(f, "unknown event kind {kind}"),
            Fault::Number => f.write_str("a number of more than 64 bits"),
            Fault::Cut => f.write_str("an entry is cut by the end of its data"),
            Fault::Size(size) => {
                write!(
                    f,
                    "a block of {size} bytes; at most {} are allowed",
                    crate::format::SIZE_MAX
                )
            }
            Fault::LiveBytes => {
                write!(f, "the live blocks together exceed {} bytes", crate::format::SIZE_MAX)
            }
            Fault::Align(byte) => write!(f, "bad alignment byte {byte:#04x}"),
            Fault::NeverAllocated { allocations } => {
                write!(
                    f,
                    "a block that was never allocated ({allocations} allocations before this event)"
                )
            }
            Fault::NotDense { expected, found } => {
                write!(f, "allocation {found} where {expected} had to come")
            }
            Fault::AlreadyFreed(id) => write!(f, "block {id} was freed before"),
            Fault::Range(what) => write!(f, "the {what} exceeds its range"),
            Fault::ClockBack => f.write_str("the clock goes back"),
            Fault::Text => f.write_str("text that is not UTF-8"),
            Fault::Utf16 => f.write_str("text in UTF-16; save it as UTF-8"),
            Fault::Line(why) => f.write_str(why),
            Fault::Limit { what, most } => {
                write!(f, "more than {most} {what}; raise the limit to read it")
            }
            Fault::Totals { stated, found } => write!(f, "{stated} were stated and {found} found"),
            Fault::Trailing => f.write_str("bytes after the end mark"),
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "in line {line}, ")?;
        }
        if let Some(column) = self.column {
            write!(f, "column {column}, ")?;
        }
        write!(f, "at byte {}", self.offset)?;
        if let Some(inner) = self.unpacked_offset {
            write!(f, " (byte {inner} of the data unpacked there)")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}
