//! Pools written to behind the heap's back: see `evenfit_verify::hostile`.

use evenfit_verify::hostile::Hostile;
use evenfit_verify::subject::{Blocks, CompactBlocks, Slabs};
use evenfit_verify::{Bytes, Config};
use proptest::prelude::*;

type Large = Blocks;
type Small = CompactBlocks;

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
    fn garbage_gets_an_answer_compact(bytes in script()) {
        let mut bytes = Bytes::new(&bytes);
        Hostile::<Small>::garbage(Config::decode(&mut bytes, 64 << 10), &mut bytes);
    }
}
