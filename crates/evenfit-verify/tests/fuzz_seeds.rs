//! The fuzzer's targets as ordinary tests: every kept seed, and damage to the seeds.

use std::path::Path;

use evenfit_verify::fuzz::TARGETS;
use evenfit_verify::random::Random;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        return Vec::new();
    };
    let entries = entries.map(|entry| entry.expect("a readable directory").path());
    entries
        .map(|path| {
            let bytes = std::fs::read(&path).expect("a readable seed");
            (path.display().to_string(), bytes)
        })
        .collect()
}

#[test]
fn every_kept_seed_of_every_target() {
    for &(name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "no seeds of {name} are kept");
        for (path, bytes) in seeds {
            println!("{path}");
            target(&bytes);
        }
    }
}

/// A few changed, missing and doubled bytes at a time.
#[test]
fn damaged_seeds_of_every_target() {
    let mut random = Random::new(17);
    for &(name, target) in TARGETS {
        for (path, bytes) in seeds(name) {
            for _ in 0..20 {
                let mut damaged = bytes.clone();
                for _ in 0..=random.below(4) {
                    let at = random.below(damaged.len().max(1));
                    match random.below(4) {
                        0 => damaged.truncate(at),
                        1 => damaged.insert(at.min(damaged.len()), random.bits() as u8),
                        _ => {
                            if let Some(byte) = damaged.get_mut(at) {
                                *byte ^= 1 << random.below(8);
                            }
                        }
                    }
                }
                println!("{path} damaged: {damaged:?}");
                target(&damaged);
            }
        }
    }
}
