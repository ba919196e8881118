//! The registers of the program whose copied code is executed, and how that is entered and left.

use std::arch::global_asm;
use std::cell::UnsafeCell;

use iced_x86::ConditionCode;

/// In the order that `global_asm!` below knows.
#[repr(C, align(16))]
pub(crate) struct Registers {
    /// In the order of their encoding: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
    pub(crate) general: [usize; 16],
    pub(crate) flags: usize,
    /// Where to go on.
    pub(crate) target: usize,
    host_rsp: usize,
    _pad: usize,
    vectors: [u128; 16],
}

struct Shared(UnsafeCell<Registers>);

// SAFETY: used by the holder of the translator's lock only.
unsafe impl Sync for Shared {}

static REGISTERS: Shared = Shared(UnsafeCell::new(Registers {
    general: [0; 16],
    flags: 0,
    target: 0,
    host_rsp: 0,
    _pad: 0,
    vectors: [0; 16],
}));

/// The registers, for the thread that has the translator's lock.
pub(crate) fn registers() -> *mut Registers {
    REGISTERS.0.get()
}

unsafe extern "C" {
    fn evenfit_stepping_enter();
    fn evenfit_stepping_leave();
}

/// Continues at the target, with all registers, until that code leaves.
///
/// # Safety
/// The target is code that these registers are meant for, and it ends by a jump to `leave_address`.
pub(crate) unsafe fn enter() {
    // SAFETY: as promised by the caller.
    unsafe { evenfit_stepping_enter() }
}

/// The address to jump to in order to leave.
pub(crate) fn leave_address() -> usize {
    evenfit_stepping_leave as *const () as usize
}

// Nothing is pushed on the stack of the copied code: it may use memory below its stack pointer.
global_asm!(
    ".globl evenfit_stepping_enter",
    "evenfit_stepping_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + {r} + 144], rsp",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movups xmm\\n, [rip + {r} + 160 + 16 * \\n]",
    ".endr",
    "push [rip + {r} + 128]",
    "popfq",
    "mov rax, [rip + {r}]",
    "mov rcx, [rip + {r} + 8]",
    "mov rdx, [rip + {r} + 16]",
    "mov rbx, [rip + {r} + 24]",
    "mov rbp, [rip + {r} + 40]",
    "mov rsi, [rip + {r} + 48]",
    "mov rdi, [rip + {r} + 56]",
    ".irp n, 8,9,10,11,12,13,14,15",
    "mov r\\n, [rip + {r} + 8 * \\n]",
    ".endr",
    "mov rsp, [rip + {r} + 32]",
    "jmp [rip + {r} + 136]",
    ".globl evenfit_stepping_leave",
    "evenfit_stepping_leave:",
    "mov [rip + {r}], rax",
    "mov [rip + {r} + 8], rcx",
    "mov [rip + {r} + 16], rdx",
    "mov [rip + {r} + 24], rbx",
    "mov [rip + {r} + 32], rsp",
    "mov [rip + {r} + 40], rbp",
    "mov [rip + {r} + 48], rsi",
    "mov [rip + {r} + 56], rdi",
    ".irp n, 8,9,10,11,12,13,14,15",
    "mov [rip + {r} + 8 * \\n], r\\n",
    ".endr",
    "mov rsp, [rip + {r} + 144]",
    "pushfq",
    "pop [rip + {r} + 128]",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movups [rip + {r} + 160 + 16 * \\n], xmm\\n",
    ".endr",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    r = sym REGISTERS,
);

impl Registers {
    pub(crate) const RSP: usize = 4;
    pub(crate) const RDI: usize = 7;

    /// # Safety
    /// There is room on the stack.
    pub(crate) unsafe fn push(&mut self, value: usize) {
        self.general[Self::RSP] -= size_of::<usize>();
        // SAFETY: as promised by the caller.
        unsafe { *(self.general[Self::RSP] as *mut usize) = value };
    }

    /// # Safety
    /// There is something on the stack.
    pub(crate) unsafe fn pop(&mut self) -> usize {
        // SAFETY: as promised by the caller.
        let value = unsafe { *(self.general[Self::RSP] as *const usize) };
        self.general[Self::RSP] += size_of::<usize>();
        value
    }

    /// Whether the flags meet the condition of a jump.
    pub(crate) fn meet(&self, condition: ConditionCode) -> bool {
        let flag = |bit: u32| self.flags >> bit & 1 != 0;
        let (carry, parity, zero, sign, overflow) = (flag(0), flag(2), flag(6), flag(7), flag(11));
        match condition {
            ConditionCode::o => overflow,
            ConditionCode::no => !overflow,
            ConditionCode::b => carry,
            ConditionCode::ae => !carry,
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::be => carry || zero,
            ConditionCode::a => !carry && !zero,
            ConditionCode::s => sign,
            ConditionCode::ns => !sign,
            ConditionCode::p => parity,
            ConditionCode::np => !parity,
            ConditionCode::l => sign != overflow,
            ConditionCode::ge => sign == overflow,
            ConditionCode::le => zero || sign != overflow,
            ConditionCode::g => !zero && sign == overflow,
            ConditionCode::None => unreachable!("the jump has no condition"),
        }
    }
}
