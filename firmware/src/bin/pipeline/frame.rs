//! Frames: a burst packed into as few bytes as simple means allow.
//!
//! | sensor | kind | sequence, 2 | count, 2 | checksum, 2 | samples as zigzag LEB128 differences, or text |

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;

use crate::contract;
use crate::promise::{self, Kept};
use crate::sensors::{Burst, Reading};

const HEADER_BYTES: usize = 8;
/// The longest burst has 128 samples, of at most three bytes each.
const BYTES_MAX: usize = contract::CONTRACT[contract::FRAME_3].max_bytes;
const SAMPLES: u8 = 0;
const TEXT: u8 = 1;

/// A packed burst.
pub struct Frame(Kept<Box<[u8]>, { contract::FRAME_3 }>);

/// What a frame says of the burst it was made of.
pub struct Unpacked {
    pub sensor: u8,
    pub sequence: u16,
    pub bytes: usize,
    pub is_intact: bool,
}

impl Frame {
    /// Packs in a workspace for the longest frame, which then is cut to what was needed.
    pub fn pack(burst: &Burst) -> Self {
        let mut work = Vec::with_capacity(BYTES_MAX);
        promise::allocated(contract::WORKSPACE_2, Layout::for_value(work.spare_capacity_mut()));
        let (kind, count, sum) = match &burst.reading {
            Reading::Samples(samples) => (SAMPLES, samples.len(), checksum_of(samples)),
            Reading::Sentence(text) => (TEXT, text.len(), checksum(text.iter().copied())),
        };
        work.extend_from_slice(&[burst.sensor, kind]);
        work.extend_from_slice(&burst.sequence.to_le_bytes());
        work.extend_from_slice(&(count as u16).to_le_bytes());
        work.extend_from_slice(&sum.to_le_bytes());
        match &burst.reading {
            Reading::Samples(samples) => pack_samples(samples, &mut work),
            Reading::Sentence(text) => work.extend_from_slice(text),
        }
        let frame = work.into_boxed_slice();
        promise::freed(contract::WORKSPACE_2);
        Self(Kept::new(frame))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the receiver makes of the bytes; `None` if they are no frame.
    pub fn unpack(bytes: &[u8]) -> Option<Unpacked> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let pair = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let count = usize::from(pair(4));
        let (sum, bytes) = match header[1] {
            SAMPLES => (checksum_of(&unpack_samples(body, count)?), 2 * count),
            TEXT if body.len() == count => (checksum(body.iter().copied()), count),
            _ => return None,
        };
        Some(Unpacked { sensor: header[0], sequence: pair(2), bytes, is_intact: sum == pair(6) })
    }
}

fn pack_samples(samples: &[i16], work: &mut Vec<u8>) {
    let mut last = 0;
    for &sample in samples {
        let difference = sample.wrapping_sub(last);
        let mut code = ((difference << 1) ^ (difference >> 15)) as u16;
        while code >= 0x80 {
            work.push(code as u8 | 0x80);
            code >>= 7;
        }
        work.push(code as u8);
        last = sample;
    }
}

/// The receiver's own copy, another class of block of the same size as the sensor's.
fn unpack_samples(
    mut body: &[u8],
    count: usize,
) -> Option<Kept<Box<[i16]>, { contract::SAMPLES_0 }>> {
    let mut samples = Vec::with_capacity(count);
    let mut last = 0_i16;
    for _ in 0..count {
        let (mut code, mut shift) = (0_u16, 0);
        loop {
            let (&byte, rest) = body.split_first()?;
            body = rest;
            code |= u16::from(byte & 0x7F).checked_shl(shift)?;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        last = last.wrapping_add((code >> 1) as i16 ^ -((code & 1) as i16));
        samples.push(last);
    }
    body.is_empty().then(|| Kept::new(samples.into_boxed_slice()))
}

fn checksum_of(samples: &[i16]) -> u16 {
    checksum(samples.iter().flat_map(|sample| sample.to_le_bytes()))
}

/// Fletcher's, of 16 bits.
fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let (mut low, mut high) = (0_u16, 0_u16);
    for byte in bytes {
        low = (low + u16::from(byte)) % 255;
        high = (high + low) % 255;
    }
    high << 8 | low
}
