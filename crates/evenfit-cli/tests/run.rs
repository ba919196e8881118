//! `evenfit run`: a program in a pool, its summary, its exit code, and wrong arguments.
#![cfg(target_os = "linux")]

mod common;

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use common::{Run, Scratch, command, preload, run};
use serde_json::Value;

fn evenfit_run(arguments: &[&str]) -> Run {
    let mut command = command();
    command.arg("run").args(arguments);
    run(command.env("EVENFIT_PRELOAD", preload()))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_programs_output_and_exit_code_pass_through() {
    let answer =
        evenfit_run(&["--pool", "64MiB", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (7, "out\n"));
    assert!(answer.stderr.starts_with("err\n"), "{}", answer.stderr);
    for part in [
        "sh, process ",
        "peak ",
        "of a pool of 67,108,864 bytes (64 MiB)",
        "largest free",
        "failed requests  0",
    ] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
}

#[test]
fn children_are_reported_beside_the_program() {
    let script = "seq 3000 | sort -rn | head -1; sort --version | head -1 >/dev/null";
    let answer = evenfit_run(&["--json", "--", "sh", "-c", script]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "3000\n"));
    let summary = json(&answer.stderr);
    assert_eq!(summary["process"]["program"], "sh");
    let children = summary["children"].as_array().expect("a list");
    let sort = children.iter().find(|child| child["program"] == "sort").expect("sort reported");
    assert!(sort["peak_used_bytes"].as_u64() > Some(3_000));
}

#[test]
fn a_full_pool_is_said() {
    let fill = "BEGIN { for (i = 0; i < 100000; i++) a[i] = i; print length(a) }";
    let answer = evenfit_run(&["--json", "--pool", "512k", "--", "awk", fill]);
    assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{}", answer.stderr);
    let at = answer.stderr.find('{').expect("a summary behind the program's own words");
    let report = &json(&answer.stderr[at..])["process"];
    assert!(report["failed_requests"].as_u64() > Some(0), "{report}");
    let answer = evenfit_run(&["--pool", "512k", "--", "awk", fill]);
    assert!(answer.stderr.contains("pool was full; the smallest asked for"), "{}", answer.stderr);
}

#[test]
fn the_summary_can_go_to_a_file() {
    let scratch = Scratch::new("run-summary");
    let file = scratch.path("summary.txt");
    let answer = evenfit_run(&["--summary", &file, "--", "sh", "-c", "true"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.starts_with("sh, process ") && text.contains("footprint"), "{text}");
    let nowhere = evenfit_run(&["--summary", "/nonexistent/summary", "--", "sh", "-c", "echo ran"]);
    assert_eq!((nowhere.code, nowhere.stdout.as_str()), (2, ""), "known before the program runs");
}

#[test]
fn a_killed_program_is_reported_all_the_same() {
    let answer = evenfit_run(&["--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(answer.code, 128 + 9);
    assert!(answer.stderr.contains("sh, process "), "{}", answer.stderr);
    assert!(answer.stderr.contains("before it was killed"), "{}", answer.stderr);
}

#[test]
fn wrong_wishes_are_refused_before_anything_runs() {
    for (arguments, part) in [
        (&["--pool", "10k", "--", "echo"][..], "can't start a program: use at least --pool 256k"),
        (&["--pool", "many", "--", "echo"], "does not start with a number"),
        (&["--", "no-such-program-here"], "can't run no-such-program-here"),
        (&["--"], "required"),
        (&[], "required"),
    ] {
        let answer = evenfit_run(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(answer.stderr.contains(part), "{arguments:?}: {}", answer.stderr);
    }
    let mut missing = command();
    missing.args(["run", "--", "echo"]);
    let answer = run(missing.env("EVENFIT_PRELOAD", "/nonexistent/lib.so"));
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("EVENFIT_PRELOAD=/nonexistent/lib.so: no such file"));
}

#[test]
fn nothing_is_left_in_the_temporary_folder() {
    let scratch = Scratch::new("run-reports");
    let mut command = command();
    command.args(["run", "--", "sh", "-c", "true"]);
    command.env("EVENFIT_PRELOAD", preload()).env("TMPDIR", scratch.path("."));
    assert_eq!(run(&mut command).code, 0);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

/// Runs a script, sends `signal` to the command, or to its whole process group, once the script has said `ready`, and gives what
/// the rest says.
fn signalled(signal: libc::c_int, to_group: bool, script: &str) -> Run {
    let mut command = command();
    command.args(["run", "--pool", "16MiB", "--", "sh", "-c", script]);
    command.env("EVENFIT_PRELOAD", preload());
    // A signal that is ignored from the start, as under nohup, can't be trapped by a shell.
    let default = move || {
        // SAFETY: it may be called between fork and exec, and no memory is involved.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(default) };
    command.process_group(0);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut ready = [0; 6];
    let stdout = child.stdout.as_mut().expect("piped");
    stdout.read_exact(&mut ready).expect("the script begins");
    assert_eq!(&ready, b"ready\n");
    // SAFETY: no memory is involved, and the child was not waited for.
    unsafe { libc::kill(if to_group { -(child.id() as i32) } else { child.id() as i32 }, signal) };
    let output = child.wait_with_output().expect("it ends");
    Run {
        code: output.status.code().expect("not killed itself"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn signals_are_passed_on_and_the_summary_is_still_written() {
    let script = |name: &str| {
        format!(
            "trap 'echo got {name}; exit 3' {name}; echo ready; n=0; while [ $((n += 1)) -lt 1500 ]; do sleep 0.02; done"
        )
    };
    for (name, signal) in [
        ("TERM", libc::SIGTERM),
        ("INT", libc::SIGINT),
        ("HUP", libc::SIGHUP),
        ("USR1", libc::SIGUSR1),
    ] {
        let answer = signalled(signal, false, &script(name));
        let said = format!("got {name}\n");
        assert_eq!((answer.code, answer.stdout), (3, said), "{}", answer.stderr);
        assert!(answer.stderr.contains("sh, process "), "{}", answer.stderr);
        assert!(answer.stderr.contains("peak "), "{}", answer.stderr);
    }
}

#[test]
fn a_program_that_a_signal_ends_is_reported_as_killed() {
    let answer = signalled(libc::SIGTERM, false, "echo ready; exec sleep 60");
    assert_eq!(answer.code, 128 + libc::SIGTERM, "{}", answer.stderr);
    assert!(answer.stderr.contains("before it was killed"), "{}", answer.stderr);
}

#[test]
fn a_signal_reaches_the_program_once_whether_sent_to_the_command_or_to_its_group() {
    let script =
        "trap 'echo got' USR1; echo ready; n=0; while [ $((n += 1)) -lt 15 ]; do sleep 0.05; done";
    for to_group in [false, true] {
        for _ in 0..3 {
            let answer = signalled(libc::SIGUSR1, to_group, script);
            assert_eq!((answer.code, answer.stdout.as_str()), (0, "got\n"), "to group: {to_group}");
        }
    }
}
