//! Reads numbers and text from a buffer with any content.

use crate::Fault;

/// A position in a buffer.
pub(crate) struct Bytes<'a> {
    pub data: &'a [u8],
    pub at: usize,
}

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.at >= self.data.len()
    }

    pub fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.data.get(self.at).ok_or(Fault::Cut)?;
        self.at += 1;
        Ok(byte)
    }

    /// A LEB128 number.
    pub fn number(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let bits = (byte & 0x7f) as u64;
            if shift == 63 && bits > 1 {
                return Err(Fault::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(Fault::Number);
            }
        }
    }

    /// A number that must fit 32 bits; `what` names it in the error.
    pub fn number_u32(&mut self, what: &'static str) -> Result<u32, Fault> {
        u32::try_from(self.number()?).map_err(|_| Fault::Range(what))
    }

    /// Length and UTF-8 text.
    pub fn text(&mut self) -> Result<&'a str, Fault> {
        let len = usize::try_from(self.number()?).map_err(|_| Fault::Cut)?;
        let end = self.at.checked_add(len).ok_or(Fault::Cut)?;
        let bytes = self.data.get(self.at..end).ok_or(Fault::Cut)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::Text)?;
        self.at = end;
        Ok(text)
    }
}
