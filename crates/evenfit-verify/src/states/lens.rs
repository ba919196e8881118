//! Lengths of blocks at which the heap takes different paths.

use evenfit::Geometry;

/// Lengths of blocks in granules: the shortest three, whose marks of start and end coincide; the
/// last short ones; the first long ones; and longer ones.
pub(crate) fn lens<G: Geometry>() -> [usize; 11] {
    let long = G::SHORT_END;
    [2, 3, 4, 5, 9, long - 2, long - 1, long, long + 1, 3 * long + 7, 10 * long + 9]
}

/// The shortest length whose bin is in this word of the bitmap of filled bins; longer than any
/// block if the bitmap has no such word.
pub(crate) fn word_start<G: Geometry>(word: usize) -> usize {
    let bins = word * usize::BITS as usize - G::SHORT_END;
    1 << (bins / 4 + G::SHORT_END.ilog2() as usize)
}

/// Whether blocks of these lengths are in one bin.
pub(crate) fn share_bin<G: Geometry>(a: usize, b: usize) -> bool {
    let quarter = |len: usize| (len.ilog2(), len >> (len.ilog2() - 2));
    a == b || a >= G::SHORT_END && b >= G::SHORT_END && quarter(a) == quarter(b)
}
