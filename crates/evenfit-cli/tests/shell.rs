//! Completions, man pages, and what every subcommand's help must have.

mod common;

use common::{Scratch, evenfit};

const COMMANDS: [&str; 11] = [
    "top",
    "replay",
    "info",
    "convert",
    "demo",
    "size",
    "bound",
    "report",
    "compare",
    "completions",
    "man-pages",
];

#[test]
fn every_subcommand_has_help_with_an_example() {
    let all = evenfit(&["--help"]);
    assert_eq!(all.code, 0);
    for name in COMMANDS {
        assert!(all.stdout.contains(name), "{name}: {}", all.stdout);
        let help = evenfit(&[name, "--help"]);
        assert_eq!(help.code, 0, "{name}");
        let example =
            help.stdout.find("Example").unwrap_or_else(|| panic!("{name} has no example"));
        assert!(
            help.stdout[example..].contains(&format!("evenfit {name}")),
            "{name}: {}",
            help.stdout
        );
        assert!(!help.stdout.contains('\x1b'), "{name}: no colours in a pipe");
    }
}

#[test]
fn completions_name_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = evenfit(&["completions", shell]);
        assert_eq!(run.code, 0, "{shell}: {}", run.stderr);
        for name in COMMANDS {
            assert!(run.stdout.contains(name), "{shell} lacks {name}");
        }
    }
    let wrong = evenfit(&["completions", "tcsh"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("bash"), "{}", wrong.stderr);
}

#[test]
fn there_is_a_man_page_for_each_subcommand() {
    let scratch = Scratch::new("man-pages");
    let directory = scratch.path("man1");
    let run = evenfit(&["man-pages", &directory]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in COMMANDS {
        let page = std::fs::read_to_string(format!("{directory}/evenfit-{name}.1")).unwrap();
        assert!(page.contains(".SH") && page.contains("OPTIONS"), "{name}");
    }
    assert_eq!(evenfit(&["man-pages", "/dev/null/man1"]).code, 2);
}
