//! A WebAssembly module whose collections live in a pool of 256 KiB inside the module's memory.
#![no_std]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How large the pool is, in bytes.
const POOL_BYTES: usize = 256 * 1024;

#[cfg(feature = "evenfit")]
#[global_allocator]
static HEAP: evenfit::StaticHeap<POOL_BYTES> = evenfit::StaticHeap::new();

#[cfg(feature = "talc")]
#[global_allocator]
static HEAP: talc::wasm::WasmArenaTalc = {
    use core::mem::MaybeUninit;
    static mut MEMORY: [MaybeUninit<u8>; POOL_BYTES] = [MaybeUninit::uninit(); POOL_BYTES];
    // SAFETY: nothing else uses the memory.
    unsafe { talc::wasm::new_wasm_arena_allocator(&raw mut MEMORY) }
};

/// Counts the words of a made-up text of `words` words, `rounds` times over; the count of the most
/// frequent one.
#[unsafe(no_mangle)]
pub extern "C" fn most_frequent(words: u32, rounds: u32) -> u32 {
    let mut most = 0;
    for _ in 0..rounds {
        let text: Vec<String> = (0..words).map(|i| format!("word {}", i * i % 97)).collect();
        let mut counts = BTreeMap::new();
        for word in &text {
            *counts.entry(word.as_str()).or_insert(0_u32) += 1;
        }
        most = counts.into_values().max().unwrap_or(0);
    }
    most
}

/// Requests more than the pool has, and then as much as it can serve: 1 if only the second request
/// succeeds.
#[unsafe(no_mangle)]
pub extern "C" fn refuses_what_it_has_not() -> u32 {
    let mut too_much = Vec::<u8>::new();
    let mut much = Vec::<u8>::new();
    let refused = too_much.try_reserve_exact(POOL_BYTES).is_err();
    let served = much.try_reserve_exact(POOL_BYTES / 2).is_ok();
    u32::from(refused && served)
}

/// Bytes in live blocks now.
#[cfg(feature = "evenfit")]
#[unsafe(no_mangle)]
pub extern "C" fn used_bytes() -> usize {
    HEAP.stats().used_bytes
}

/// The most bytes that were in live blocks at once.
#[cfg(feature = "evenfit")]
#[unsafe(no_mangle)]
pub extern "C" fn peak_used_bytes() -> usize {
    HEAP.stats().peak_used_bytes
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
