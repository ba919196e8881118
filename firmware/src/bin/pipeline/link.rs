//! The link and the receiver at its other end.

use alloc::collections::VecDeque;

use crate::frame::Frame;

/// The link is up for the first part of every period, in ticks.
const PERIOD: u32 = 300;
const UP: u32 = 150;
/// Bytes that it carries in a tick.
const BYTES_PER_TICK: usize = 400;
const SENSORS: usize = 4;

#[derive(Default)]
pub struct Link {
    pub delivered: u32,
    pub damaged: u32,
    pub bytes_carried: usize,
    pub bytes_unpacked: usize,
    next_sequence: [u16; SENSORS],
    budget_bytes: usize,
    last_tick: u32,
}

impl Link {
    /// Carries what the time since the last call allows.
    pub fn carry(&mut self, now: u32, outbox: &mut VecDeque<Frame>) {
        if now % PERIOD >= UP {
            self.budget_bytes = 0;
            self.last_tick = now;
            return;
        }
        self.budget_bytes += (now - self.last_tick) as usize * BYTES_PER_TICK;
        self.last_tick = now;
        while let Some(frame) = outbox.front() {
            let bytes = frame.bytes();
            if bytes.len() > self.budget_bytes {
                return;
            }
            self.budget_bytes -= bytes.len();
            self.receive(bytes);
            outbox.pop_front();
        }
        self.budget_bytes = 0;
    }

    /// Frames come whole and in order; some of a sensor's may be missing.
    fn receive(&mut self, bytes: &[u8]) {
        self.delivered += 1;
        self.bytes_carried += bytes.len();
        let Some(unpacked) = Frame::unpack(bytes) else {
            self.damaged += 1;
            return;
        };
        self.bytes_unpacked += unpacked.bytes;
        let Some(next) = self.next_sequence.get_mut(usize::from(unpacked.sensor)) else {
            self.damaged += 1;
            return;
        };
        if !unpacked.is_intact || unpacked.sequence < *next {
            self.damaged += 1;
        }
        *next = unpacked.sequence + 1;
    }
}
