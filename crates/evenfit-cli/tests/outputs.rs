//! The command writes its outputs completely, where it was told to, and changes no other file.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Scratch, command, evenfit, random_trace, save};

const CONTRACT: &str = "[[site]]\nname = \"timer\"\nsize = 40\nmost_live = 3\n";

/// A folder with a recording and a contract.
fn inputs(name: &str) -> (Scratch, String, String) {
    let scratch = Scratch::new(name);
    let (trace, contract) = (scratch.path("app.evt"), scratch.path("contract.toml"));
    save(&random_trace(3, 2000, 300), &trace);
    fs::write(&contract, CONTRACT).unwrap();
    (scratch, trace, contract)
}

/// Every way to write a file: the arguments before its name. Recordings come last, since those
/// are not replaced without `--force`.
fn writers<'a>(trace: &'a str, contract: &'a str) -> [(&'static str, Vec<&'a str>); 7] {
    [
        ("page.html", vec!["report", trace, "-o"]),
        ("map.svg", vec!["report", trace, "--svg"]),
        ("map.png", vec!["report", trace, "--png"]),
        ("policies.svg", vec!["compare", trace, "--svg"]),
        ("contract.rs", vec!["bound", contract, "--rust"]),
        ("copy.evt", vec!["convert", "--force", trace]),
        ("witness.evt", vec!["bound", contract, "--witness"]),
    ]
}

fn in_folder(scratch: &Scratch) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(scratch.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced_whole() {
    let (scratch, trace, contract) = inputs("outputs-links");
    for (name, args) in writers(&trace, &contract) {
        let (target, link) = (scratch.path(&format!("real-{name}")), scratch.path(name));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(format!("real-{name}"), &link).unwrap();
        let run = evenfit(&[&args[..], &[&*link]].concat());
        assert_eq!((run.code, &*run.stderr), (0, ""), "{args:?}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{args:?}");
        let written = fs::metadata(&target).unwrap();
        assert!(written.len() > 100 && written.mode() & 0o777 == 0o640, "{args:?}");
        // The target of a link may not exist yet.
        fs::remove_file(&target).unwrap();
        let run = evenfit(&[&args[..], &[&*link]].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(fs::metadata(&target).unwrap().len(), written.len());
    }
    assert!(in_folder(&scratch).iter().all(|name| !name.contains("part")));
}

#[test]
fn devices_are_written_through_and_stay() {
    let (scratch, trace, contract) = inputs("outputs-devices");
    for (_, args) in writers(&trace, &contract) {
        let run = evenfit(&[&args[..], &["/dev/null"]].concat());
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        let run = evenfit(&[&args[..], &["/dev/full"]].concat());
        assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains("can't write /dev/full: No space left"), "{}", run.stderr);
    }
    for device in ["/dev/null", "/dev/full"] {
        assert!(fs::metadata(device).unwrap().file_type().is_char_device(), "{device}");
    }
    let run = evenfit(&["report", &trace, "-o", &scratch.path(".")]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("is a directory"), "{}", run.stderr);
    let run = evenfit(&["report", &trace, "-o", "/no/such/folder/page.html"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("/no/such/folder/page.html: No such file"), "{}", run.stderr);
}

#[test]
fn pipes_and_sockets_are_written_through() {
    let (scratch, trace, _) = inputs("outputs-pipes");
    let (fifo, socket) = (scratch.path("fifo"), scratch.path("socket"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let listener = UnixListener::bind(&socket).unwrap();
    let page = scratch.path("page.html");
    assert_eq!(evenfit(&["report", &trace, "-o", &page]).code, 0);
    let len = fs::metadata(&page).unwrap().len();
    let mut child = command().args(["report", &trace, "-o", &fifo]).spawn().unwrap();
    let mut seen = Vec::new();
    fs::File::open(&fifo).unwrap().read_to_end(&mut seen).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(seen.len().abs_diff(len as usize) < 500, "{} of {len}", seen.len());
    let mut child = command().args(["report", &trace, "-o", &socket]).spawn().unwrap();
    let mut seen = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut seen).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(seen.starts_with(b"<!doctype html>"));
    for (path, is_still) in [(&fifo, true), (&socket, false)] {
        let kind = fs::metadata(path).unwrap().file_type();
        assert_eq!((kind.is_fifo(), kind.is_socket()), (is_still, !is_still));
    }
}

#[test]
fn standard_input_and_output_have_names() {
    let (_scratch, trace, contract) = inputs("outputs-stdout");
    for name in ["-", "/dev/stdout", "/dev/fd/1"] {
        for (_, args) in writers(&trace, &contract) {
            if args[0] == "bound" {
                continue; // Its answer goes there.
            }
            let mut all = command();
            let output = all.args(&args).arg(name).output().unwrap();
            assert!(output.status.success(), "{args:?} {name}");
            let start = &output.stdout[..4.min(output.stdout.len())];
            let known: [&[u8]; 4] = [b"<!do", b"<svg", b"\x89PNG", &fs::read(&trace).unwrap()[..4]];
            assert!(known.contains(&start), "{args:?} {name}: {start:?}");
        }
    }
    let run = evenfit(&["report", &trace, "-o", "-", "--svg", "/dev/stdout"]);
    assert_eq!(run.code, 2, "both can't go there");
    let recording = fs::read(&trace).unwrap();
    for args in [
        &["info", "-"][..],
        &["replay", "-", "--pool", "1MiB"],
        &["convert", "-", "-"],
        &["size", "-"],
    ] {
        let code = with_stdin(args, &recording);
        assert_eq!(code, Some(0), "{args:?}");
    }
    assert_eq!(with_stdin(&["bound", "-"], CONTRACT.as_bytes()), Some(0));
}

fn with_stdin(args: &[&str], input: &[u8]) -> Option<i32> {
    let mut child =
        command().args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn answers_that_can_not_be_written_are_errors() {
    let (_scratch, trace, contract) = inputs("outputs-full");
    let asked: [&[&str]; 6] = [
        &["--help"],
        &["--version"],
        &["replay", "--help"],
        &["info", &trace],
        &["bound", &contract, "--json"],
        &["completions", "bash"],
    ];
    for args in asked {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command().args(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("can't write the answer: No space left"), "{args:?}: {said}");
    }
}

#[test]
fn recordings_and_what_may_not_be_written_are_not_replaced() {
    let (scratch, trace, _) = inputs("outputs-existing");
    let copy = scratch.path("copy.evt");
    fs::write(&copy, "precious").unwrap();
    let run = evenfit(&["convert", &trace, &copy]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("copy.evt exists: --force replaces it"), "{}", run.stderr);
    assert_eq!(fs::read(&copy).unwrap(), b"precious");
    // Only others than root are stopped by permissions.
    if Path::new("/root").metadata().is_ok_and(|root| root.uid() != 0)
        || fs::read("/proc/self/status").is_ok_and(|text| !text.windows(6).any(|w| w == b"Uid:\t0"))
    {
        let page = scratch.path("page.html");
        fs::write(&page, "kept").unwrap();
        fs::set_permissions(&page, fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(evenfit(&["report", &trace, "-o", &page]).code, 2);
        assert_eq!(fs::read(&page).unwrap(), b"kept");
    }
}

/// A signal in the midst of writing leaves no file beside the wanted one.
#[test]
fn interrupted_it_leaves_nothing_behind() {
    let (scratch, _, _) = inputs("outputs-interrupted");
    let csv = scratch.path("large.csv");
    let trace = common::shipped("sqlite");
    let before = in_folder(&scratch);
    let mut unfinished = 0;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().cycle().take(30) {
        let mut child = command().args(["convert", &trace, &csv]).spawn().unwrap();
        // Until it has begun to write.
        let has_begun = (0..20_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_micros(500));
            in_folder(&scratch).iter().any(|name| name.ends_with(".part"))
        });
        // SAFETY: a child of this process that was not waited for.
        unsafe { libc::kill(child.id().cast_signed(), signal) };
        let status = child.wait().unwrap();
        unfinished += usize::from(has_begun && !status.success());
        assert!(in_folder(&scratch) == before || Path::new(&csv).exists());
        assert!(in_folder(&scratch).iter().all(|name| !name.ends_with(".part")));
        let _ = fs::remove_file(&csv);
        if unfinished >= 3 {
            return;
        }
    }
    panic!("it was never interrupted in the midst of writing");
}

/// Under `nohup` a hangup doesn't end the command, also not while it writes.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let (scratch, _, _) = inputs("outputs-nohup");
    let csv = scratch.path("large.csv");
    let script = format!(
        "trap '' HUP; exec {} convert {} {csv}",
        env!("CARGO_BIN_EXE_evenfit"),
        common::shipped("sqlite")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(common::root()).stdout(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let has_begun = (0..20_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_micros(500));
        in_folder(&scratch).iter().any(|name| name.ends_with(".part"))
    });
    assert!(has_begun);
    // SAFETY: a child of this process that was not waited for.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGHUP) };
    assert!(child.wait().unwrap().success());
    assert!(fs::metadata(&csv).unwrap().len() > 1 << 20);
}
