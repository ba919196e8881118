//! An audio callback that allocates: every voice comes and goes in bounded constant time, so no
//! note is ever late.
//!
//! The heap belongs to the audio thread alone, so it needs no lock. Its pages are loaded before the
//! first callback.
//!
//!     cargo run -p evenfit --example audio_callback

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use evenfit::Heap;

const FRAMES: usize = 128;
const RATE_HZ: usize = 48_000;

/// A plucked string: a delay line as long as its pitch, in a block of the pool.
struct Voice {
    line: NonNull<f32>,
    layout: Layout,
    position: usize,
    frames_left: usize,
}

struct Synthesizer<'pool> {
    heap: Heap<'pool>,
    voices: [Option<Voice>; 32],
    notes: u32,
    silent: u32,
}

impl Synthesizer<'_> {
    /// Begins a note if there is room; otherwise it stays silent, and nothing blocks.
    fn pluck(&mut self, frequency_hz: usize) {
        let Some(unused) = self.voices.iter().position(Option::is_none) else {
            return;
        };
        let length = RATE_HZ / frequency_hz;
        let layout = Layout::array::<f32>(length).expect("a short line");
        let Ok(block) = self.heap.allocate(layout) else {
            self.silent += 1;
            return;
        };
        let line = block.cast::<f32>();
        for i in 0..length {
            let noise = ((i * 7919 + length) % 2_001) as f32 / 1_000.0 - 1.0;
            // SAFETY: the block holds `length` floats.
            unsafe { line.add(i).write(noise) };
        }
        self.notes += 1;
        self.voices[unused] =
            Some(Voice { line, layout, position: 0, frames_left: RATE_HZ / 8 + frequency_hz });
    }

    /// The sound card calls this every 2.7 ms.
    fn callback(&mut self, output: &mut [f32; FRAMES]) {
        output.fill(0.0);
        for slot in &mut self.voices {
            let Some(voice) = slot else { continue };
            let length = voice.layout.size() / size_of::<f32>();
            // SAFETY: the line has this many floats, all written by `pluck`, and only this voice
            // uses it.
            let line = unsafe { std::slice::from_raw_parts_mut(voice.line.as_ptr(), length) };
            for sample in output.iter_mut() {
                let next = (voice.position + 1) % length;
                *sample += line[voice.position] * 0.1;
                line[voice.position] = (line[voice.position] + line[next]) * 0.498;
                voice.position = next;
            }
            voice.frames_left = voice.frames_left.saturating_sub(FRAMES);
            if voice.frames_left == 0 {
                // SAFETY: allocated in `pluck` with this layout; the voice ends here.
                unsafe { self.heap.deallocate(voice.line.cast(), voice.layout) };
                *slot = None;
            }
        }
    }
}

fn main() {
    let mut region = vec![MaybeUninit::uninit(); 16 * 1024];
    // Load every page now, so that no callback waits for the operating system.
    region.fill(MaybeUninit::new(0));
    let mut synthesizer = Synthesizer {
        heap: Heap::from_region(&mut region).expect("16 KiB hold a pool"),
        voices: [const { None }; 32],
        notes: 0,
        silent: 0,
    };
    let (mut output, mut loudest) = ([0.0; FRAMES], 0.0_f32);
    for block in 0..RATE_HZ * 4 / FRAMES {
        if block % 5 == 0 {
            synthesizer.pluck([110, 147, 220, 330, 494, 880][block / 5 % 6]);
        }
        synthesizer.callback(&mut output);
        loudest = output.iter().fold(loudest, |loudest, sample| loudest.max(sample.abs()));
    }
    let stats = synthesizer.heap.stats();
    println!(
        "{} notes, {} silent for want of memory, loudest sample {loudest:.3}",
        synthesizer.notes, synthesizer.silent
    );
    println!("peak {} of {} bytes", stats.peak_used_bytes, stats.pool_bytes);
    assert!(loudest > 0.1 && synthesizer.notes > 100);
}
