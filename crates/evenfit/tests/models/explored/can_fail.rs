//! The models notice a lock that doesn't lock, and locks that are wrong by a single word.

use evenfit::Lock;
use evenfit::lock::PiFutex;

use self::modelled::{AtomicBool, Ordering, spin_loop};
use super::{ALL, excludes, explore, shared_by_two};

#[path = "../../../src/sync/modelled.rs"]
#[allow(dead_code, unused_imports)]
mod modelled;

struct NoLock;

// SAFETY: none; the models must notice that.
unsafe impl Lock for NoLock {
    const UNLOCKED: Self = Self;

    fn acquire(&self) {}

    unsafe fn release(&self) {}
}

/// The spin lock, with a choice of its two orderings and of how it sets the flag.
macro_rules! faulty_lock {
    ($name:ident, $acquire:ident, $release:ident, $set:expr) => {
        struct $name(AtomicBool);

        // SAFETY: none.
        unsafe impl Lock for $name {
            const UNLOCKED: Self = Self(AtomicBool::new(false));

            fn acquire(&self) {
                let set: fn(&AtomicBool, Ordering) -> bool = $set;
                while set(&self.0, Ordering::$acquire) {
                    spin_loop();
                }
            }

            unsafe fn release(&self) {
                self.0.store(false, Ordering::$release);
            }
        }
    };
}

faulty_lock!(Sound, Acquire, Release, |flag, order| flag.swap(true, order));
faulty_lock!(NoAcquire, Relaxed, Release, |flag, order| flag.swap(true, order));
faulty_lock!(NoRelease, Acquire, Relaxed, |flag, order| flag.swap(true, order));
faulty_lock!(TwoSteps, Acquire, Release, |flag, order| {
    let held = flag.load(order);
    if !held {
        flag.store(true, Ordering::Relaxed);
    }
    held
});

#[test]
fn what_is_sound_passes() {
    excludes::<Sound>(1, 1);
    shared_by_two::<Sound>();
}

/// The fault as a test of its own process, since a panic inside a model ends the process.
macro_rules! wrong {
    ($($name:ident: $said:literal, $model:expr;)*) => {
        $(
            #[test]
            #[ignore = "must fail, and is run by what_is_wrong_is_noticed"]
            fn $name() {
                $model;
            }
        )*

        const WRONG: &[(&str, &str)] = &[$((stringify!($name), $said)),*];
    };
}

wrong! {
    no_lock: "Causality violation", shared_by_two::<NoLock>();
    acquire_is_missing: "Causality violation", excludes::<NoAcquire>(1, 1);
    release_is_missing: "Causality violation", shared_by_two::<NoRelease>();
    flag_is_taken_in_two_steps: "Causality violation", excludes::<TwoSteps>(1, 1);
    futex_is_held_already: "already held its lock", explore(ALL, || {
        let lock = PiFutex::UNLOCKED;
        lock.with(|| lock.with(|| ()));
    });
}

#[test]
fn what_is_wrong_is_noticed() {
    for (name, expected) in WRONG {
        let this = std::env::current_exe().expect("this test has a path");
        let output = std::process::Command::new(this)
            .args([&format!("explored::can_fail::{name}"), "--exact", "--ignored", "--nocapture"])
            .output()
            .expect("this test runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name} passed");
        assert!(said.contains(expected), "{name}: {said}");
    }
}
