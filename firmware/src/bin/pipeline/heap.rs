//! The program's allocator: 64 KiB shared with the interrupts, recorded if asked.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, Ordering};

use critical_section::Mutex;
use evenfit::StaticHeap;
use evenfit::lock::CriticalSection;
use evenfit_firmware::host::File;
use evenfit_trace::format::Header;
use evenfit_trace::recorder::Recorder;

use crate::sensors;

/// Blocks only, as on all 32-bit machines: the proof of the pool's size holds for them.
pub static HEAP: StaticHeap<{ 64 * 1024 }, CriticalSection> = StaticHeap::new();

#[global_allocator]
static RECORDED: Recorded = Recorded;

type Recording = Recorder<fn(&[u8]), 512>;
static RECORDING: Mutex<RefCell<Option<Recording>>> = Mutex::new(RefCell::new(None));
static FILE: Mutex<RefCell<Option<File>>> = Mutex::new(RefCell::new(None));

/// The part of the program that runs now: the recording's call site.
static STAGE: AtomicU32 = AtomicU32::new(0);
pub const SENSE: u32 = 1;
pub const PACK: u32 = 2;

/// A part of the program, until dropped. An interrupt's lies within that of what it interrupted.
pub struct Stage(u32);

impl Stage {
    pub fn enter(stage: u32) -> Self {
        Self(STAGE.swap(stage, Ordering::Relaxed))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        STAGE.store(self.0, Ordering::Relaxed);
    }
}

/// Records all that follows to a file of the host; `false` if there can be none.
pub fn record_to(name: &str) -> bool {
    let Some(file) = File::create(name) else {
        return false;
    };
    critical_section::with(|token| FILE.borrow_ref_mut(token).replace(file));
    let header = Header { tick_hz: 100, default_align_log2: 0, address_shift: 3 };
    let mut recorder = Recording::new(write, header);
    recorder.fact("program", "evenfit-firmware");
    recorder.name_site(SENSE, 0, 0, "sense", "sensors.rs");
    recorder.name_site(PACK, 0, 0, "pack", "frame.rs");
    critical_section::with(|token| RECORDING.borrow_ref_mut(token).replace(recorder));
    true
}

fn write(bytes: &[u8]) {
    critical_section::with(|token| {
        if let Some(file) = FILE.borrow_ref_mut(token).as_mut() {
            file.write(bytes);
        }
    });
}

/// Ends the recording, if there is one; `false` if not all of it was written.
pub fn finish_recording() -> bool {
    critical_section::with(|token| {
        if let Some(recorder) = RECORDING.borrow_ref_mut(token).take() {
            recorder.finish();
        }
        FILE.borrow_ref_mut(token).take().is_none_or(File::close)
    })
}

/// The heap, and its recorder under the same lock, so that no interrupt comes between them.
struct Recorded;

impl Recorded {
    fn note(token: critical_section::CriticalSection, event: impl FnOnce(&mut Recording)) {
        if let Some(recorder) = RECORDING.borrow_ref_mut(token).as_mut() {
            recorder.set_time(u64::from(sensors::ticks()));
            recorder.set_thread(u32::from(is_interrupt()));
            recorder.set_site(STAGE.load(Ordering::Relaxed));
            event(recorder);
        }
    }
}

fn is_interrupt() -> bool {
    use cortex_m::peripheral::scb::VectActive;
    cortex_m::peripheral::SCB::vect_active() != VectActive::ThreadMode
}

// SAFETY: the heap's own answers.
unsafe impl GlobalAlloc for Recorded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        critical_section::with(|token| {
            // SAFETY: as promised by the caller.
            let ptr = unsafe { HEAP.alloc(layout) };
            if !ptr.is_null() {
                Self::note(token, |recorder| {
                    recorder.alloc(ptr.addr() as u64, layout.size() as u64, layout.align() as u64);
                });
            }
            ptr
        })
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        critical_section::with(|token| {
            Self::note(token, |recorder| recorder.free(ptr.addr() as u64));
            // SAFETY: as promised by the caller.
            unsafe { HEAP.dealloc(ptr, layout) };
        });
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        critical_section::with(|token| {
            // SAFETY: as promised by the caller.
            let new = unsafe { HEAP.realloc(old, layout, new_bytes) };
            if !new.is_null() {
                Self::note(token, |recorder| {
                    recorder.realloc(old.addr() as u64, new.addr() as u64, new_bytes as u64);
                });
            }
            new
        })
    }
}
