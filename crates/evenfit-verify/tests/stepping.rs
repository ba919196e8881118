//! The counts against code whose instructions are known.
#![cfg(all(feature = "stepping", target_arch = "x86_64", target_os = "linux"))]

use std::arch::asm;

use evenfit_verify::stepping::{Stepper, Translator};

#[test]
fn counts_each_instruction_once() {
    let mut stepper = Stepper::new();
    // Without optimisation the call around the instructions costs some of its own: differences are
    // exact always. SAFETY: do nothing.
    let ((), three) =
        stepper.count(|| unsafe { asm!(".rept 3", "nop", ".endr", options(nostack)) });
    // SAFETY: as above.
    let ((), ten) = stepper.count(|| unsafe { asm!(".rept 10", "nop", ".endr", options(nostack)) });
    assert_eq!((ten.own - three.own, ten.library), (7, 0));
    if !cfg!(debug_assertions) {
        assert_eq!(ten.own, 10);
    }
}

#[test]
fn counts_each_turn_of_a_loop() {
    let mut stepper = Stepper::new();
    let mut turns = |turns: u64| {
        // SAFETY: changes its own register only.
        let ((), count) = stepper.count(|| unsafe {
            asm!("2:", "dec {0}", "jnz 2b", inout(reg) turns => _);
        });
        count.own
    };
    assert_eq!(turns(100) - turns(1), 198);
}

#[test]
fn is_the_same_every_time() {
    let mut stepper = Stepper::new();
    let words: Vec<u64> = (0..100).collect();
    let counts: Vec<_> = (0..5).map(|_| stepper.count(|| words.iter().sum::<u64>())).collect();
    assert!(counts.iter().all(|count| *count == counts[0]));
    assert_eq!(counts[0].0, 4950);
}

#[test]
fn tells_the_program_from_its_libraries() {
    let mut stepper = Stepper::new();
    // SAFETY: a live block, freed once.
    let ((), count) =
        stepper.count(|| unsafe { libc::free(std::hint::black_box(libc::malloc(100))) });
    assert!(count.library > count.own, "{count:?}");
}

#[test]
fn sees_the_lines_of_loads_and_stores() {
    #[repr(align(64))]
    struct Lines([u8; 64 * 100]);
    let mut stepper = Stepper::new();
    let mut buffer = Box::new(Lines([0; 6400]));
    let base = buffer.0.as_mut_ptr();
    // SAFETY: stores within the buffer; the last spans two lines.
    let ((), trace) = stepper.trace(|| unsafe {
        asm!(
            "mov byte ptr [{0}], 1",
            "mov byte ptr [{0} + 63], 1",
            "mov byte ptr [{0} + {1} * 8], 1",
            "lea {2}, [{0} + 1000]",
            "prefetcht0 [{0} + 2000]",
            "mov qword ptr [{0} + 636], 1",
            in(reg) base,
            in(reg) 64usize,
            out(reg) _,
        );
    });
    assert_eq!(trace.lines_in(&*buffer), 4);
    assert_eq!(trace.lines_in(&buffer.0[..64]), 1);
    assert_eq!(trace.lines_in(&buffer.0[512..513]), 1);
    assert_eq!(trace.repeats_max(), 1);
}

#[test]
fn sees_the_turns_of_a_loop() {
    let mut stepper = Stepper::new();
    // SAFETY: changes its own register only.
    let ((), trace) = stepper.trace(|| unsafe {
        asm!("mov {0}, 37", "2:", "dec {0}", "jnz 2b", out(reg) _);
    });
    assert_eq!(trace.repeats_max(), 37);
    assert_eq!(trace.data_lines(), 0);
}

/// Loops, calls through pointers, jump tables, libraries, floating point.
fn mixture(n: u64) -> (u64, f64) {
    let functions: [fn(u64) -> u64; 3] = [|x| x * 3 + 1, |x| x / 2, u64::count_ones_twice];
    let mut words: Vec<u64> = (0..n).collect();
    let mut sum = 0.0;
    for (index, word) in words.iter_mut().enumerate() {
        *word = std::hint::black_box(functions[index % 3])(*word);
        sum += match *word % 7 {
            0 => 1.5,
            1 => f64::from(index as u32).sqrt(),
            2 => -1.0,
            3 => *word as f64,
            4 => 0.25,
            _ => 0.0,
        };
    }
    words.sort_unstable_by_key(|word| word.wrapping_mul(0x9E37_79B9));
    (words.iter().fold(0u64, |a, b| a.wrapping_mul(31) ^ b), sum)
}

trait Twice {
    fn count_ones_twice(self) -> u64;
}

impl Twice for u64 {
    fn count_ones_twice(self) -> u64 {
        u64::from(self.count_ones()) * 2
    }
}

#[test]
fn copies_count_what_steps_do() {
    for n in [0, 1, 5, 21] {
        let stepped = Stepper::new().trace(|| mixture(n));
        let mut translator = Translator::new();
        for _ in 0..2 {
            let (result, count) = translator.count(|| mixture(n));
            assert_eq!(result, stepped.0);
            assert_eq!(count, stepped.1.count.own, "{n}");
        }
        // Steps also see the call itself.
        let addresses = translator.addresses();
        assert_eq!(addresses.len() as u64, stepped.1.count.own + 1);
    }
}
