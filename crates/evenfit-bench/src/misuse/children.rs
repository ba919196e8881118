//! Runs every case with every allocator, each in its own process.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::case::{Case, Run};
use super::heaps;
use super::outcome::Outcome;
use super::table::{Answer, Answers, document};

/// The subcommand that a child is started with.
pub const CHILD: &str = "misuse-child";

const PEERS: [&str; 12] = [
    "evenfit-blocks",
    "evenfit-compact",
    "evenfit-slabs",
    "evenfit-aligned",
    "talc",
    "rlsf",
    "linked_list",
    "buddy",
    "good_memory",
    "dlmalloc",
    "o1heap",
    "glibc",
];

const TIME_MAX: Duration = Duration::from_secs(10);

/// The whole table, as Markdown.
#[must_use]
pub fn page() -> String {
    document(&PEERS, &ask_all())
}

/// Runs one case, and prints the outcome's word and the error's name.
///
/// # Errors
/// There is no case or no allocator of that name.
pub fn child(peer: &str, case: &str) -> Result<(), String> {
    let case = Case::parse(case).ok_or_else(|| format!("no case is called {case:?}"))?;
    let (outcome, error) = heaps::with(peer, &mut Run(case))
        .ok_or_else(|| format!("no allocator is called {peer:?}"))?;
    println!("{}/{error}", outcome.word());
    Ok(())
}

fn ask_all() -> Answers {
    let mut answers = Answers::new();
    for peer in PEERS {
        for case in Case::all().into_iter().filter(|case| case.applies_to(peer)) {
            answers.insert((peer.to_owned(), case.argument()), ask(peer, case));
        }
    }
    answers
}

fn ask(peer: &str, case: Case) -> Answer {
    let itself = std::env::current_exe().expect("the program knows where it is");
    let mut child = Command::new(itself)
        .args([CHILD, peer, &case.argument()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can start itself");
    let outcome = wait(&mut child);
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_string(&mut said);
    }
    let Some(outcome) = outcome else {
        let (word, error) = said.trim_end().split_once('/').unwrap_or_default();
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.word() == word);
        return (outcome.expect("a child that exits with 0 prints its outcome"), error.to_owned());
    };
    (outcome, String::new())
}

/// How a child ended that printed nothing; none if it exited with 0.
fn wait(child: &mut Child) -> Option<Outcome> {
    const ABORTED: i32 = 6;
    const PANICKED: i32 = 101;
    let start = Instant::now();
    loop {
        let status = child.try_wait().expect("a child that was started");
        match status {
            Some(status) if status.success() => return None,
            Some(status) => {
                let on_purpose =
                    status.signal() == Some(ABORTED) || status.code() == Some(PANICKED);
                return Some(if on_purpose { Outcome::Stopped } else { Outcome::Crash });
            }
            None if start.elapsed() > TIME_MAX => {
                let _ = child.kill();
                let _ = child.wait();
                return Some(Outcome::Hang);
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
