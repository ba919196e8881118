//! One binary for all targets: the environment variable `EVENFIT_TARGET` names which.
#![no_main]

use std::sync::LazyLock;

use evenfit_verify::fuzz::Target;

use crate::control::HeapInMemory;
use crate::status::Status;

// The C library is built for C alone, so its modules and the test that uses them are taken in as they are.
#[path = "../crates/evenfit-c/src/any_heap.rs"]
mod any_heap;
#[path = "../crates/evenfit-c/src/control.rs"]
mod control;
#[path = "../crates/evenfit-c/src/observe.rs"]
mod observe;
#[path = "../crates/evenfit-c/src/operations.rs"]
mod operations;
#[path = "../crates/evenfit-c/src/options.rs"]
mod options;
#[path = "../crates/evenfit-c/tests/any_use/program.rs"]
mod program;
#[allow(dead_code, reason = "messages are for C")]
#[path = "../crates/evenfit-c/src/status.rs"]
mod status;

fn targets() -> impl Iterator<Item = Target> {
    let c: Target = ("c", program::run);
    evenfit_verify::fuzz::TARGETS.iter().copied().chain([c])
}

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("EVENFIT_TARGET").unwrap_or_default();
    let Some((_, target)) = targets().find(|&(known, _)| known == name) else {
        let known: Vec<_> = targets().map(|(known, _)| known).collect();
        eprintln!(
            "EVENFIT_TARGET is {name:?}; it must be one of {}",
            known.join(", ")
        );
        std::process::exit(2);
    };
    target
});

fuzz_target!(|bytes: &[u8]| (TARGET)(bytes));
