//! The operation bound on the board: the instructions of every operation in the states in which it
//! has most to do, compared with the table in `docs/bounds.md`. With a file name it writes that
//! page there, with what it counted in many more states.
#![no_std]
#![no_main]

mod copies;

use core::ptr::NonNull;

use cortex_m_semihosting::hprintln;
use evenfit::{BlocksOnly, Compact, Geometry};
use evenfit_firmware::host::{self, File};
use evenfit_firmware::instructions::Instructions;
use evenfit_firmware::oracle_memory::Psram;
use evenfit_verify::states::table::{Figure, differences, updated};
use evenfit_verify::states::{Block, Cost, Effort, Memory, Mosts, Probe, Record, World, all};
use panic_semihosting as _;

#[global_allocator]
static STATES_MEMORY: Psram = Psram::new();

const PAGE: &str = include_str!("../../../../docs/bounds.md");
const TABLE: &str = "cortex-m";
const COLUMN: &str = env!("EVENFIT_COLUMN");

/// Of the published figures, in few states; else they are too high.
const REACHED_PERCENT: u64 = 66;

const FEW: Effort = Effort { samples: 100, climbs: 20 };
const MANY: Effort = Effort { samples: 5_000, climbs: 200 };

struct Clock {
    instructions: Instructions,
    /// Of the heap's own loop, for each granule that a block is moved downwards.
    per_granule_down: u64,
    /// Whether `memcpy` or `memmove` was called in what was counted last.
    is_copied: bool,
}

impl Clock {
    fn new(instructions: Instructions) -> Self {
        let mut clock = Self { instructions, per_granule_down: 0, is_copied: false };
        let [few, more, most] = [5, 7, 9].map(|len| clock.moved_down(len));
        assert_eq!(more - few, most - more, "each granule takes as many instructions");
        clock.per_granule_down = (more - few) / 2;
        clock
    }

    /// The instructions of moving a block of `len` granules downwards, in a pool that is full
    /// except for a free block before it.
    fn moved_down(&mut self, len: usize) -> u64 {
        let mut memory = Memory::new::<Compact>(100);
        let mut world = World::<BlocksOnly, Compact>::new(&mut memory);
        let hole = world.block(4);
        let Block { ptr, layout } = world.block(len);
        let rest = world.longest_free();
        world.block(rest);
        world.free(hole);
        let new = World::<BlocksOnly, Compact>::layout(len + 4, 8);
        let heap = world.heap();
        // SAFETY: the block is live, and not used as the old one again.
        let (moved, cost) = self.count(|| unsafe { heap.reallocate(ptr, layout, new) });
        assert_eq!(moved.map(NonNull::cast), Ok(hole.ptr));
        cost.instructions
    }
}

impl Probe for Clock {
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost) {
        let copied = copies::instructions();
        let (result, instructions) = self.instructions.count(operation);
        let copied = copies::instructions().wrapping_sub(copied);
        self.is_copied = copied > 0;
        let cost = Cost { instructions: u64::from(instructions - copied), ..Cost::default() };
        (result, cost)
    }

    fn moving(&self, bytes: usize) -> u64 {
        if self.is_copied {
            0
        } else {
            self.per_granule_down * bytes.div_ceil(Compact::GRANULE_BYTES) as u64
        }
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut line = [0; 256];
    let file = host::command_line(&mut line).split_whitespace().nth(1);
    let core = cortex_m::Peripherals::take().expect("taken once");
    refuse_unaligned(&core.SCB);
    let mut instructions = Instructions::new(core.SYST);
    if !instructions.are_exact() {
        hprintln!("run me with -icount shift=10: instructions can't be counted here");
        host::exit(false);
    }
    let clock = Clock::new(instructions);
    match file {
        Some(name) => host::exit(write(&counted(clock, MANY), name)),
        None => host::exit(compare(&counted(clock, FEW))),
    }
}

/// What a Cortex-M0 can't do, this one mustn't either when it runs code for that.
fn refuse_unaligned(scb: &cortex_m::peripheral::SCB) {
    const UNALIGN_TRP: u32 = 1 << 3;
    if COLUMN.starts_with("M0") {
        // SAFETY: unaligned loads and stores fault from here on; there are to be none.
        unsafe { scb.ccr.modify(|bits| bits | UNALIGN_TRP) };
    }
}

fn counted(clock: Clock, effort: Effort) -> Mosts {
    let mut record = Record::new(clock);
    all::<BlocksOnly, Compact, _>(&mut record, COLUMN, effort);
    hprintln!("{}: {} states", COLUMN, record.states());
    let most = record.by_operation();
    for ((_, operation), most) in &most {
        hprintln!("{:28} {}", operation, most.cost.instructions);
    }
    most
}

fn write(most: &Mosts, name: &str) -> bool {
    let Some(page) = updated(PAGE, TABLE, most, Figure::Instructions) else {
        hprintln!("docs/bounds.md has no table {} with a column {}", TABLE, COLUMN);
        return false;
    };
    let Some(mut file) = File::create(name) else {
        hprintln!("can't write {}", name);
        return false;
    };
    file.write(page.as_bytes());
    file.close()
}

fn compare(most: &Mosts) -> bool {
    let differences = differences(most, PAGE, TABLE, Figure::Instructions, REACHED_PERCENT);
    for difference in &differences {
        hprintln!("{}", difference);
    }
    differences.is_empty()
}

/// Also what `refuse_unaligned` refuses.
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    hprintln!("fault: {:#?}", frame);
    host::exit(false)
}
