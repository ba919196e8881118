//! Firmware style: a static pool, `alloc` collections on it, interrupts masked while the heap
//! works.
//!
//! On a device, `cortex-m` or another crate provides the critical section; here the host's stands
//! in.
//!
//!     cargo run -p evenfit --features critical-section --example firmware

use std::collections::VecDeque;

use evenfit::StaticHeap;
use evenfit::lock::CriticalSection;

#[global_allocator]
static HEAP: StaticHeap<{ 256 * 1024 }, CriticalSection> = StaticHeap::new();

/// A reading of a sensor, queued by an interrupt handler for the main loop.
struct Reading {
    at_ms: u32,
    samples: Vec<u16>,
}

fn on_interrupt(queue: &mut VecDeque<Reading>, at_ms: u32) {
    let samples = (0..at_ms % 60).map(|i| (i * 7) as u16).collect();
    queue.push_back(Reading { at_ms, samples });
}

fn main() {
    let before = HEAP.stats().used_bytes;
    let mut queue = VecDeque::new();
    let (mut total, mut last_ms) = (0_u64, 0);
    for at_ms in 0..10_000 {
        on_interrupt(&mut queue, at_ms);
        if queue.len() == 16 {
            for reading in queue.drain(..) {
                total += reading.samples.into_iter().map(u64::from).sum::<u64>();
                last_ms = reading.at_ms;
            }
        }
    }
    drop(queue);
    let after = HEAP.stats();
    assert_eq!(after.used_bytes, before, "every reading was freed");
    println!("sum of all samples until {last_ms} ms: {total}");
    println!("peak {} of {} bytes", after.peak_used_bytes, after.pool_bytes);
}
