//! One binary for all targets: the environment variable `EVENFIT_TARGET` names which.
#![no_main]

use std::sync::LazyLock;

use evenfit_verify::fuzz::TARGETS;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("EVENFIT_TARGET").unwrap_or_default();
    let Some(&(_, target)) = TARGETS.iter().find(|&&(known, _)| known == name) else {
        let known: Vec<_> = TARGETS.iter().map(|&(known, _)| known).collect();
        eprintln!("EVENFIT_TARGET is {name:?}; it must be one of {}", known.join(", "));
        std::process::exit(2);
    };
    target
});

fuzz_target!(|bytes: &[u8]| (TARGET)(bytes));
