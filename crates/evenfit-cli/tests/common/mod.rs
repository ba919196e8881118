//! Shared code of the command's tests.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use evenfit_trace::{Codec, Trace, TraceBuilder};

/// What a run of the command printed, and its exit code.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `evenfit` with these arguments at the repository's root.
pub fn evenfit<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Run {
    run(command().args(args))
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenfit"));
    command.current_dir(root()).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

pub fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Run {
        code: status.code().expect("not killed by a signal"),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The library of `evenfit run`, built once, as this package's tests can't depend on a shared
/// library.
pub fn preload() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "evenfit-preload"]);
        build.current_dir(root());
        build.env("CARGO_TARGET_DIR", &target);
        assert!(build.status().expect("cargo runs").success());
        target.join("debug/libevenfit_preload.so")
    })
}

/// The recorded programs in the repository.
pub const TRACES: [&str; 6] = ["cc1plus", "csound", "lua_particles", "py_json", "redis", "sqlite"];

pub fn shipped(name: &str) -> String {
    format!("traces/{name}.evt")
}

/// A directory that is gone when the test is over.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenfit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A random program of `operations` with sizes up to `size_max` and some odd requests: zero
/// sizes, large alignments, zeroed blocks, reallocations both ways.
pub fn random_trace(seed: u64, operations: usize, size_max: u64) -> Trace {
    let mut generator = fastrand::Rng::with_seed(seed);
    let mut random = |below: u64| generator.u64(..below);
    let mut builder = TraceBuilder::default();
    let mut live = Vec::new();
    let mut id = 0;
    for _ in 0..operations {
        match random(10) {
            0..5 if live.len() < 200 => {
                let (size, align_log2) = (random(size_max), random(8) as u8);
                let zeroed = random(4) == 0;
                builder.push(evenfit_trace::Event::Alloc { id, size, align_log2, zeroed }).unwrap();
                live.push(id);
                id += 1;
            }
            5..7 if !live.is_empty() => {
                let pick = live[random(live.len() as u64) as usize];
                builder.realloc(pick, random(size_max)).unwrap();
            }
            _ if !live.is_empty() => {
                let pick = live.swap_remove(random(live.len() as u64) as usize);
                builder.free(pick).unwrap();
            }
            _ => {}
        }
    }
    builder.finish()
}

pub fn save(trace: &Trace, path: &str) {
    trace.save(path, Codec::Zstd(3)).unwrap();
}

/// A random program of allocations of these sizes, all aligned alike, and frees: `operations`
/// tries, at most `live_max` blocks at once.
pub fn plain_trace(seed: u64, operations: usize, live_max: usize, sizes: Range<u64>) -> Trace {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut builder = TraceBuilder::default();
    let mut live = Vec::new();
    for _ in 0..operations {
        if live.len() < live_max && random.u8(..3) > 0 {
            live.push(builder.alloc(random.u64(sizes.clone()), 8).unwrap());
        } else if !live.is_empty() {
            let at = random.usize(..live.len());
            builder.free(live.swap_remove(at)).unwrap();
        }
    }
    builder.finish()
}
