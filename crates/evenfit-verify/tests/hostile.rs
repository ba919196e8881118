//! Pools written to behind the heap's back: see `evenfit_verify::hostile`.

use evenfit_verify::Subject;
use evenfit_verify::hostile::Hostile;
use evenfit_verify::subject::{Blocks, CompactBlocks, Slabs, next};
use evenfit_verify::{Bytes, Config};
use proptest::prelude::*;

type Large = Blocks;
type Small = CompactBlocks;

fn late_writer<S: Subject>(bytes: &[u8], len_bytes_max: usize) {
    let mut bytes = Bytes::new(bytes);
    Hostile::<S>::late_writer(Config::decode(&mut bytes, len_bytes_max), &mut bytes);
}

fn garbage<S: Subject>(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    Hostile::<S>::garbage(Config::decode(&mut bytes, 64 << 10), &mut bytes);
}

fn script() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 8..600)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn a_late_writer_harms_no_live_block_standard(bytes in script()) {
        let mut bytes = Bytes::new(&bytes);
        Hostile::<Large>::late_writer(Config::decode(&mut bytes, 8 << 10), &mut bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_slabs(bytes in script()) {
        let mut bytes = Bytes::new(&bytes);
        Hostile::<Slabs>::late_writer(Config::decode(&mut bytes, 32 << 10), &mut bytes);
    }

    #[test]
    fn garbage_gets_an_answer_slabs(bytes in script()) {
        let mut bytes = Bytes::new(&bytes);
        Hostile::<Slabs>::garbage(Config::decode(&mut bytes, 64 << 10), &mut bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_compact(bytes in script()) {
        let mut bytes = Bytes::new(&bytes);
        Hostile::<Small>::late_writer(Config::decode(&mut bytes, 8 << 10), &mut bytes);
    }

    #[test]
    fn garbage_gets_an_answer_standard(bytes in script()) {
        let mut bytes = Bytes::new(&bytes);
        Hostile::<Large>::garbage(Config::decode(&mut bytes, 64 << 10), &mut bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_next_standard(bytes in script()) {
        late_writer::<next::Blocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_next_standard(bytes in script()) {
        garbage::<next::Blocks>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_next_slabs(bytes in script()) {
        late_writer::<next::Slabs>(&bytes, 32 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_next_slabs(bytes in script()) {
        garbage::<next::Slabs>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_next_aligned(bytes in script()) {
        late_writer::<next::AlignedBlocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_next_aligned(bytes in script()) {
        garbage::<next::AlignedBlocks>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_next_aligned_slabs(bytes in script()) {
        late_writer::<next::AlignedSlabs>(&bytes, 32 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_next_aligned_slabs(bytes in script()) {
        garbage::<next::AlignedSlabs>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_next_wide(bytes in script()) {
        late_writer::<next::WideBlocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_next_wide(bytes in script()) {
        garbage::<next::WideBlocks>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_next_wide_slabs(bytes in script()) {
        late_writer::<next::WideSlabs>(&bytes, 32 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_next_wide_slabs(bytes in script()) {
        garbage::<next::WideSlabs>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_next_compact(bytes in script()) {
        late_writer::<next::CompactBlocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_next_compact(bytes in script()) {
        garbage::<next::CompactBlocks>(&bytes);
    }

    #[test]
    fn garbage_gets_an_answer_compact(bytes in script()) {
        let mut bytes = Bytes::new(&bytes);
        Hostile::<Small>::garbage(Config::decode(&mut bytes, 64 << 10), &mut bytes);
    }
}
