//! Unpacks text that is compressed by gzip or zstd, while it is read.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use crate::{Fault, TraceError};

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// zstd's windows of up to 128 MiB are unpacked; a file that asks for more is refused.
const WINDOW_LOG2_MAX: u32 = 27;
/// Most bytes that a file may unpack to: some hundred for each event that a trace may have.
const UNPACKED_BYTES_MAX: u64 = 16 << 30;

/// The compression of a file.
#[derive(Clone, Copy)]
pub(crate) enum Packer {
    Gzip,
    Zstd,
}

impl Packer {
    /// By a file's first bytes.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(GZIP_MAGIC) {
            Some(Self::Gzip)
        } else if start.starts_with(ZSTD_MAGIC) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// What was packed.
    pub(crate) fn unpack<'a>(
        self,
        packed: impl BufRead + 'a,
    ) -> Result<impl Read + 'a, TraceError> {
        let unpacked: Box<dyn Read + 'a> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Zstd => Box::new(zstd(packed).map_err(|e| TraceError::new(fault(e), 0))?),
        };
        Ok(Bounded { unpacked, room: UNPACKED_BYTES_MAX })
    }
}

fn zstd<R: BufRead>(packed: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(WINDOW_LOG2_MAX)?;
    Ok(decoder)
}

/// Unpacked data up to a limit; more is an error.
struct Bounded<R> {
    unpacked: R,
    room: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.unpacked.read(out)?;
        self.room = self.room.checked_sub(len as u64).ok_or_else(|| {
            io::Error::other(format!("it holds more than {UNPACKED_BYTES_MAX} bytes"))
        })?;
        Ok(len)
    }
}

/// The fault of a read error. Only errors of the operating system have a number.
pub(crate) fn fault(error: io::Error) -> Fault {
    match error.kind() {
        ErrorKind::UnexpectedEof => Fault::Truncated,
        _ if error.raw_os_error().is_some() => Fault::Io(error),
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
            Fault::Unpack(error.to_string())
        }
        _ => Fault::Io(error),
    }
}

/// The first bytes of an input, as many as `most` if it has them, and the whole input.
pub(crate) fn look<'a>(
    mut input: impl Read + 'a,
    most: u64,
) -> Result<(Vec<u8>, impl BufRead + 'a), TraceError> {
    let mut start = Vec::new();
    let looked = (&mut input).take(most).read_to_end(&mut start);
    looked.map_err(|error| TraceError::new(fault(error), start.len() as u64))?;
    let whole = io::Cursor::new(start.clone()).chain(input);
    Ok((start, BufReader::with_capacity(64 << 10, whole)))
}
