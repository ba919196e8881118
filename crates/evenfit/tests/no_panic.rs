//! What is linked into a `no_std` release build of the library, and what isn't.
//!
//! The probe is a shared library without the standard library. Its panic handler calls a function
//! that doesn't exist, and the linker is told to accept no undefined symbol. So it links only if no
//! panic can be reached from the operations that it exports.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Every public operation, exported so that all of it is linked.
const PROBE: &str = r#"
#![no_std]
use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use evenfit::{
    Aligned, Auto, BlocksOnly, Budget, Compact, FirstFit, Heap, LockedHeap, OutOfMemory, SpinLock,
    Standard, StaticHeap, WhenFull, Wide, WithSlabs, observe,
};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        fn a_panic_is_reachable() -> !;
    }
    unsafe { a_panic_is_reachable() }
}

macro_rules! probe {
    ($name:ident, $tiers:ty, $geometry:ty) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            base: NonNull<u8>, len: usize, operation: u8, ptr: NonNull<u8>,
            size: usize, align: usize, new_size: usize, new_align: usize,
            heap: &mut MaybeUninit<Heap<'static, $tiers, $geometry>>,
        ) -> usize {
            let builder = Heap::builder().tiers::<$tiers>().geometry::<$geometry>();
            let (Ok(old), Ok(new)) = (
                Layout::from_size_align(size, align), Layout::from_size_align(new_size, new_align),
            ) else {
                return 0;
            };
            unsafe {
                let built = match operation {
                    0 => builder.build_raw(base, len),
                    1 => builder.max_bytes(size).build_raw(base, len),
                    2 => builder.zeroed().build_raw(base, len),
                    3 => builder.build(core::slice::from_raw_parts_mut(base.as_ptr().cast(), len)),
                    _ => {
                        let heap = heap.assume_init_mut();
                        return match operation {
                            4 => heap.allocate(old).map_or(0, |b| b.len()),
                            5 => heap.allocate_zeroed(old).map_or(0, |b| b.len()),
                            6 => { heap.deallocate(ptr, old); 1 }
                            7 => heap.try_deallocate(ptr, old).is_ok() as usize,
                            8 => heap.reallocate(ptr, old, new).map_or(0, |b| b.len()),
                            9 => heap.resize_in_place(ptr, old, new).map_or(0, |b| b.len()),
                            10 => heap.malloc(size).map_or(0, |b| b.len()),
                            11 => heap.try_free(ptr).is_ok() as usize,
                            12 => heap.realloc(ptr, size).map_or(0, |b| b.len()),
                            13 => heap.usable_size(ptr).unwrap_or(0),
                            14 => heap.largest_free(),
                            15 => heap.largest_free_aligned(align),
                            16 => heap.stats().used_bytes,
                            17 => heap.never_used().len(),
                            18 => heap.blocks().map(|b| b.size_bytes).fold(0, usize::wrapping_add),
                            19 => heap.check().is_ok() as usize,
                            20 => heap.extend(size),
                            21 => { heap.reset(); 1 }
                            22 => heap.pool_start() as usize,
                            23 => heap.realloc_uncopied(ptr, size).is_ok() as usize,
                            24 => heap.metadata_addresses().map as usize,
                            _ => heap.has_slabs() as usize,
                        };
                    }
                };
                match built {
                    Ok(built) => { heap.write(built); 1 }
                    Err(_) => 0,
                }
            }
        }
    };
}

probe!(standard, BlocksOnly, Standard);
probe!(standard_slabs, WithSlabs, Standard);
probe!(standard_auto, Auto, Standard);
probe!(aligned, BlocksOnly, Aligned);
probe!(aligned_slabs, WithSlabs, Aligned);
probe!(wide, BlocksOnly, Wide);
probe!(wide_slabs, WithSlabs, Wide);
probe!(compact, BlocksOnly, Compact);
probe!(compact_auto, Auto, Compact);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn default(base: NonNull<u8>, len: usize, operation: u8) -> usize {
    let built = match operation {
        0 => unsafe { Heap::from_raw(base, len) },
        _ => Heap::from_region(unsafe { core::slice::from_raw_parts_mut(base.as_ptr().cast(), len) }),
    };
    built.map_or(0, |heap| heap.stats().pool_bytes)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn observed(
    addresses: &observe::MetadataAddresses, words: &[u64; observe::Counters::COUNT], copy: *const u32, len: usize,
) -> usize {
    let counters = observe::Counters::from_words(*words);
    let Some(ranges) = addresses.ranges(&counters) else { return 0 };
    let mut sum = ranges[0].len_bytes;
    let copy = unsafe { core::slice::from_raw_parts(copy, len) };
    observe::walk(addresses, &counters, copy, &mut |block| sum = sum.wrapping_add(block.size_bytes));
    sum
}

fn drop_nothing(request: &OutOfMemory) -> WhenFull {
    if request.retries == 0 { WhenFull::Retry } else { WhenFull::Fail }
}

/// Every method of a heap behind a lock, and of a budget of it.
macro_rules! shared {
    ($name:ident, $heap:ty) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            heap: &'static $heap, operation: u8, ptr: NonNull<u8>,
            size: usize, align: usize, new_size: usize, budget: &mut MaybeUninit<Budget<'static, $heap>>,
        ) -> usize {
            let (Ok(old), Ok(new)) =
                (Layout::from_size_align(size, align), Layout::from_size_align(new_size, align)) else {
                return 0;
            };
            unsafe {
                match operation {
                    0 => heap.alloc(old) as usize,
                    1 => heap.alloc_zeroed(old) as usize,
                    2 => { heap.dealloc(ptr.as_ptr(), old); 1 }
                    3 => heap.realloc(ptr.as_ptr(), old, new_size) as usize,
                    4 => heap.allocate(old).map_or(0, |b| b.len()),
                    5 => heap.allocate_zeroed(old).map_or(0, |b| b.len()),
                    6 => { heap.deallocate(ptr, old); 1 }
                    7 => heap.try_deallocate(ptr, old).is_ok() as usize,
                    8 => heap.reallocate(ptr, old, new).map_or(0, |b| b.len()),
                    9 => heap.usable_size(ptr).unwrap_or(0),
                    10 => heap.largest_free(),
                    11 => heap.largest_free_aligned(align),
                    12 => heap.stats().used_bytes,
                    13 => heap.check().is_ok() as usize,
                    14 => heap.inspect(|heap| heap.blocks().count()).unwrap_or(0),
                    15 => { heap.set_out_of_memory_hook(Some(drop_nothing)); 1 }
                    16 => { budget.write(heap.budget("probe", size)); 1 }
                    _ => {
                        let budget = budget.assume_init_ref();
                        match operation {
                            17 => budget.allocate(old).map_or(0, |b| b.len()),
                            18 => budget.allocate_zeroed(old).map_or(0, |b| b.len()),
                            19 => { budget.deallocate(ptr, old); 1 }
                            20 => budget.try_deallocate(ptr, old).is_ok() as usize,
                            21 => budget.reallocate(ptr, old, new).map_or(0, |b| b.len()),
                            _ => budget.stats().used_bytes,
                        }
                    }
                }
            }
        }
    };
}

shared!(static_heap, StaticHeap<65536>);
shared!(static_slabs, StaticHeap<65536, SpinLock, WithSlabs, Standard>);
shared!(locked, LockedHeap<'static>);
shared!(locked_compact, LockedHeap<'static, SpinLock, BlocksOnly, Compact>);

/// A global allocator, which is built at its first use.
static HEAP: StaticHeap<65536> = StaticHeap::new();

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

static LOCKED: LockedHeap = LockedHeap::empty();

#[unsafe(no_mangle)]
pub unsafe extern "C" fn locked_heap(
    base: NonNull<u8>, len: usize, operation: u8, heap: &mut MaybeUninit<LockedHeap<'static>>,
) -> usize {
    unsafe {
        let region = core::slice::from_raw_parts_mut(base.as_ptr().cast(), len);
        let built = match operation {
            0 => return LOCKED.init_raw(base, len).is_ok() as usize,
            1 => return LOCKED.init(region).is_ok() as usize,
            2 => return LOCKED.extend(len),
            3 => { heap.assume_init_mut().reset(); return 1; }
            4 => return heap.assume_init_read().into_inner().map_or(0, |heap| heap.stats().pool_bytes),
            5 => LockedHeap::from_raw(base, len),
            6 => LockedHeap::from_region(region),
            _ => Heap::from_region(region).map(LockedHeap::new),
        };
        match built {
            Ok(built) => { heap.write(built); 1 }
            Err(_) => 0,
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn ignore_misuse() {
    evenfit::set_misuse_hook(|_| {});
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn first_fit(
    region: &'static mut [MaybeUninit<u8>; 1024], ptr: NonNull<u8>, size: usize, align: usize,
) -> usize {
    let (Ok(mut heap), Ok(layout)) =
        (FirstFit::from_region(region), Layout::from_size_align(size, align)) else {
        return 0;
    };
    let len = heap.allocate(layout).map_or(0, |block| block.len());
    len + unsafe { heap.try_deallocate(ptr, layout) }.is_ok() as usize
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
        .args(["--edition", "2024", "-Copt-level=3", "-Cpanic=abort", "-Ccodegen-units=1"])
        .args(arguments)
        .output()
        .expect("the compiler that built this test runs")
}

/// Builds the library and then `probe` with it. True if that links.
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
            "--cfg=feature=\"over-alignment\"",
            "--cfg=feature=\"move-down\"",
            source,
        ],
    );
    assert!(library.status.success(), "{}", String::from_utf8_lossy(&library.stderr));
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

/// `memcpy` and similar functions, which `core` expects of every target.
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
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
}

/// The test above can fail.
#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn one_reachable_panic_is_noticed() {
    let probe = format!("{PROBE}{MEMORY}{FAULTY}");
    let linked = links(&fresh_directory("one_panic"), &probe);
    let said = String::from_utf8_lossy(&linked.stderr).into_owned();
    assert!(!linked.status.success() && said.contains("a_panic_is_reachable"), "{said}");
}

/// With the default features the library depends on no crate.
#[test]
fn the_library_pulls_no_crate_by_default() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let tree = |features: &[&str]| {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["tree", "--edges", "normal,build", "--prefix", "none", "--manifest-path"])
            .arg(&manifest)
            .args(features)
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("names are in UTF-8").lines().count()
    };
    assert_eq!(tree(&[]), 1, "evenfit alone");
    assert!(tree(&["--features", "lock_api"]) > 1, "a feature that pulls a crate is seen to");
}
