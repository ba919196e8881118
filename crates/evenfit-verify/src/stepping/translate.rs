//! Counting without steps. Straight runs of instructions are copied and executed; the branch, call
//! or return between two runs is performed here. A hundred times faster than stepping, and as
//! exact.

use std::collections::{BTreeSet, HashMap};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use crate::stepping::registers::{Registers, enter, leave_address, registers};
use crate::stepping::step::{Job, program_text, run};

/// A run of instructions without branches, and the instruction that ends it.
struct Run {
    /// Where its copy lies.
    copy: usize,
    /// Where its instructions lie.
    addresses: Vec<usize>,
    last: Instruction,
}

/// Counts calls, one at a time. Only one exists at once: [`Translator::new`] waits until another is
/// dropped.
pub struct Translator {
    runs: HashMap<usize, Run>,
    cache: Cache,
    stack: Vec<u128>,
    text: Range<usize>,
    /// The runs that were executed, by where they start.
    executed: Vec<usize>,
    _lock: MutexGuard<'static, ()>,
}

static LOCK: Mutex<()> = Mutex::new(());

const STACK_BYTES: usize = 1 << 20;
const CACHE_BYTES: usize = 8 << 20;
/// The address of the last return, at which there is no code.
const END: usize = 0;

impl Translator {
    /// Allocates memory for the copies.
    ///
    /// # Panics
    /// If the system provides no executable memory.
    #[must_use]
    pub fn new() -> Self {
        // If another thread panicked with the lock, nothing is broken: all registers are reset
        // before each use.
        let lock = LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let text = program_text();
        Self {
            runs: HashMap::new(),
            cache: Cache::near(text.end),
            stack: vec![0; STACK_BYTES / size_of::<u128>()],
            text,
            executed: Vec::new(),
            _lock: lock,
        }
    }

    /// As [`Stepper::count`](super::Stepper::count), except that instructions of libraries aren't
    /// counted, and a repeated string instruction counts once.
    ///
    /// # Panics
    /// When the call executes an instruction that transfers control in a way that isn't known here.
    pub fn count<R>(&mut self, call: impl FnOnce() -> R) -> (R, u64) {
        let mut job = Job { call: ManuallyDrop::new(call), result: MaybeUninit::uninit() };
        let own = self.execute(function_address(&job), &raw mut job as usize);
        // SAFETY: the call has written its result.
        (unsafe { job.result.assume_init() }, own)
    }

    /// The addresses of all instructions that were ever counted.
    pub fn all_addresses(&self) -> BTreeSet<usize> {
        let runs = self.runs.values();
        runs.flat_map(|run| run.addresses.iter().copied()).collect()
    }

    /// The addresses of the instructions counted last, in order.
    pub fn addresses(&self) -> Vec<usize> {
        let runs = self.executed.iter().map(|start| &self.runs[start]);
        runs.flat_map(|run| run.addresses.iter().copied()).collect()
    }

    /// Calls the function at `start` with one argument.
    fn execute(&mut self, start: usize, argument: usize) -> u64 {
        self.executed.clear();
        let registers = registers();
        let stack_end = self.stack.as_mut_ptr_range().end as usize;
        // SAFETY: the lock is held, so the registers are this translator's alone.
        unsafe {
            (*registers).general[Registers::RDI] = argument;
            // As after a call: the return address is on an aligned stack.
            (*registers).general[Registers::RSP] = stack_end;
            (*registers).flags = 0x202;
            (*registers).push(END);
        }
        let mut own = 0;
        let mut next = start;
        while next != END {
            next = if self.text.contains(&next) {
                own += self.execute_run(next);
                // SAFETY: as above; the run has been executed.
                unsafe { behind(&self.runs[&next].last, &mut *registers) }
            } else {
                // SAFETY: as above. A function of a library was called, and returns.
                unsafe { execute_library(next) }
            };
        }
        // The last return isn't counted.
        own - 1
    }

    fn execute_run(&mut self, start: usize) -> u64 {
        let run = self.runs.entry(start).or_insert_with(|| self.cache.copy(start));
        self.executed.push(start);
        // SAFETY: the copy does what the program would do here, with the registers that the program
        // would have.
        unsafe {
            (*registers()).target = run.copy;
            enter();
        }
        run.addresses.len() as u64
    }
}

impl Default for Translator {
    fn default() -> Self {
        Self::new()
    }
}

fn function_address<F: FnOnce() -> R, R>(_job: &Job<F, R>) -> usize {
    run::<F, R> as extern "C" fn(*mut Job<F, R>) as usize
}

/// Executes a library's function uncopied, up to its return. Returns the return address.
///
/// # Safety
/// It has just been called, and the registers are the caller's alone.
unsafe fn execute_library(start: usize) -> usize {
    // SAFETY: the top of the stack is the return address; in its place the function returns to
    // where the registers are kept.
    unsafe {
        let registers = registers();
        let back = (*registers).pop();
        (*registers).push(leave_address());
        (*registers).target = start;
        enter();
        back
    }
}

/// Performs the last instruction of a run. Returns the address of the next.
///
/// # Safety
/// The registers are as the instructions before have left them.
unsafe fn behind(last: &Instruction, registers: &mut Registers) -> usize {
    let following = last.next_ip() as usize;
    // SAFETY: the stack and the memory that an operand names are what the program would use.
    unsafe {
        match last.flow_control() {
            FlowControl::UnconditionalBranch => last.near_branch_target() as usize,
            FlowControl::ConditionalBranch if registers.meet(last.condition_code()) => {
                last.near_branch_target() as usize
            }
            FlowControl::ConditionalBranch => following,
            FlowControl::IndirectBranch => operand(last, registers),
            FlowControl::Call => {
                registers.push(following);
                last.near_branch_target() as usize
            }
            FlowControl::IndirectCall => {
                let target = operand(last, registers);
                registers.push(following);
                target
            }
            FlowControl::Return => registers.pop(),
            _ => panic!("not known how to go on after {last:?}"),
        }
    }
}

/// The address that a jump or call takes from a register or from memory.
///
/// # Safety
/// The memory may be read.
unsafe fn operand(last: &Instruction, registers: &Registers) -> usize {
    match last.op0_kind() {
        OpKind::Register => registers.value(last.op0_register()).expect("a general register"),
        _ => {
            let value = |register, _, _| registers.value(register).map(|value| value as u64);
            let address = last.virtual_address(0, 0, value).expect("general registers");
            // SAFETY: as promised by the caller.
            unsafe { *(address as *const usize) }
        }
    }
}

/// Executable memory for copies.
struct Cache {
    start: usize,
    used: usize,
}

impl Cache {
    /// Memory near the program, so that relative addresses in the copies can be encoded. If the
    /// system has something at an address, the next is tried.
    fn near(address: usize) -> Self {
        let page = 1 << 16;
        let places = (1..16).map(|step| (address + step * (64 << 20)) / page * page);
        // Memory that is too far away is unmapped by being dropped.
        let mut near = places.map(Self::at).filter(|cache| cache.start.abs_diff(address) < 1 << 30);
        near.next().expect("memory near the program")
    }

    /// Maps memory at `place` if there is nothing.
    fn at(place: usize) -> Self {
        // SAFETY: a new mapping, of which the system finds the place.
        let start = unsafe {
            libc::mmap(
                place as *mut _,
                CACHE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "memory that can be executed");
        Self { start: start as usize, used: 0 }
    }

    /// Copies the run that starts at `start`.
    fn copy(&mut self, start: usize) -> Run {
        let copy = self.start + self.used;
        let mut addresses = Vec::new();
        let mut decoder = decoder(start);
        loop {
            let instruction = decoder.decode();
            assert!(!instruction.is_invalid(), "an unknown instruction");
            let at = instruction.ip() as usize;
            addresses.push(at);
            if instruction.flow_control() != FlowControl::Next {
                self.jump(leave_address());
                return Run { copy, addresses, last: instruction };
            }
            let to = self.start + self.used;
            // SAFETY: the instruction is the program's, and there is room for its copy.
            unsafe {
                self.reserve(instruction.len());
                std::ptr::copy_nonoverlapping(at as *const u8, to as *mut u8, instruction.len());
            }
            if instruction.is_ip_rel_memory_operand() {
                let place = decoder.get_constant_offsets(&instruction);
                assert_eq!(place.displacement_size(), 4);
                let target = instruction.ip_rel_memory_address() as usize;
                self.write_distance(
                    to + place.displacement_offset(),
                    target,
                    to + instruction.len(),
                );
            }
        }
    }

    /// A jump to `target`.
    fn jump(&mut self, target: usize) {
        let to = self.start + self.used;
        self.reserve(5);
        // SAFETY: there is room for it.
        unsafe { *(to as *mut u8) = 0xE9 };
        self.write_distance(to + 1, target, to + 5);
    }

    /// Writes how far `target` lies from `from`.
    fn write_distance(&mut self, to: usize, target: usize, from: usize) {
        let distance = i32::try_from(target as isize - from as isize).expect("the cache is near");
        // SAFETY: within what was reserved.
        unsafe { (to as *mut i32).write_unaligned(distance) };
    }

    fn reserve(&mut self, bytes: usize) {
        self.used += bytes;
        assert!(self.used <= CACHE_BYTES, "too much code");
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: mapped by `at`, and not used any more.
        unsafe { libc::munmap(self.start as *mut _, CACHE_BYTES) };
    }
}

/// Decodes the program's instructions from `start` on.
pub(crate) fn decoder(start: usize) -> Decoder<'static> {
    // Functions are shorter.
    let len = (program_text().end - start).min(1 << 16);
    // SAFETY: the program's text is mapped, and never changes.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, len) };
    Decoder::with_ip(64, bytes, start as u64, DecoderOptions::NONE)
}

impl Registers {
    /// A register of 64 bits, or the base of a segment that has none.
    fn value(&self, register: Register) -> Option<usize> {
        if matches!(register, Register::CS | Register::DS | Register::ES | Register::SS) {
            return Some(0);
        }
        let number = (register as usize).checked_sub(Register::RAX as usize)?;
        self.general.get(number).copied()
    }
}
