//! `docs/tutorial.md`: every command is run, and its output compared.
//!
//! In the page, `…` stands for any text in a line, and alone on a line for any number of lines.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Scratch, preload, root};

/// A command of the page and the output that it shows.
struct Shown {
    command: String,
    output: String,
}

fn shown(page: &str) -> Vec<Shown> {
    let blocks =
        page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let shown = blocks.map(|block| {
        let (command, output) = block.split_once('\n').unwrap();
        Shown {
            command: command.strip_prefix("$ ").expect("a command").to_owned(),
            output: output.to_owned(),
        }
    });
    shown.collect()
}

/// Whether `line` is `pattern`, in which `…` stands for any text.
fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn output_matches(patterns: &[&str], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((&"…", after)) => {
            (0..=lines.len()).any(|skip| output_matches(after, &lines[skip..]))
        }
        Some((pattern, after)) => {
            lines.first().is_some_and(|line| line_matches(pattern, line))
                && output_matches(after, &lines[1..])
        }
    }
}

#[test]
fn every_command_of_the_tutorial_prints_what_the_page_shows() {
    let scratch = Scratch::new("tutorial");
    for entry in std::fs::read_dir(root().join("docs/tutorial")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, scratch.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    let page = std::fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_evenfit")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let commands = shown(&page);
    assert!(commands.len() >= 10);
    for Shown { command, output } in commands {
        let run = Command::new("sh")
            .args(["-c", &format!("{command} 2>&1")])
            .current_dir(scratch.path(""))
            .env("PATH", &path)
            .env("EVENFIT_PRELOAD", preload())
            .output()
            .unwrap();
        let printed = String::from_utf8(run.stdout).unwrap();
        let trimmed: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let patterns: Vec<&str> = output.lines().collect();
        assert!(
            output_matches(&patterns, &trimmed),
            "$ {command}\n{printed}\nthe page shows:\n{output}"
        );
    }
    let contract = std::fs::read_to_string(root().join("docs/tutorial/contract.toml")).unwrap();
    let declared =
        contract.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert!(page.contains(declared.trim()), "the page shows another contract");
}

#[test]
fn the_comparison_is_strict() {
    assert!(line_matches("page …", "page report.html"));
    assert!(line_matches("a … c … e", "a b c d e"));
    assert!(!line_matches("a … c", "a b d"));
    assert!(!line_matches("a", "ab"));
    assert!(output_matches(&["a", "…", "z"], &["a", "b", "c", "z"]));
    assert!(!output_matches(&["a", "z"], &["a", "b", "z"]));
}
