//! What is, and what is not, linked into a `no_std` release build of the library.
//!
//! The probe is a shared library without the standard library whose panic handler calls a function
//! that doesn't exist. The linker is told to accept no undefined symbol: so it links only if no
//! panic can be reached from the operations that it exports.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Every public operation, exported so that nothing of it is left out.
const PROBE: &str = r#"
#![no_std]
use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use evenfit::{Compact, FirstFit, Heap, Standard, StaticHeap, Tiers};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        fn a_panic_is_reachable() -> !;
    }
    unsafe { a_panic_is_reachable() }
}

static HEAP: StaticHeap<65536> = StaticHeap::new();

macro_rules! probe {
    ($name:ident, $geometry:ty, $tiers:expr) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            base: NonNull<u8>, len: usize, operation: u8, ptr: NonNull<u8>,
            size: usize, align: usize, new_size: usize, new_align: usize,
            keep: &mut MaybeUninit<Heap<'static, $geometry>>,
        ) -> usize {
            let (Ok(old), Ok(new)) = (
                Layout::from_size_align(size, align), Layout::from_size_align(new_size, new_align),
            ) else {
                return 0;
            };
            unsafe {
                if operation == 0 {
                    return match Heap::from_raw_with(base, len, $tiers) {
                        Ok(heap) => { keep.write(heap); 1 }
                        Err(_) => 0,
                    };
                }
                let heap = keep.assume_init_mut();
                match operation {
                    1 => heap.allocate(old).map_or(0, |b| b.len()),
                    2 => heap.allocate_zeroed(old).map_or(0, |b| b.len()),
                    3 => { heap.deallocate(ptr, old); 1 }
                    4 => heap.try_deallocate(ptr, old).is_ok() as usize,
                    5 => heap.try_deallocate_unsized(ptr).is_ok() as usize,
                    6 => heap.grow(ptr, old, new).map_or(0, |b| b.len()),
                    7 => heap.shrink(ptr, old, new).map_or(0, |b| b.len()),
                    8 => heap.reallocate(ptr, old, new).map_or(0, |b| b.len()),
                    9 => heap.usable_size(ptr).unwrap_or(0),
                    10 => heap.largest_free(),
                    11 => heap.stats().used_bytes,
                    12 => heap.blocks().map(|b| b.size_bytes).fold(0, usize::wrapping_add),
                    13 => heap.check().is_ok() as usize,
                    14 => heap.allocate_unsized(size).map_or(0, |b| b.len()),
                    15 => heap.extend(size),
                    16 => { heap.reset(); 1 }
                    _ => match Heap::<$geometry>::from_raw(base, len) {
                        Ok(heap) => heap.stats().pool_bytes,
                        Err(_) => 0,
                    },
                }
            }
        }
    };
}

probe!(blocks, Standard, Tiers::BlocksOnly);
probe!(slabs, Standard, Tiers::WithSlabs);
probe!(compact, Compact, Tiers::Auto);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn global(operation: u8, ptr: *mut u8, size: usize, align: usize) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(size, align) else {
        return ptr;
    };
    unsafe {
        match operation {
            0 => HEAP.alloc(layout),
            1 => HEAP.alloc_zeroed(layout),
            2 => { HEAP.dealloc(ptr, layout); ptr }
            _ => HEAP.realloc(ptr, layout, size / 2),
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn first_fit(
    region: &'static mut [MaybeUninit<u8>; 1024], ptr: NonNull<u8>, size: usize, align: usize,
) -> usize {
    let (Ok(mut heap), Ok(layout)) =
        (FirstFit::from_region(region), Layout::from_size_align(size, align)) else {
        return 0;
    };
    let had = heap.allocate(layout).map_or(0, |block| block.len());
    had + unsafe { heap.try_deallocate(ptr, layout) }.is_ok() as usize
}
"#;

/// The same, with one index that may be out of bounds.
const FAULTY: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn faulty(index: usize) -> u8 {
    [1, 2, 3, 4][index]
}
"#;

fn rustc(directory: &Path, arguments: &[&str]) -> Output {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(rustc)
        .current_dir(directory)
        .args([
            "--edition",
            "2024",
            "-Copt-level=3",
            "-Cpanic=abort",
            "-Ccodegen-units=1",
        ])
        .args(arguments)
        .output()
        .expect("the compiler that built this test runs")
}

/// Builds the library and then `probe` against it; whether that links.
fn links(directory: &Path, probe: &str) -> Output {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let source = source.to_str().expect("a path in UTF-8");
    let library = rustc(
        directory,
        &[
            "--crate-type",
            "rlib",
            "--crate-name",
            "evenfit",
            "-Cembed-bitcode=yes",
            "--cap-lints",
            "allow",
            source,
        ],
    );
    assert!(
        library.status.success(),
        "{}",
        String::from_utf8_lossy(&library.stderr)
    );
    std::fs::write(directory.join("probe.rs"), probe).expect("the directory was just made");
    rustc(
        directory,
        &[
            "--crate-type",
            "cdylib",
            "--extern",
            "evenfit=libevenfit.rlib",
            "-Clto=fat",
            "-Cdebuginfo=0",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-Wl,--no-undefined",
            "probe.rs",
        ],
    )
}

fn fresh_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("the target directory is writable");
    directory
}

/// `memcpy` and its like, which `core` expects of every target.
const MEMORY: &str = r#"
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    unsafe { core::arch::asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _) };
    to
}
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.cast_const() <= from {
        return unsafe { memcpy(to, from, len) };
    }
    unsafe {
        core::arch::asm!("std", "rep movsb", "cld", inout("rcx") len => _,
            inout("rdi") to.wrapping_add(len).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(len).wrapping_sub(1) => _)
    };
    to
}
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    unsafe { core::arch::asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") byte as u8) };
    to
}
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while at < len {
        let (x, y) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if x != y {
            return x as i32 - y as i32;
        }
        at += 1;
    }
    0
}
"#;

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn no_panic_is_reachable_from_any_operation() {
    let probe = format!("{PROBE}{MEMORY}");
    let directory = fresh_directory("no_panic");
    let linked = links(&directory, &probe);
    assert!(
        linked.status.success(),
        "{}",
        String::from_utf8_lossy(&linked.stderr)
    );
}

/// The test above can fail.
#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn one_reachable_panic_is_noticed() {
    let probe = format!("{PROBE}{MEMORY}{FAULTY}");
    let linked = links(&fresh_directory("one_panic"), &probe);
    let said = String::from_utf8_lossy(&linked.stderr).into_owned();
    assert!(
        !linked.status.success() && said.contains("a_panic_is_reachable"),
        "{said}"
    );
}

/// With the default features the library pulls no crate at all.
#[test]
fn the_library_pulls_no_crate_by_default() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let tree = |features: &[&str]| {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "tree",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
                "--manifest-path",
            ])
            .arg(&manifest)
            .args(features)
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("names are in UTF-8")
            .lines()
            .count()
    };
    assert_eq!(tree(&[]), 1, "evenfit alone");
    assert!(
        tree(&["--features", "lock_api"]) > 1,
        "a feature that pulls a crate is seen to"
    );
}
