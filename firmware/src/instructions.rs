//! The instructions of a piece of code, exactly.
//!
//! Under `-icount shift=10` the emulator lets 1,024 ns pass with every instruction, and the board's
//! SysTick counts 25 MHz: 25.6 ticks an instruction. The same code in the same state gives the same
//! number.

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

const NS_PER_TICK: u32 = 40;
const NS_PER_INSTRUCTION: u32 = 1 << 10;
/// The counter has 24 bits and wraps.
const TICKS_MAX: u32 = (1 << 24) - 1;

/// Counts with the core's system timer, which nothing else may use meanwhile.
pub struct Instructions {
    /// Kept, so that nobody else has it.
    _timer: SYST,
    /// What an empty piece of code counts.
    empty: u32,
}

impl Instructions {
    /// The longest code that can be counted.
    pub const COUNT_MAX: u32 = TICKS_MAX / NS_PER_INSTRUCTION * NS_PER_TICK;

    /// Starts the timer.
    pub fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(TICKS_MAX);
        timer.clear_current();
        timer.enable_counter();
        let mut instructions = Self { _timer: timer, empty: 0 };
        instructions.count(|| ());
        instructions.empty = instructions.count(|| ()).1;
        instructions
    }

    /// What `code` gives, and how many instructions it took.
    #[inline(never)]
    pub fn count<T>(&mut self, code: impl FnOnce() -> T) -> (T, u32) {
        cortex_m::asm::isb();
        let start = SYST::get_current();
        let result = code();
        let end = SYST::get_current();
        let ticks = start.wrapping_sub(end) & TICKS_MAX;
        let count = (ticks * NS_PER_TICK + NS_PER_INSTRUCTION / 2) / NS_PER_INSTRUCTION;
        (result, count.saturating_sub(self.empty))
    }

    /// Whether the emulator runs with `-icount shift=10`: a loop of known length takes what it
    /// must.
    pub fn are_exact(&mut self) -> bool {
        let turns = |count: u32| {
            // SAFETY: two instructions a turn, on a register of its own.
            move || unsafe {
                core::arch::asm!("2: subs {0}, #1", "bne 2b", inout(reg) count => _, options(nomem, nostack));
            }
        };
        let short = self.count(turns(100)).1;
        let long = self.count(turns(1100)).1;
        long - short == 2000
    }
}
