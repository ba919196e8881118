//! What a call executed, instruction by instruction: the lines it accessed, the turns of its loops.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, Register, UsedMemory,
};

use crate::stepping::handler::Snapshot;
use crate::stepping::step::Count;

/// The length of a cache line on x86-64, in bytes.
pub const LINE_BYTES: usize = 64;

/// The longest an x86-64 instruction can be.
const INSTRUCTION_BYTES_MAX: usize = 15;

/// What one call executed. Lines and turns are those of this program's own code: a library's
/// `memcpy` touches as many lines as there is payload to move, and is counted in [`Count::library`]
/// only.
///
/// The addresses of its loads and stores are computed from the operands of each instruction and the
/// registers before it. Prefetches and `lea` touch nothing.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its instructions.
    pub count: Count,
    lines: BTreeSet<usize>,
    code_lines: BTreeSet<usize>,
    stack: Range<usize>,
    repeats_max: usize,
    addresses: Vec<usize>,
}

impl Trace {
    pub(crate) fn new(count: Count, snapshots: &[Snapshot], text: Range<usize>) -> Self {
        let mut lines = BTreeSet::new();
        let mut code_lines = BTreeSet::new();
        let mut repeats: BTreeMap<usize, usize> = BTreeMap::new();
        let mut addresses = Vec::new();
        let mut info = InstructionInfoFactory::new();
        // The last three are the clearing of the trap flag.
        let call = &snapshots[..snapshots.len().saturating_sub(3)];
        for snapshot in call {
            let instruction = decode(snapshot);
            let start = snapshot.register(libc::REG_RIP);
            if !text.contains(&start) {
                continue;
            }
            addresses.push(start);
            code_lines.extend(lines_of(start, instruction.len()));
            // A repeated string instruction is one instruction in one place, however often it
            // traps.
            if !instruction.has_rep_prefix() && !instruction.has_repne_prefix() {
                *repeats.entry(start).or_default() += 1;
            }
            for memory in info.info(&instruction).used_memory() {
                if let Some((address, len)) = touched(memory, snapshot) {
                    lines.extend(lines_of(address, len));
                }
            }
        }
        Self {
            count,
            lines,
            code_lines,
            stack: stack(call),
            repeats_max: repeats.into_values().max().unwrap_or(0),
            addresses,
        }
    }

    /// The addresses of the executed instructions of this program, in order. The call of the
    /// stepped function comes first, its return last.
    #[must_use]
    pub fn addresses(&self) -> &[usize] {
        &self.addresses
    }

    /// How many distinct lines of data it touched, its own stack frames apart.
    #[must_use]
    pub fn data_lines(&self) -> usize {
        let stack = self.stack.start / LINE_BYTES..self.stack.end.div_ceil(LINE_BYTES);
        self.lines.iter().filter(|line| !stack.contains(line)).count()
    }

    /// How many distinct lines of its own stack frames it touched.
    #[must_use]
    pub fn stack_lines(&self) -> usize {
        self.lines.len() - self.data_lines()
    }

    /// How many distinct lines of `bytes` it touched: of a pool, of a control structure.
    #[must_use]
    pub fn lines_in<T: ?Sized>(&self, bytes: &T) -> usize {
        let start = std::ptr::from_ref(bytes).cast::<u8>() as usize;
        self.lines_between(start..start + size_of_val(bytes))
    }

    /// How many distinct lines between two addresses it touched.
    #[must_use]
    pub fn lines_between(&self, addresses: Range<usize>) -> usize {
        let lines = addresses.start / LINE_BYTES..addresses.end.div_ceil(LINE_BYTES);
        self.lines.range(lines).count()
    }

    /// How many distinct lines of code it executed.
    #[must_use]
    pub fn code_lines(&self) -> usize {
        self.code_lines.len()
    }

    /// How often the most executed instruction was executed. It is 1 if no loop turned and nothing
    /// was called twice, otherwise the most turns of any loop.
    #[must_use]
    pub fn repeats_max(&self) -> usize {
        self.repeats_max
    }
}

impl Snapshot {
    fn register(&self, index: i32) -> usize {
        self.registers[index as usize] as usize
    }
}

fn decode(snapshot: &Snapshot) -> Instruction {
    let at = snapshot.register(libc::REG_RIP);
    let mut bytes = [0; INSTRUCTION_BYTES_MAX];
    let readable = INSTRUCTION_BYTES_MAX.min(4096 - at % 4096);
    // SAFETY: the instruction at `at` was executed by this process, so its page is mapped and
    // readable.
    unsafe { std::ptr::copy_nonoverlapping(at as *const u8, bytes.as_mut_ptr(), readable) };
    let decoded = decode_bytes(&bytes[..readable], at);
    if !decoded.is_invalid() {
        return decoded;
    }
    // SAFETY: it did not end in its first page, so the next is mapped and readable too.
    unsafe {
        std::ptr::copy_nonoverlapping(at as *const u8, bytes.as_mut_ptr(), INSTRUCTION_BYTES_MAX)
    };
    decode_bytes(&bytes, at)
}

fn decode_bytes(bytes: &[u8], at: usize) -> Instruction {
    Decoder::with_ip(64, bytes, at as u64, DecoderOptions::NONE).decode()
}

/// Address and length of an access; `None` if an operand names memory without accessing it.
fn touched(memory: &UsedMemory, snapshot: &Snapshot) -> Option<(usize, usize)> {
    if matches!(memory.access(), OpAccess::None | OpAccess::NoMemAccess) {
        return None;
    }
    let address = memory.virtual_address(0, |register, _, _| value(register, snapshot));
    let address = address.expect("allocators address memory through general registers only");
    Some((address as usize, memory.memory_size().size().max(1)))
}

fn value(register: Register, snapshot: &Snapshot) -> Option<u64> {
    let index = match register {
        Register::CS | Register::DS | Register::ES | Register::SS => return Some(0),
        Register::FS => return Some(thread_base()),
        Register::RIP => libc::REG_RIP,
        _ => match register.full_register() {
            Register::RAX => libc::REG_RAX,
            Register::RBX => libc::REG_RBX,
            Register::RCX => libc::REG_RCX,
            Register::RDX => libc::REG_RDX,
            Register::RSI => libc::REG_RSI,
            Register::RDI => libc::REG_RDI,
            Register::RBP => libc::REG_RBP,
            Register::RSP => libc::REG_RSP,
            Register::R8 => libc::REG_R8,
            Register::R9 => libc::REG_R9,
            Register::R10 => libc::REG_R10,
            Register::R11 => libc::REG_R11,
            Register::R12 => libc::REG_R12,
            Register::R13 => libc::REG_R13,
            Register::R14 => libc::REG_R14,
            Register::R15 => libc::REG_R15,
            _ => return None,
        },
    };
    let full = snapshot.register(index) as u64;
    Some(if register.size() == 4 { full & 0xffff_ffff } else { full })
}

/// The address of this thread's variables. The C library stores it at this same address.
fn thread_base() -> u64 {
    let base;
    // SAFETY: on x86-64 Linux the word at fs:0 is readable and holds the base of fs.
    unsafe {
        std::arch::asm!("mov {}, fs:[0]", out(reg) base, options(nostack, readonly, preserves_flags))
    };
    base
}

fn lines_of(start: usize, len: usize) -> impl Iterator<Item = usize> {
    start / LINE_BYTES..(start + len).div_ceil(LINE_BYTES)
}

/// From the lowest stack pointer of the call to where it began, the return address included.
fn stack(call: &[Snapshot]) -> Range<usize> {
    let pointers = || call.iter().map(|snapshot| snapshot.register(libc::REG_RSP));
    let first = pointers().next().unwrap_or(0);
    let lowest = pointers().min().unwrap_or(0);
    // Leaf functions may use 128 bytes below the stack pointer.
    lowest.saturating_sub(128)..first + size_of::<usize>()
}
