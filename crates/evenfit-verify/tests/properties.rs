//! Random operations, correct and wrong ones, against the model: any pool, any region.

use evenfit_verify::subject::{
    AlignedBlocks, AlignedSlabs, Blocks, CompactBlocks, Slabs, WideBlocks, WideSlabs,
};
use evenfit_verify::{Bytes, Config, Driver, Op, Placement, Subject};
use proptest::prelude::*;

fn run<S: Subject>(bytes: &[u8], len_bytes_max: usize) {
    let mut bytes = Bytes::new(bytes);
    let config = Config::decode(&mut bytes, len_bytes_max);
    Driver::<S>::run(config, &mut bytes);
}

fn script(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 8..len)
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn any_operations_in_any_pool_standard(bytes in script(2000)) {
        run::<Blocks>(&bytes, 128 << 10);
    }

    #[test]
    fn any_operations_in_any_pool_standard_slabs(bytes in script(2000)) {
        run::<Slabs>(&bytes, 128 << 10);
    }

    #[test]
    fn any_operations_in_any_pool_aligned(bytes in script(2000)) {
        run::<AlignedBlocks>(&bytes, 128 << 10);
    }

    #[test]
    fn any_operations_in_any_pool_aligned_slabs(bytes in script(2000)) {
        run::<AlignedSlabs>(&bytes, 128 << 10);
    }

    #[test]
    fn any_operations_in_any_pool_wide(bytes in script(2000)) {
        run::<WideBlocks>(&bytes, 128 << 10);
    }

    #[test]
    fn any_operations_in_any_pool_wide_slabs(bytes in script(2000)) {
        run::<WideSlabs>(&bytes, 128 << 10);
    }

    #[test]
    fn any_operations_in_any_pool_compact(bytes in script(2000)) {
        run::<CompactBlocks>(&bytes, 128 << 10);
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn long_runs_standard(bytes in script(40_000)) {
        run::<Blocks>(&bytes, 1 << 20);
    }

    #[test]
    fn long_runs_standard_slabs(bytes in script(40_000)) {
        run::<Slabs>(&bytes, 1 << 20);
    }

    #[test]
    fn long_runs_aligned(bytes in script(40_000)) {
        run::<AlignedBlocks>(&bytes, 1 << 20);
    }

    #[test]
    fn long_runs_aligned_slabs(bytes in script(40_000)) {
        run::<AlignedSlabs>(&bytes, 1 << 20);
    }

    #[test]
    fn long_runs_wide(bytes in script(40_000)) {
        run::<WideBlocks>(&bytes, 1 << 20);
    }

    #[test]
    fn long_runs_wide_slabs(bytes in script(40_000)) {
        run::<WideSlabs>(&bytes, 1 << 20);
    }

    #[test]
    fn long_runs_compact(bytes in script(40_000)) {
        run::<CompactBlocks>(&bytes, 500 << 10);
    }
}

proptest! {
    #![proptest_config(cases(5))]

    #[test]
    fn pools_of_up_to_64_mib(bytes in script(1500), len_bytes in 1_usize << 20..=64 << 20, slack in 0_usize..64) {
        let config = Config { len_bytes, placement: Placement::AfterGuard(slack) };
        Driver::<Blocks>::run(config, &mut Bytes::new(&bytes));
        Driver::<Slabs>::run(config, &mut Bytes::new(&bytes));
    }
}

/// The heaps of the tests above do have slabs.
fn small_requests_are_served_from_slabs<S: Subject>(slabs_min: usize) {
    let config = Config { len_bytes: 64 << 10, placement: Placement::AfterGuard(0) };
    let mut driver = Driver::<S>::new(config).unwrap();
    for size in 1..=200 {
        driver.apply(&Op::Allocate(evenfit_verify::op::layout(size, 8)));
    }
    driver.check();
    let states = driver.pieces().map(|piece| piece.state);
    let slabs = states.filter(|state| matches!(state, evenfit::BlockState::Slab { .. })).count();
    assert!(slabs >= slabs_min, "{slabs} slabs");
    driver.finish();
}

#[test]
fn small_requests_are_served_from_slabs_in_each_geometry() {
    small_requests_are_served_from_slabs::<Slabs>(19);
    small_requests_are_served_from_slabs::<AlignedSlabs>(12);
    small_requests_are_served_from_slabs::<WideSlabs>(6);
}

/// Every short length of a region, at every address modulo a cache line: a heap is built and used a
/// little, or refused with a length that suffices.
fn every_small_region<S: Subject>() {
    let script: Vec<u8> =
        (0..240_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    for slack in 0..64 {
        let mut built_before = false;
        for len_bytes in 0..300 {
            let config = Config { len_bytes, placement: Placement::AfterGuard(slack) };
            match Driver::<S>::new(config) {
                Ok(mut driver) => {
                    built_before = true;
                    let mut bytes = Bytes::new(&script[len_bytes % 100..]);
                    while len_bytes % 7 == 0 && !bytes.is_empty() {
                        let op = Op::decode(&mut bytes, driver.model().pool_bytes());
                        driver.apply(&op);
                    }
                    driver.finish();
                }
                Err(evenfit::InitError::RegionTooSmall { len_bytes: said, min_bytes }) => {
                    assert_eq!(said, len_bytes);
                    assert!(min_bytes > len_bytes, "{len_bytes} bytes refused, {min_bytes} asked");
                    assert!(min_bytes < 100, "{min_bytes} bytes asked for one block");
                    assert!(!built_before, "a longer region was refused");
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(built_before);
    }
}

#[test]
fn every_small_region_standard() {
    every_small_region::<Blocks>();
}

#[test]
fn every_small_region_aligned() {
    every_small_region::<AlignedBlocks>();
}

#[test]
fn every_small_region_wide() {
    every_small_region::<WideBlocks>();
}

#[test]
fn every_small_region_compact() {
    every_small_region::<CompactBlocks>();
}

#[test]
fn a_region_too_large_for_the_links_is_refused_with_one_that_is_not() {
    a_region_too_large::<CompactBlocks>();
}

fn a_region_too_large<S: Subject>() {
    let too_large = Config { len_bytes: 1 << 20, placement: Placement::AfterGuard(0) };
    let Err(evenfit::InitError::RegionTooLarge { len_bytes, max_bytes }) =
        Driver::<S>::new(too_large)
    else {
        panic!("a MiB has more than 2^16 granules of 8 bytes");
    };
    assert_eq!(len_bytes, 1 << 20);
    let largest = Config { len_bytes: max_bytes, placement: Placement::AfterGuard(0) };
    let script: Vec<u8> =
        (0..6000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    let Ok(driver) = Driver::<S>::new(largest) else {
        panic!("{max_bytes} bytes were said to be fine");
    };
    assert!(driver.stats().pool_bytes > 500 << 10);
    drop(driver);
    assert!(Driver::<S>::run(largest, &mut Bytes::new(&script)) > 500);
}

proptest! {
    #![proptest_config(cases(400))]

    /// Each of the shared heaps and budgets, by one thread and by three.
    #[test]
    fn any_use_of_shared_heaps(which in 0..evenfit_verify::shared::HEAPS, bytes in script(3000)) {
        evenfit_verify::shared::run(&[&[which], bytes.as_slice()].concat());
    }

    /// Words that importers know, in any order, and any bytes between.
    #[test]
    fn any_text_for_any_importer(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        for (name, target) in evenfit_verify::fuzz::TARGETS {
            if ["csv", "heaptrack", "esp_idf", "zephyr"].contains(name) {
                target(&text);
            }
        }
    }
}

/// A word of one of the importers' languages, a number, or a byte.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 38] = [
        "\n",
        ",",
        " ",
        "\na ",
        "\n+ ",
        "\n- ",
        "\nt ",
        "\ni ",
        "\ns ",
        "\nc ",
        "\nR ",
        "\nI ",
        "\nX ",
        "\nv ",
        "alloc,",
        "free,",
        "realloc,",
        "\nalloc,",
        "\nfree,1",
        "\nalloc,1,8",
        "bytes (@ 0x",
        ", Internal) allocated CPU ",
        " ccount 0x",
        " caller 0x",
        ":0x",
        " freed by ",
        "\n   32 bytes (@ 0x3ffaf214) allocated CPU 0 ccount 0x1 caller 0x4\n",
        "\n[00:00:01.000,000] <inf> app: ",
        "Memory allocated at 0x",
        "Memory freed at 0x",
        ", size ",
        "\nHeap 0x20000b80, alloc 0x20001b00, size 16",
        "\nHeap 0x20000b80, free 0x20001b00",
        "heap ALLOC #4 size=24 ptr=0x",
        "heap FREE  #5 size=8 ptr=0x",
        "====== Heap Trace: 2 records",
        "18446744073709551615",
        "ffffffffffffffff",
    ];
    prop_oneof![
        6 => (0..WORDS.len()).prop_map(|word| WORDS[word].as_bytes().to_vec()),
        3 => (0_u32..300).prop_map(|number| format!("{number:x}").into_bytes()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}
