//! The file header and the chunks: framing, checksums, unpacking. `reader` interprets the data.

use std::io::{BufReader, Read};

use crate::format::{self, CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, HEADER_BYTES, Header};
use crate::{Fault, TraceError};

/// Yields the chunks of a file. Holds at most one chunk: twice [`CHUNK_BYTES_MAX`].
pub(crate) struct Chunks<R: Read> {
    input: BufReader<R>,
    offset: u64,
    sequence: u16,
    stored: Vec<u8>,
    data: Vec<u8>,
    data_offset: u64,
    packed: bool,
}

impl<R: Read> Chunks<R> {
    /// Reads and checks the file header.
    pub fn new(input: R) -> Result<(Self, Header), TraceError> {
        let mut chunks = Chunks {
            input: BufReader::new(input),
            offset: 0,
            sequence: 0,
            stored: Vec::new(),
            data: Vec::new(),
            data_offset: 0,
            packed: false,
        };
        let mut bytes = [0; HEADER_BYTES];
        let len = chunks.fill(&mut bytes)?;
        let known = len.min(format::MAGIC.len());
        if known == 0 || bytes[..known] != format::MAGIC[..known] {
            return Err(TraceError::new(Fault::NotATrace, 0));
        }
        if len >= 10 {
            let version = u16::from_le_bytes([bytes[8], bytes[9]]);
            if version != format::VERSION {
                return Err(TraceError::new(Fault::Version(version), 8));
            }
        }
        if len < HEADER_BYTES {
            return Err(TraceError::new(Fault::Truncated, len as u64));
        }
        Ok((chunks, parse_header(&bytes)?))
    }

    /// Fills `out` as far as the input goes.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, TraceError> {
        let mut len = 0;
        while len < out.len() {
            match self.input.read(&mut out[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(TraceError::new(Fault::Io(e), self.offset + len as u64)),
            }
        }
        self.offset += len as u64;
        Ok(len)
    }

    /// Reads the next chunk and returns its kind; its data is then in [`Chunks::data`], unless it
    /// may be skipped.
    pub fn advance(&mut self) -> Result<u8, TraceError> {
        let start = self.offset;
        let mut header = [0; CHUNK_HEADER_BYTES];
        if self.fill(&mut header)? < CHUNK_HEADER_BYTES {
            return Err(TraceError::new(Fault::Truncated, self.offset));
        }
        let [kind, codec, s0, s1, l0, l1, l2, l3, r0, r1, r2, r3, c0, c1, c2, c3] = header;
        let stored_len = u32::from_le_bytes([l0, l1, l2, l3]);
        let raw_len = u32::from_le_bytes([r0, r1, r2, r3]);
        for (len, at) in [(stored_len, 4), (raw_len, 8)] {
            if len > CHUNK_BYTES_MAX {
                return Err(TraceError::new(Fault::ChunkTooLong(len), start + at));
            }
        }
        self.read_stored(stored_len)?;
        let crc = format::crc32(format::crc32(0, &header[..12]), &self.stored);
        if crc != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(TraceError::new(Fault::Checksum, start));
        }
        let found = u16::from_le_bytes([s0, s1]);
        if found != self.sequence {
            return Err(TraceError::new(
                Fault::Sequence { expected: self.sequence, found },
                start + 2,
            ));
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.data_offset = start + CHUNK_HEADER_BYTES as u64;
        if kind < format::chunk::SKIPPABLE {
            self.unpack(codec, raw_len, start)?;
        }
        Ok(kind)
    }

    /// Reads the chunk's stored bytes. Allocates for the bytes that are there, not for those that
    /// the header claims.
    fn read_stored(&mut self, len: u32) -> Result<(), TraceError> {
        self.stored.clear();
        let result = self.input.by_ref().take(len as u64).read_to_end(&mut self.stored);
        self.offset += self.stored.len() as u64;
        result.map_err(|e| TraceError::new(Fault::Io(e), self.offset))?;
        if self.stored.len() < len as usize {
            return Err(TraceError::new(Fault::Truncated, self.offset));
        }
        Ok(())
    }

    fn unpack(&mut self, codec: u8, raw_len: u32, start: u64) -> Result<(), TraceError> {
        self.packed = codec != format::codec::STORED;
        match codec {
            format::codec::STORED => std::mem::swap(&mut self.stored, &mut self.data),
            format::codec::ZSTD => {
                self.data.clear();
                self.data.reserve(raw_len as usize);
                zstd::bulk::Decompressor::new()
                    .and_then(|mut unpacker| {
                        unpacker.decompress_to_buffer(&self.stored, &mut self.data)
                    })
                    .map_err(|e| TraceError::new(Fault::Unpack(e.to_string()), self.data_offset))?;
            }
            other => return Err(TraceError::new(Fault::Codec(other), start + 1)),
        }
        if self.data.len() != raw_len as usize {
            return Err(TraceError::new(Fault::UnpackedLength, start + 8));
        }
        Ok(())
    }

    /// The current chunk's data.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// A fault at byte `at` of the current chunk, with its offset in the file.
    pub fn error_at(&self, fault: Fault, at: usize) -> TraceError {
        if self.packed {
            TraceError {
                fault,
                offset: self.data_offset,
                unpacked_offset: Some(at as u64),
                line: None,
                column: None,
            }
        } else {
            TraceError::new(fault, self.data_offset + at as u64)
        }
    }

    /// The offset at which the current chunk begins.
    pub fn chunk_offset(&self) -> u64 {
        self.data_offset - CHUNK_HEADER_BYTES as u64
    }

    /// Refuses anything after the last chunk.
    pub fn expect_end(&mut self) -> Result<(), TraceError> {
        let offset = self.offset;
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(TraceError::new(Fault::Trailing, offset)),
        }
    }
}

fn parse_header(bytes: &[u8; HEADER_BYTES]) -> Result<Header, TraceError> {
    let [.., c0, c1, c2, c3] = *bytes;
    if format::crc32(0, &bytes[..20]) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(TraceError::new(Fault::Checksum, 20));
    }
    let header = Header {
        default_align_log2: bytes[10],
        address_shift: bytes[11],
        tick_hz: bytes[12..20].iter().rev().fold(0, |hz, &byte| hz << 8 | byte as u64),
    };
    if header.default_align_log2 > format::ALIGN_LOG2_MAX {
        return Err(TraceError::new(Fault::Header("the default alignment is too large"), 10));
    }
    if header.address_shift > format::ALIGN_LOG2_MAX {
        return Err(TraceError::new(Fault::Header("the address shift is too large"), 11));
    }
    Ok(header)
}
