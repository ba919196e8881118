//! A sensor pipeline: interrupts take bursts of samples and lines of text, the main loop packs them
//! into frames, a link that is down half of the time carries them away, and what arrives is
//! compared with what was taken.
//!
//! All of it lives in 64 KiB, shared by interrupts and main loop. The pool is proved large enough
//! for `contract.toml`, and a monitor watches that the program keeps it. Arguments, from the
//! debugger's command line: a file name records every allocation there (`.evt`); `overload` lets
//! the backlog grow beyond the contract, which must be noticed.
#![no_std]
#![no_main]

extern crate alloc;

// As `evenfit bound --rust` writes it: a check compares.
#[rustfmt::skip]
mod contract;
mod frame;
mod heap;
mod link;
mod promise;
mod sensors;

use alloc::collections::VecDeque;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_semihosting::hprintln;
use evenfit_firmware::host;
use panic_semihosting as _;

use crate::frame::Frame;
use crate::heap::{HEAP, Stage};
use crate::link::Link;
use crate::promise::Kept;

/// Half a minute.
const TICKS: u32 = 3000;
/// 10 ms of the board's 25 MHz.
const CYCLES_PER_TICK: u32 = 250_000;
/// Frames that may wait for the link: what the contract promises.
const BACKLOG_MAX: usize = contract::CONTRACT[contract::FRAME_3].most_live as usize;

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut line = [0; 256];
    let mut arguments = host::command_line(&mut line).split_whitespace().skip(1);
    let mut backlog_max = BACKLOG_MAX;
    match arguments.next() {
        Some("overload") => backlog_max = 2 * BACKLOG_MAX,
        Some(name) if !heap::record_to(name) => {
            hprintln!("can't write {}", name);
            host::exit(false);
        }
        _ => {}
    }
    evenfit::set_misuse_hook(|misuse| {
        hprintln!("{}", misuse);
        host::exit(false)
    });

    let counts = run(backlog_max);
    let is_recorded = heap::finish_recording();
    host::exit(report(&counts) && is_recorded)
}

/// What happened to the messages.
struct Counts {
    taken: u32,
    overrun: u32,
    dropped: u32,
    backlog_peak: usize,
    link: Link,
}

fn run(backlog_max: usize) -> Counts {
    sensors::open_inbox();
    let mut outbox: Kept<VecDeque<Frame>, { contract::QUEUE_4 }> =
        Kept::queue(VecDeque::with_capacity(BACKLOG_MAX));
    let mut timer = cortex_m::Peripherals::take().expect("taken once").SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(CYCLES_PER_TICK - 1);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();

    let (mut link, mut dropped, mut backlog_peak) = (Link::default(), 0, 0);
    loop {
        while let Some(burst) = sensors::next_burst() {
            let _stage = Stage::enter(heap::PACK);
            if outbox.len() == backlog_max {
                outbox.pop_front();
                dropped += 1;
            }
            outbox.push_back(Frame::pack(&burst));
            backlog_peak = backlog_peak.max(outbox.len());
        }
        let now = sensors::ticks();
        link.carry(now, &mut outbox);
        if now >= TICKS {
            break;
        }
        cortex_m::asm::wfi();
    }
    timer.disable_interrupt();
    dropped += outbox.len() as u32;
    let (taken, overrun) = sensors::close_inbox();
    Counts { taken, overrun, dropped, backlog_peak, link }
}

/// Prints what happened, and whether all of it is as it must be.
fn report(counts: &Counts) -> bool {
    let Counts { taken, overrun, dropped, backlog_peak, link } = counts;
    let stats = HEAP.stats();
    hprintln!(
        "messages   {} taken, {} delivered, {} dropped, {} overrun",
        taken,
        link.delivered,
        dropped,
        overrun
    );
    hprintln!(
        "bytes      {} taken, {} carried; at most {} frames waited",
        link.bytes_unpacked,
        link.bytes_carried,
        backlog_peak
    );
    hprintln!("pool       {} bytes, {} of metadata", stats.pool_bytes, stats.metadata_bytes);
    hprintln!("used       {} bytes, {} at the peak", stats.used_bytes, stats.peak_used_bytes);
    hprintln!("blocks     {} live, largest free {} bytes", stats.live_blocks, HEAP.largest_free());
    hprintln!("refused    {} requests, {} frees", stats.failed_requests, stats.refused_frees);
    let violation = promise::first_violation();
    match violation {
        None => hprintln!("contract   kept"),
        Some(violation) => hprintln!("contract   broken: {}", violation),
    }
    let nothing_lost = *taken == link.delivered + dropped + overrun;
    let is_good = nothing_lost
        && link.delivered > 1000
        && link.damaged == 0
        && *overrun == 0
        && stats.live_blocks == 0
        && HEAP.largest_free() == stats.pool_bytes
        && stats.failed_requests == 0
        && stats.refused_frees == 0
        && HEAP.check().is_ok()
        && violation.is_none();
    hprintln!("{}", if is_good { "all good" } else { "NOT as it must be" });
    is_good
}
