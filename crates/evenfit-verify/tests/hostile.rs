//! Pools written to behind the heap's back: see `evenfit_verify::hostile`.

use evenfit_verify::Subject;
use evenfit_verify::hostile::Hostile;
use evenfit_verify::subject::{
    AlignedBlocks, AlignedSlabs, Blocks, CompactBlocks, Slabs, WideBlocks, WideSlabs,
};
use evenfit_verify::{Bytes, Config};
use proptest::prelude::*;

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
        late_writer::<Blocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_standard(bytes in script()) {
        garbage::<Blocks>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_standard_slabs(bytes in script()) {
        late_writer::<Slabs>(&bytes, 32 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_standard_slabs(bytes in script()) {
        garbage::<Slabs>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_aligned(bytes in script()) {
        late_writer::<AlignedBlocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_aligned(bytes in script()) {
        garbage::<AlignedBlocks>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_aligned_slabs(bytes in script()) {
        late_writer::<AlignedSlabs>(&bytes, 32 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_aligned_slabs(bytes in script()) {
        garbage::<AlignedSlabs>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_wide(bytes in script()) {
        late_writer::<WideBlocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_wide(bytes in script()) {
        garbage::<WideBlocks>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_wide_slabs(bytes in script()) {
        late_writer::<WideSlabs>(&bytes, 32 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_wide_slabs(bytes in script()) {
        garbage::<WideSlabs>(&bytes);
    }

    #[test]
    fn a_late_writer_harms_no_live_block_compact(bytes in script()) {
        late_writer::<CompactBlocks>(&bytes, 8 << 10);
    }

    #[test]
    fn garbage_gets_an_answer_compact(bytes in script()) {
        garbage::<CompactBlocks>(&bytes);
    }
}
