//! Text formats, line by line.

use std::io::{BufRead, Read};

use crate::{Fault, TraceError};

/// The lines of a file, each with its place; none longer than a limit.
pub(crate) struct Lines<R> {
    input: R,
    most: usize,
    line: Vec<u8>,
    offset: u64,
    next_offset: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`, each of at most so many bytes.
    pub(crate) fn new(input: R, most: usize) -> Self {
        Self {
            input,
            most,
            line: Vec::new(),
            offset: 0,
            next_offset: 0,
        }
    }

    /// The next line that isn't empty, without its end.
    pub(crate) fn next(&mut self) -> Result<Option<&str>, TraceError> {
        loop {
            self.line.clear();
            self.offset = self.next_offset;
            let len = (&mut self.input)
                .take(self.most as u64 + 1)
                .read_until(b'\n', &mut self.line)
                .map_err(|e| self.error(Fault::Io(e)))?;
            if len == 0 {
                return Ok(None);
            }
            if len > self.most {
                return Err(self.error(Fault::Line(format!(
                    "a line of more than {} bytes",
                    self.most
                ))));
            }
            self.next_offset += len as u64;
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let line =
            std::str::from_utf8(self.line.trim_ascii()).map_err(|_| self.error(Fault::Text))?;
        Ok(Some(line))
    }

    /// A fault in the line that was read last.
    pub(crate) fn error(&self, fault: Fault) -> TraceError {
        TraceError::new(fault, self.offset)
    }
}
