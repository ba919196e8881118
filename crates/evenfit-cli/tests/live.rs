//! `evenfit top` on running processes: a program in `evenfit run` and its child of `fork`, as text,
//! JSON and on a terminal.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

mod common;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Scratch, command, evenfit, preload};
use serde_json::Value;

/// Takes 100 blocks of 10,000 bytes and one of 1,000,000, frees one twice, and forks; the child
/// frees half of them. Each says its number, and ends with its input.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
static void *volatile blocks[100];
int main(void) {
    for (int i = 0; i < 100; i++) blocks[i] = malloc(10000);
    void *volatile large = malloc(1000000);
    void *volatile gone = malloc(3000);
    free(gone);
    free(gone);
    while (malloc(100000000)) {}
    if (fork() == 0)
        for (int i = 0; i < 100; i += 2) free(blocks[i]);
    char line[20];
    write(1, line, snprintf(line, sizeof line, "%d\n", (int)getpid()));
    while (read(0, line, sizeof line) > 0) {}
    free(large);
    return 0;
}
"#;

/// The program, running until this is dropped.
struct Running {
    evenfit: Child,
    parent: u32,
    child: u32,
}

impl Running {
    fn start(scratch: &Scratch) -> Self {
        let (source, program) = (scratch.path("pools.c"), scratch.path("pools"));
        std::fs::write(&source, PROGRAM).unwrap();
        let compiled = Command::new("cc")
            .args(["-O1", "-w", "-fno-builtin", &source, "-o", &program])
            .status();
        assert!(compiled.unwrap().success());
        let mut run = command();
        run.args(["run", "--top", "--ignore-misuse", "--pool", "8MiB"])
            .args(["--json", "--", &program])
            .env("EVENFIT_PRELOAD", preload())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut evenfit = run.spawn().unwrap();
        let mut lines = BufReader::new(evenfit.stdout.take().unwrap()).lines();
        let mut ids: [u32; 2] =
            [0; 2].map(|_: u32| lines.next().unwrap().unwrap().parse().unwrap());
        // The parent is the child of `evenfit run`.
        let path = format!("/proc/{0}/task/{0}/children", evenfit.id());
        let children = std::fs::read_to_string(path).unwrap();
        if !children.split_whitespace().any(|id| id == ids[0].to_string()) {
            ids.reverse();
        }
        let [parent, child] = ids;
        Self { evenfit, parent, child }
    }

    fn now(&self, id: u32) -> Value {
        let answer = evenfit(&["top", &id.to_string(), "--at", "now", "--json"]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        serde_json::from_str(&answer.stdout).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.evenfit.stdin.take());
        let _ = self.evenfit.wait();
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name}: {value}"))
}

fn held_from_8_to_16k(now: &Value) -> u64 {
    let holders = now["holders"].as_array().unwrap();
    let holder = holders.iter().find(|holder| holder["name"] == "8 KiB to 16 KiB");
    holder.map_or(0, |holder| number(holder, "blocks"))
}

#[test]
fn a_process_and_its_child_are_seen_each_in_its_own_pool() {
    let scratch = Scratch::new("top-live");
    let running = Running::start(&scratch);
    let (parent, child) = (running.now(running.parent), running.now(running.child));
    assert_eq!(number(&parent, "region_bytes"), 8 << 20);
    assert_eq!(held_from_8_to_16k(&parent), 100, "{parent}");
    assert_eq!(held_from_8_to_16k(&child), 50, "{child}");
    // What the program took, as rounded to granules, and what the C library did for itself.
    let taken = 100 * 10_000 + 1_000_000;
    let used = number(&parent, "used_bytes");
    assert!((taken..taken + 100_000).contains(&used), "{used}");
    assert_eq!(used - number(&child, "used_bytes"), 50 * 10_000);
    assert_eq!(number(&parent, "refused_frees"), 1);
    assert_eq!(number(&parent, "failed_requests"), 1);
    assert!(number(&child, "free_pieces") >= number(&parent, "free_pieces") + 49);
    assert_eq!(parent["program"], "pools");
    assert_eq!(parent["whole"], true);

    let listed = evenfit(&["top", "--list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let ids: Vec<u64> =
        listed["pools"].as_array().unwrap().iter().map(|pool| number(pool, "process_id")).collect();
    for id in [running.parent, running.child] {
        assert!(ids.contains(&u64::from(id)), "{ids:?}");
    }
    let text = evenfit(&["top", &running.parent.to_string(), "--at", "now"]);
    for part in ["pools, process", "8 KiB to 16 KiB", "failed requests 1   refused frees 1", "█"]
    {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    let id = running.parent;
    drop(running);
    let gone = evenfit(&["top", &id.to_string(), "--at", "now"]);
    assert_eq!(gone.code, 2);
    assert!(gone.stderr.contains("there is no process"), "{}", gone.stderr);
}

#[test]
fn what_can_not_be_watched_is_named() {
    let own = std::process::id().to_string();
    for (args, part) in [
        (&["top", &own, "--at", "now"][..], "shows no pool"),
        (&["top", "4294967295", "--at", "now"], "no process"),
        (&["top", &own, "--at", "fullest"], "--at now"),
        (&["top", &own, "--at", "now", "--pool", "1MiB"], "--pool is for"),
        (&["top", &own, "--at", "now", "--seconds", "3"], "--seconds is"),
        (&["top", &own], "needs a terminal"),
        (&["top", &own, "--json"], "--at"),
        (&["top", "--list", &own], "cannot be used with"),
        (&["top"], "PID|TRACE"),
    ] {
        let run = evenfit(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.stdout);
        assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
    }
}

/// A terminal and what was shown on it.
struct Terminal {
    master: File,
    rows: Vec<String>,
    cursor: (usize, usize),
    unread: Vec<u8>,
}

const WIDTH: usize = 120;
const HEIGHT: usize = 40;

impl Terminal {
    /// A new one, and its other end for a program.
    fn open() -> (Self, OwnedFd) {
        let (mut master, mut slave) = (0, 0);
        let size = libc::winsize {
            ws_row: HEIGHT as u16,
            ws_col: WIDTH as u16,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the answers are written to the two numbers; the size is only read.
        let opened = unsafe {
            libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size)
        };
        assert_eq!(opened, 0);
        // SAFETY: both were just opened and are nobody else's.
        unsafe {
            libc::fcntl(master, libc::F_SETFL, libc::O_NONBLOCK);
            let terminal = Self {
                master: File::from_raw_fd(master),
                rows: vec![" ".repeat(WIDTH); HEIGHT],
                cursor: (0, 0),
                unread: Vec::new(),
            };
            (terminal, OwnedFd::from_raw_fd(slave))
        }
    }

    /// Waits until a row shows `part`.
    fn wait_for(&mut self, part: &str) {
        let begun = Instant::now();
        while !self.rows.iter().any(|row| row.contains(part)) {
            assert!(begun.elapsed() < Duration::from_secs(20), "no {part}: {:#?}", self.rows);
            let mut bytes = [0; 65_536];
            match self.master.read(&mut bytes) {
                Ok(len) => self.unread.extend_from_slice(&bytes[..len]),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            self.show();
        }
    }

    /// Puts what was written where it belongs. Of the control sequences only the cursor's place
    /// matters here.
    fn show(&mut self) {
        let text = String::from_utf8_lossy(&self.unread).into_owned();
        let mut rest = text.as_str();
        loop {
            let before = rest;
            let Some(c) = rest.chars().next() else { break };
            rest = &rest[c.len_utf8()..];
            if c != '\x1b' {
                if c == char::REPLACEMENT_CHARACTER {
                    rest = before;
                    break;
                }
                let (row, column) = self.cursor;
                let mut cells: Vec<char> = self.rows[row].chars().collect();
                cells[column.min(WIDTH - 1)] = c;
                self.rows[row] = cells.into_iter().collect();
                self.cursor.1 += 1;
                continue;
            }
            let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else {
                rest = before;
                break;
            };
            let sequence = &rest[..end];
            if rest[end..].starts_with('H') {
                let place = sequence.trim_start_matches('[').split_once(';');
                let (row, column) = place.unwrap_or(("1", "1"));
                let number = |text: &str| text.parse::<usize>().unwrap_or(1) - 1;
                self.cursor = (number(row), number(column));
            }
            rest = &rest[end + 1..];
        }
        // What is cut in the midst waits for the rest.
        self.unread = self.unread[self.unread.len().min(text.len() - rest.len())..].to_vec();
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }
}

#[test]
fn on_a_terminal_it_is_live_pauses_and_outlives_the_program() {
    let scratch = Scratch::new("top-terminal");
    let running = Running::start(&scratch);
    let (mut terminal, slave) = Terminal::open();
    let mut top = command();
    top.args(["top", &running.parent.to_string()])
        .env("TERM", "xterm-256color")
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave);
    let mut top = top.spawn().unwrap();
    terminal.wait_for("live, ");
    terminal.wait_for("refused frees 1");
    terminal.press(b"p");
    terminal.wait_for("paused");
    terminal.press(b" ");
    terminal.wait_for("live");
    drop(running);
    terminal.wait_for("ended");
    terminal.press(b"q");
    assert!(top.wait().unwrap().success());
}
