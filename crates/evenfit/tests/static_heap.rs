//! A `StaticHeap` as this test's own global allocator: no init call, and all of it in `.bss`.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::thread;

use evenfit::{DefaultTiers, SpinLock, Standard, StaticHeap};

const POOL_BYTES: usize = 96 * 1024 * 1024;

#[global_allocator]
#[unsafe(no_mangle)]
static EVENFIT_TEST_HEAP: StaticHeap<POOL_BYTES, SpinLock, DefaultTiers, Standard> =
    StaticHeap::new();

#[test]
fn collections_and_threads_live_in_the_pool() {
    let workers: Vec<_> = (0..4_u64)
        .map(|seed| {
            thread::spawn(move || {
                let mut words = BTreeMap::new();
                for i in 0..5_000_u64 {
                    let key = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 701 + seed;
                    if i % 3 == 0 {
                        words.remove(&key);
                    } else {
                        words.insert(key, format!("{key:0width$}", width = key as usize % 90));
                    }
                }
                words.iter().all(|(key, word)| word.parse() == Ok(*key))
            })
        })
        .collect();
    for worker in workers {
        assert!(worker.join().expect("the worker ran to its end"));
    }
    let stats = EVENFIT_TEST_HEAP.stats();
    assert!(stats.used_bytes > 0, "nothing was served from the pool");
    assert!(stats.pool_bytes > POOL_BYTES / 1000 * 950);
    assert_eq!(stats.refused_frees, 0);
    assert_eq!(EVENFIT_TEST_HEAP.check(), Ok(()));
}

#[test]
fn a_request_beyond_the_pool_gives_null() {
    let layout = Layout::from_size_align(POOL_BYTES, 16).expect("a valid layout");
    // SAFETY: the layout has a size; the pointer is only compared.
    let block = unsafe { EVENFIT_TEST_HEAP.alloc(layout) };
    assert!(block.is_null());
}

/// Reads the sections of this executable: the pool must take no room in the file.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[test]
fn the_pool_stays_in_bss() {
    let exe = std::env::current_exe().expect("this executable has a path");
    let elf = std::fs::read(&exe).expect("this executable can be read");
    assert!(elf.len() < POOL_BYTES, "the file holds the pool");
    let sections = elf::sections(&elf);
    let heap = elf::symbol(&elf, &sections, "EVENFIT_TEST_HEAP");
    assert!(heap.size as usize >= POOL_BYTES);
    let section = &sections[heap.section as usize];
    assert_eq!(section.name, ".bss");
    assert_eq!(section.kind, elf::NOBITS);
}

/// As much of the ELF64 format as the test above needs.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod elf {
    pub const NOBITS: u32 = 8;
    const SYMTAB: u32 = 2;

    pub struct Section {
        pub name: String,
        pub kind: u32,
        offset: usize,
        size: usize,
        link: usize,
    }

    pub struct Symbol {
        pub section: u16,
        pub size: u64,
    }

    fn read<const N: usize>(elf: &[u8], at: usize) -> [u8; N] {
        elf[at..at + N].try_into().expect("N bytes")
    }

    fn half(elf: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(read(elf, at))
    }

    fn word(elf: &[u8], at: usize) -> usize {
        u32::from_le_bytes(read(elf, at)) as usize
    }

    fn long(elf: &[u8], at: usize) -> usize {
        u64::from_le_bytes(read(elf, at)) as usize
    }

    fn text(elf: &[u8], at: usize) -> String {
        let bytes = elf[at..].iter().take_while(|&&b| b != 0).copied().collect();
        String::from_utf8(bytes).expect("a name")
    }

    pub fn sections(elf: &[u8]) -> Vec<Section> {
        let (table, entry, count) =
            (long(elf, 0x28), usize::from(half(elf, 0x3A)), half(elf, 0x3C));
        let header = |index: usize| table + index * entry;
        let names = long(elf, header(usize::from(half(elf, 0x3E))) + 0x18);
        (0..usize::from(count))
            .map(header)
            .map(|at| Section {
                name: text(elf, names + word(elf, at)),
                kind: word(elf, at + 4) as u32,
                offset: long(elf, at + 0x18),
                size: long(elf, at + 0x20),
                link: word(elf, at + 0x28),
            })
            .collect()
    }

    pub fn symbol(elf: &[u8], sections: &[Section], name: &str) -> Symbol {
        let table = sections
            .iter()
            .find(|section| section.kind == SYMTAB)
            .expect("the test is built with symbols");
        let names = sections[table.link].offset;
        (table.offset..table.offset + table.size)
            .step_by(24)
            .find(|&at| text(elf, names + word(elf, at)) == name)
            .map(|at| Symbol { section: half(elf, at + 6), size: long(elf, at + 16) as u64 })
            .expect("the heap has a symbol")
    }
}
