//! The program's processes and the signals that were meant for it.
//!
//! What comes from the terminal goes to all processes in its foreground, and `kill` with a negative
//! number to a whole process group: the program has it already. What was sent to this command alone
//! (by a supervisor) is passed on. The sender's record is the same for a group and for one process,
//! so a process of the same group, the witness, does nothing but count what it gets.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// What asks a process to end, to stop working or to do something of its own.
const PASSED_ON: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// How long the witness may take to get what a whole group gets.
const WITNESS_WITHIN: Duration = Duration::from_millis(20);
/// How often it is looked whether the last process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A program that runs.
pub struct Running {
    child: Child,
    shared: Arc<Shared>,
    witness: Option<Witness>,
    /// There were children before, as where a shell runs this command in its own place.
    has_others: bool,
}

/// What the thread for signals needs.
struct Shared {
    /// The program's process, while there is one.
    program: AtomicI32,
    /// A signal came after the program had ended.
    asked_to_stop: AtomicBool,
}

/// How it ended, and whether none of its descendants can still run.
pub struct End {
    pub status: ExitStatus,
    pub all_ended: bool,
}

/// Starts a program that gets the signals sent to this process. What it leaves behind becomes this
/// process's child. To be called once, while there is one thread.
pub fn start(command: &mut Command) -> io::Result<Running> {
    let signals = set_of_passed_on();
    let has_others = next_ended(libc::WNOHANG).is_ok();
    // The program inherits what is blocked, so nothing is until it runs.
    PASSED_ON.iter().try_for_each(|&signal| note_early(signal))?;
    let witness = Witness::start(&signals);
    // SAFETY: says who adopts orphans.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let child = command.spawn()?;
    // SAFETY: changes this thread's mask, and those of all that it starts.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut()) };
    let shared = Arc::new(Shared {
        program: AtomicI32::new(child.id() as i32),
        asked_to_stop: AtomicBool::new(false),
    });
    let (counts, of_thread) = (witness.as_ref().map(|witness| witness.counts), shared.clone());
    thread::spawn(move || of_thread.pass_on(&signals, counts));
    Ok(Running { child, shared, witness, has_others })
}

/// What came before the program was there, and its `si_code`; the signal 0 is none.
static EARLY: [AtomicI32; 2] = [AtomicI32::new(0), AtomicI32::new(0)];

/// Notes a signal that comes before the program is there, unless it is ignored, as under `nohup`:
/// then the program ignores it too.
fn note_early(signal: libc::c_int) -> io::Result<()> {
    extern "C" fn note(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel hands over its own record of the signal.
        EARLY[1].store(unsafe { (*info).si_code }, Ordering::SeqCst);
        EARLY[0].store(signal, Ordering::SeqCst);
    }
    // SAFETY: both actions are initialised, and the handler calls only what a handler may.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        if before.sa_sigaction == libc::SIG_IGN {
            return Ok(());
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        if libc::sigaction(signal, &action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn set_of_passed_on() -> libc::sigset_t {
    // SAFETY: a set is initialised before it is used.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        for signal in PASSED_ON {
            libc::sigaddset(&mut signals, signal);
        }
        signals
    }
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program to end, and, if `for_all`, for all that it has left behind, or until a
    /// signal asks to stop.
    pub fn wait(mut self, for_all: bool) -> io::Result<End> {
        let program = self.child.id() as i32;
        loop {
            let ended = next_ended(0)?;
            if ended == program {
                break;
            }
            forget(ended);
        }
        // As long as nobody has asked how it ended, no other process can get its number.
        self.shared.program.store(0, Ordering::SeqCst);
        let status = self.child.wait()?;
        drop(self.witness.take());
        let mut has_said = false;
        loop {
            match next_ended(libc::WNOHANG) {
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                    return Ok(End { status, all_ended: true });
                }
                Err(error) => return Err(error),
                Ok(0) => {}
                Ok(ended) => {
                    forget(ended);
                    continue;
                }
            }
            let is_enough = !for_all || self.has_others;
            if is_enough || self.shared.asked_to_stop.load(Ordering::SeqCst) {
                return Ok(End { status, all_ended: false });
            }
            if !has_said && io::IsTerminal::is_terminal(&io::stderr()) {
                eprintln!(
                    "evenfit: waiting for what the program has left running; Ctrl-C ends the wait"
                );
            }
            has_said = true;
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// The next child that has ended and was not waited for; 0 if there is none yet.
fn next_ended(flags: libc::c_int) -> io::Result<i32> {
    loop {
        // SAFETY: `siginfo_t` may be all zeroes, and is written only during the call.
        let (answer, process) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = flags | libc::WEXITED | libc::WNOWAIT;
            (libc::waitid(libc::P_ALL, 0, &mut info, flags), info.si_pid())
        };
        if answer == 0 {
            return Ok(process);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Lets the system forget a child that has ended: one that its parent has left behind.
fn forget(process: i32) {
    // SAFETY: a child of this process that nobody else waits for.
    unsafe { libc::waitpid(process, std::ptr::null_mut(), 0) };
}

impl Shared {
    /// Passes signals on, until this process ends.
    fn pass_on(&self, signals: &libc::sigset_t, counts: Option<&Counts>) {
        let mut counted = [0; COUNTS];
        loop {
            let (signal, code) = match EARLY[0].swap(0, Ordering::SeqCst) {
                // SAFETY: `siginfo_t` may be all zeroes, and is written only during the call.
                0 => unsafe {
                    let mut info: libc::siginfo_t = std::mem::zeroed();
                    (libc::sigwaitinfo(signals, &mut info), info.si_code)
                },
                early => (early, EARLY[1].load(Ordering::SeqCst)),
            };
            let Ok(index) = usize::try_from(signal) else { continue };
            let program = self.program.load(Ordering::SeqCst);
            if program == 0 {
                self.asked_to_stop.store(true, Ordering::SeqCst);
                continue;
            }
            let was_for_group = counts.is_some_and(|counts| {
                let has_come = || counts[index].load(Ordering::SeqCst) != counted[index];
                let steps = 20;
                (0..steps).any(|_| has_come() || (thread::sleep(WITNESS_WITHIN / steps), false).1)
            });
            if let Some(counts) = counts {
                counted[index] = counts[index].load(Ordering::SeqCst);
            }
            let is_from_terminal = code == libc::SI_KERNEL;
            // SAFETY: no memory is involved; the process is this one's child, running or not waited
            // for yet.
            unsafe {
                let is_in_group = libc::getpgid(program) == libc::getpgrp();
                let has_it = is_from_terminal || was_for_group && is_in_group;
                if !has_it {
                    libc::kill(program, signal);
                }
            }
        }
    }
}

const COUNTS: usize = 64;
type Counts = [AtomicU32; COUNTS];

/// A process in this process's group that counts the signals it gets.
struct Witness {
    process: libc::pid_t,
    counts: &'static Counts,
}

impl Witness {
    /// None where the system refuses: then a signal to the group may reach the program twice.
    fn start(signals: &libc::sigset_t) -> Option<Self> {
        // SAFETY: a new mapping that stays; zeroes are counts. The child of the fork calls only what
        // a child of a process with one thread may, and never returns.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let page = libc::mmap(std::ptr::null_mut(), size_of::<Counts>(), access, flags, -1, 0);
            if page == libc::MAP_FAILED {
                return None;
            }
            let counts: &'static Counts = &*page.cast();
            let parent = libc::getpid();
            // The child counts from its first moment on.
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, signals, &mut before);
            let process = libc::fork();
            if process != 0 {
                libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
            }
            match process {
                -1 => None,
                0 => {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    // It must not keep open what others wait to see closed.
                    libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                    while libc::getppid() == parent {
                        let signal = libc::sigwaitinfo(signals, std::ptr::null_mut());
                        if let Some(count) =
                            usize::try_from(signal).ok().and_then(|at| counts.get(at))
                        {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    libc::_exit(0)
                }
                process => Some(Self { process, counts }),
            }
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // SAFETY: a child of this process that nobody else waits for.
        unsafe {
            libc::kill(self.process, libc::SIGKILL);
            libc::waitpid(self.process, std::ptr::null_mut(), 0);
        }
    }
}
