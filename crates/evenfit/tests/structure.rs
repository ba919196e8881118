//! Limits that keep the core small enough to be read in one sitting.

use std::fs;
use std::path::{Path, PathBuf};

/// How many functions may allocate, free or resize. The aim was 25; more need a reason, and a
/// figure.
const WAYS_MAX: usize = 26;

/// Their names, or the beginnings of their names.
const WAYS: [&str; 9] =
    ["allocate", "close", "deallocate", "free", "move_down", "open", "re", "split", "word_changed"];

/// Names with the same beginning, of functions that only forward, count, link, answer a question or
/// report a misuse.
const NONE: [&str; 20] = [
    "allocate_uncounted",
    "allocate_zeroed",
    "allocated",
    "deallocate",
    "deallocate_checked",
    "free_len",
    "free_slots",
    "freed",
    "open_slabs",
    "realloc",
    "realloc_uncopied",
    "reallocate",
    "record",
    "refused",
    "relink",
    "relink_before",
    "remove",
    "replica",
    "reset",
    "resized",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of the library") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// The names of the functions in a file.
fn functions(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a file of the library");
    let name = |line: &str| {
        let (before, after) = line.split_once("fn ")?;
        let is_one = before
            .split_whitespace()
            .all(|word| word.starts_with("pub") || ["const", "unsafe"].contains(&word));
        let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        is_one.then(|| after[..end].to_string())
    };
    text.lines().filter_map(name).collect()
}

#[test]
fn few_functions_allocate_free_or_resize() {
    let rooms = ["heap", "blocks", "slabs"];
    let mut files: Vec<PathBuf> =
        rooms.iter().flat_map(|room| files_in(&source().join(room))).collect();
    files.extend(rooms.map(|room| source().join(room).with_extension("rs")));
    let is_way = |name: &String| {
        WAYS.iter().any(|way| name.starts_with(way)) && !NONE.contains(&name.as_str())
    };
    let ways: Vec<String> = files.iter().flat_map(|file| functions(file)).filter(is_way).collect();
    assert!(ways.len() > 20, "the count finds too few: {ways:?}");
    assert!(ways.len() <= WAYS_MAX, "{}: {ways:?}", ways.len());
}

#[test]
fn no_file_is_longer_than_can_be_read_at_once() {
    for file in files_in(&source()) {
        let lines = fs::read_to_string(&file).expect("a file").lines().count();
        assert!(lines <= 600, "{} has {lines} lines", file.display());
    }
}
