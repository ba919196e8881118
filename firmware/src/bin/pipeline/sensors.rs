//! The sensors: a timer interrupt takes what they have and queues it for the main loop.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, Ordering};

use critical_section::Mutex;

use crate::contract;
use crate::heap::{SENSE, Stage};
use crate::promise::Kept;

/// Bursts that may wait for the main loop.
const WAITING_MAX: usize = 6;

/// What one sensor gave at once.
pub struct Burst {
    pub sensor: u8,
    pub sequence: u16,
    pub reading: Reading,
}

pub enum Reading {
    Samples(Kept<Box<[i16]>, { contract::SAMPLES_0 }>),
    Sentence(Kept<Box<[u8]>, { contract::SENTENCE_1 }>),
}

struct Inbox {
    bursts: Kept<VecDeque<Burst>, { contract::QUEUE_4 }>,
    taken: u32,
    overrun: u32,
}

static INBOX: Mutex<RefCell<Option<Inbox>>> = Mutex::new(RefCell::new(None));
static TICKS: AtomicU32 = AtomicU32::new(0);

/// Timer interrupts so far, 10 ms apart.
pub fn ticks() -> u32 {
    TICKS.load(Ordering::Relaxed)
}

pub fn open_inbox() {
    let inbox =
        Inbox { bursts: Kept::queue(VecDeque::with_capacity(WAITING_MAX)), taken: 0, overrun: 0 };
    critical_section::with(|token| INBOX.borrow_ref_mut(token).replace(inbox));
}

/// Frees what still waits. Returns how many bursts were taken, and how many of them had no room or
/// no reader.
pub fn close_inbox() -> (u32, u32) {
    let inbox = critical_section::with(|token| INBOX.borrow_ref_mut(token).take());
    inbox.map_or((0, 0), |inbox| (inbox.taken, inbox.overrun + inbox.bursts.len() as u32))
}

pub fn next_burst() -> Option<Burst> {
    critical_section::with(|token| INBOX.borrow_ref_mut(token).as_mut()?.bursts.pop_front())
}

/// A sensor has something every `period` ticks.
struct Sensor {
    period: u32,
    read: fn(u32, &mut Noise) -> Reading,
}

const SENSORS: [Sensor; 4] = [
    Sensor { period: 5, read: vibration },
    Sensor { period: 3, read: microphone },
    Sensor { period: 100, read: temperature },
    Sensor { period: 20, read: receiver },
];

#[cortex_m_rt::exception]
fn SysTick() {
    static mut NOISE: Noise = Noise(0x1234_5678);
    static mut SEQUENCES: [u16; SENSORS.len()] = [0; SENSORS.len()];
    let _stage = Stage::enter(SENSE);
    let now = TICKS.fetch_add(1, Ordering::Relaxed);
    for (index, sensor) in SENSORS.iter().enumerate() {
        if now.is_multiple_of(sensor.period) {
            let burst = Burst {
                sensor: index as u8,
                sequence: SEQUENCES[index],
                reading: (sensor.read)(now, NOISE),
            };
            SEQUENCES[index] = SEQUENCES[index].wrapping_add(1);
            put(burst);
        }
    }
}

fn put(burst: Burst) {
    critical_section::with(|token| {
        if let Some(inbox) = INBOX.borrow_ref_mut(token).as_mut() {
            inbox.taken += 1;
            if inbox.bursts.len() < WAITING_MAX {
                inbox.bursts.push_back(burst);
            } else {
                inbox.overrun += 1;
            }
        }
    });
}

/// Three axes at rest, and now and then a shock of many more samples.
fn vibration(now: u32, noise: &mut Noise) -> Reading {
    let is_shock = now % 700 < 60;
    let (count, amplitude) = if is_shock { (96, 900) } else { (24, 6) };
    samples(count, |_| noise.within(amplitude))
}

/// A tone in noise, of a length that follows its loudness.
fn microphone(now: u32, noise: &mut Noise) -> Reading {
    let loudness = (now / 3 % 128) as i16;
    let count = 8 + noise.below(120) as usize;
    samples(count, |index| {
        let triangle = ((index as i16 * 8) % 64 - 32).abs() - 16;
        triangle * loudness + noise.within(8)
    })
}

/// A slow drift, averaged over a second.
fn temperature(now: u32, noise: &mut Noise) -> Reading {
    samples(8, |_| 2150 + (now / 100) as i16 + noise.within(3))
}

fn samples(count: usize, mut sample: impl FnMut(usize) -> i16) -> Reading {
    let mut samples = Vec::with_capacity(count);
    samples.extend((0..count).map(&mut sample));
    Reading::Samples(Kept::new(samples.into_boxed_slice()))
}

/// A line of text with as many numbers as there are satellites.
fn receiver(now: u32, noise: &mut Noise) -> Reading {
    let satellites = 2 + noise.below(12) as usize;
    let mut line = Vec::with_capacity(16 + 6 * satellites);
    line.extend_from_slice(b"$GPGSV");
    push_number(&mut line, now);
    for _ in 0..satellites {
        push_number(&mut line, noise.below(100));
    }
    line.resize(line.capacity(), b'*');
    Reading::Sentence(Kept::new(line.into_boxed_slice()))
}

/// A comma and up to five digits.
fn push_number(line: &mut Vec<u8>, number: u32) {
    let digits = [10_000, 1000, 100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8);
    line.push(b',');
    line.extend(digits.iter().skip_while(|digit| **digit == b'0'));
}

/// The same noise on every run.
struct Noise(u32);

impl Noise {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 >> 8) % limit
    }

    fn within(&mut self, amplitude: i16) -> i16 {
        self.below(2 * amplitude as u32 + 1) as i16 - amplitude
    }
}
