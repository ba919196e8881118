//! Signals that were meant for the program that this command runs.
//!
//! What comes from the terminal goes to all processes in its foreground, the program among them.
//! What another process sends (`kill`, a supervisor) comes to this command alone, and is passed on.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

/// What asks a process to end, to stop working or to do something of its own.
const PASSED_ON: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// The program's process, while there is one.
static PROGRAM: AtomicI32 = AtomicI32::new(0);
/// What came before the program was there; 0 is none.
static EARLY: AtomicI32 = AtomicI32::new(0);

/// Starts a program that gets the signals sent to this process. Called once.
pub fn start(command: &mut Command) -> io::Result<Child> {
    for signal in PASSED_ON {
        install(signal)?;
    }
    let child = command.spawn()?;
    PROGRAM.store(child.id() as i32, Ordering::SeqCst);
    let early = EARLY.swap(0, Ordering::SeqCst);
    if early != 0 {
        send(child.id() as i32, early);
    }
    Ok(child)
}

/// Waits for the program to end.
pub fn wait(mut child: Child) -> io::Result<ExitStatus> {
    // As long as nobody has asked how it ended, no other process can get its number.
    wait_for_end(child.id())?;
    PROGRAM.store(0, Ordering::SeqCst);
    child.wait()
}

fn wait_for_end(process: u32) -> io::Result<()> {
    loop {
        // SAFETY: `siginfo_t` may be all zeroes, and is written only during the call.
        let answer = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, process, &mut info, libc::WEXITED | libc::WNOWAIT)
        };
        let error = io::Error::last_os_error();
        if answer == 0 {
            return Ok(());
        }
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Passes a signal on from now on, unless it is ignored, as under `nohup`: then the program ignores
/// it too.
fn install(signal: libc::c_int) -> io::Result<()> {
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
        action.sa_sigaction = pass_on as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        if libc::sigaction(signal, &action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands over its own record of the signal.
    let code = unsafe { (*info).si_code };
    let is_from_terminal = code == libc::SI_KERNEL;
    if is_from_terminal {
        return;
    }
    EARLY.store(signal, Ordering::SeqCst);
    let program = PROGRAM.load(Ordering::SeqCst);
    if program != 0 {
        EARLY.store(0, Ordering::SeqCst);
        send(program, signal);
    }
}

fn send(process: i32, signal: libc::c_int) {
    // SAFETY: no memory is involved; the process is this one's child, running or not waited for
    // yet.
    unsafe { libc::kill(process, signal) };
}
