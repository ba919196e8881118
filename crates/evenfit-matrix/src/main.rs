//! Runs every case against every allocator and writes the table.
//!
//! `evenfit-matrix [FILE]`: to the file, or to the terminal.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use evenfit_matrix::case::{Case, Run};
use evenfit_matrix::heaps;
use evenfit_matrix::outcome::Outcome;
use evenfit_matrix::table::{Answer, Answers, document};

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

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--child", peer, case] => child(peer, case),
        [] | [_] => {
            let text = document(&PEERS, &ask_all());
            match words.first() {
                None => print!("{text}"),
                Some(path) => {
                    if let Err(error) = std::fs::write(path, text) {
                        eprintln!("can't write {path}: {error}");
                        return ExitCode::from(2);
                    }
                }
            }
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("one argument at most: the file to write, as docs/misuse-matrix.md");
            ExitCode::from(2)
        }
    }
}

/// One case; prints the outcome's word and the error's name.
fn child(peer: &str, case: &str) -> ExitCode {
    let Some(case) = Case::parse(case) else {
        return ExitCode::from(2);
    };
    let Some((outcome, error)) = heaps::with(peer, &mut Run(case)) else {
        return ExitCode::from(2);
    };
    println!("{}/{error}", outcome.word());
    ExitCode::SUCCESS
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
        .args(["--child", peer, &case.argument()])
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
        let outcome = Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.word() == word);
        return (
            outcome.expect("a child that ends well says how"),
            error.to_owned(),
        );
    };
    (outcome, String::new())
}

/// How a child ended that said nothing; none if it ended well.
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
                return Some(if on_purpose {
                    Outcome::Stopped
                } else {
                    Outcome::Crash
                });
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
