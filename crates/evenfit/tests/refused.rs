//! Without a misuse hook a refused free says why, and ends the program.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::alloc::{GlobalAlloc, Layout};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use evenfit::StaticHeap;

static HEAP: StaticHeap<16384> = StaticHeap::new();

/// Run by the other test in a process of its own.
#[test]
#[ignore = "ends its process, and is run by a_refused_free_says_why"]
fn free_twice() {
    let layout = Layout::from_size_align(1234, 8).expect("a layout");
    // SAFETY: a layout with a size; the second call is what is tried.
    unsafe {
        let block = HEAP.alloc(layout);
        HEAP.dealloc(block, layout);
        println!("{block:p}");
        HEAP.dealloc(block, layout);
    }
}

#[test]
fn a_refused_free_says_why() {
    let this = std::env::current_exe().expect("this test has a path");
    let output = Command::new(this)
        .args(["free_twice", "--exact", "--ignored", "--nocapture"])
        .output()
        .expect("this test runs");
    assert_eq!(output.status.signal(), Some(libc::SIGILL), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    let block = said.lines().find(|line| line.starts_with("0x")).expect("the address");
    let expected = format!(
        "evenfit: refused to free {block}: the block is free already (double free) \
         (passed with size 1234 and alignment 8)\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}
