//! The constants and the small codes of the `.evt` format, for every reader and writer of it.
//! `docs/trace-format.md` describes the format. Nothing here needs an allocator or `std`.

/// The first eight bytes of a file. Its line ends reveal a transfer that changed line ends.
pub const MAGIC: [u8; 8] = *b"\x89EVT\r\n\x1a\n";
/// The only version so far.
pub const VERSION: u16 = 1;
/// Length of the file header in bytes.
pub const HEADER_BYTES: usize = 24;
/// Length of a chunk's header in bytes.
pub const CHUNK_HEADER_BYTES: usize = 16;
/// Most bytes one chunk may hold, stored or unpacked.
pub const CHUNK_BYTES_MAX: u32 = 4 << 20;
/// Largest size in bytes a block may have: no machine has a larger address space.
pub const SIZE_MAX: u64 = (1 << 48) - 1;
/// Largest alignment, as a power of two.
pub const ALIGN_LOG2_MAX: u8 = 31;

/// Most ticks by which the clock may advance at once: a step has 64 bits, including its kind.
pub const TIME_STEP_MAX: u64 = u64::MAX >> 3;

/// Chunk kinds. A reader skips an unknown kind of 128 or more and refuses one below.
pub mod chunk {
    /// Events which name blocks by allocation order.
    pub const EVENTS: u8 = 1;
    /// Events which name blocks by address.
    pub const ADDRESSED: u8 = 2;
    /// Call sites and their names.
    pub const SITES: u8 = 3;
    /// Facts about the recording: keys and values.
    pub const FACTS: u8 = 4;
    /// The last chunk: totals.
    pub const END: u8 = 5;
    /// The first of the kinds that a reader may skip.
    pub const SKIPPABLE: u8 = 128;
}

/// The key of the fact whose value says what is missing from the recording.
pub const INCOMPLETE: &str = "incomplete";

/// How a chunk's bytes are stored.
pub mod codec {
    /// As they are.
    pub const STORED: u8 = 0;
    /// One zstd frame.
    pub const ZSTD: u8 = 1;
}

/// Event kinds: the low three bits of an event's first number.
pub mod event {
    /// A block of the default alignment.
    pub const ALLOC: u8 = 0;
    /// A block freed.
    pub const FREE: u8 = 1;
    /// A block resized, perhaps moved.
    pub const REALLOC: u8 = 2;
    /// A block with an alignment of its own, or zeroed.
    pub const ALLOC_WITH: u8 = 3;
    /// The clock advances.
    pub const TIME: u8 = 4;
    /// The events after this are of another thread.
    pub const THREAD: u8 = 5;
    /// The events after this are of another call site.
    pub const SITE: u8 = 6;
}

/// The bit of an `ALLOC_WITH` byte that says "zeroed"; the bits below are log2 of the alignment.
pub const WITH_ZEROED: u8 = 0x40;

/// Most bytes of a LEB128 number.
pub const LEB_BYTES_MAX: usize = 10;

/// Writes `value` as LEB128 into `out` and returns the number of bytes.
pub fn leb128(mut value: u64, out: &mut [u8; LEB_BYTES_MAX]) -> usize {
    let mut len = 0;
    for byte in out.iter_mut() {
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        len += 1;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    len
}

/// Maps small differences of either sign to small numbers: 0, -1, 1, -2, ... to 0, 1, 2, 3, ...
pub const fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub const fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

/// CRC-32 (IEEE 802.3: reflected 0xEDB88320, begun and ended inverted) of `bytes` after `crc`;
/// begin with 0.
pub fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    let (crc, rest) = eights(!crc, bytes);
    let crc = rest.iter().fold(crc, |crc, &byte| {
        let crc = crc ^ byte as u32;
        let crc = NIBBLES[(crc & 15) as usize] ^ (crc >> 4);
        NIBBLES[(crc & 15) as usize] ^ (crc >> 4)
    });
    !crc
}

/// As many eights of bytes as there are, and the rest.
#[cfg(not(feature = "fast-checksum"))]
fn eights(crc: u32, bytes: &[u8]) -> (u32, &[u8]) {
    (crc, bytes)
}

/// As many eights of bytes as there are, and the rest. Each byte's part is looked up in a table for
/// its place (Kounavis, Berry: A systematic approach to building high performance software-based
/// CRC generators, 2005).
#[cfg(feature = "fast-checksum")]
fn eights(mut crc: u32, bytes: &[u8]) -> (u32, &[u8]) {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight) ^ crc as u64;
        let part = |place: usize| PLACES[7 - place][(word >> (8 * place)) as usize & 255];
        crc = part(0) ^ part(1) ^ part(2) ^ part(3) ^ part(4) ^ part(5) ^ part(6) ^ part(7);
    }
    (crc, rest)
}

/// `crc` continued over `bits` zero bits.
const fn zeros(mut crc: u32, bits: u32) -> u32 {
    let mut bit = 0;
    while bit < bits {
        crc = (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1));
        bit += 1;
    }
    crc
}

/// The table for four bits of the CRC at once; its 64 bytes suit a small device.
const NIBBLES: [u32; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = zeros(i as u32, 4);
        i += 1;
    }
    table
};

/// The CRC of each byte followed by 0 to 7 zero bytes: 8 KiB.
#[cfg(feature = "fast-checksum")]
static PLACES: [[u32; 256]; 8] = {
    let mut table = [[0; 256]; 8];
    let mut i = 0;
    while i < 8 * 256 {
        let place = i / 256;
        table[place][i % 256] = zeros((i % 256) as u32, 8 * (place as u32 + 1));
        i += 1;
    }
    table
};

/// The file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Ticks of the clock per second; 0 if no time was recorded.
    pub tick_hz: u64,
    /// Alignment as log2, of every block whose event has none.
    pub default_align_log2: u8,
    /// Addresses are shifted right by this many bits.
    pub address_shift: u8,
}

impl Default for Header {
    /// No time; 8-byte alignment; addresses as they are.
    fn default() -> Self {
        Header { tick_hz: 0, default_align_log2: 3, address_shift: 0 }
    }
}

impl Header {
    /// The header as it stands in the file.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.default_align_log2;
        bytes[11] = self.address_shift;
        bytes[12..20].copy_from_slice(&self.tick_hz.to_le_bytes());
        let crc = crc32(0, &bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// A chunk's header for `stored` bytes that unpack to `raw_len`, checksum included.
pub fn chunk_header(
    kind: u8,
    codec: u8,
    sequence: u16,
    stored: &[u8],
    raw_len: u32,
) -> [u8; CHUNK_HEADER_BYTES] {
    let mut bytes = [0; CHUNK_HEADER_BYTES];
    bytes[0] = kind;
    bytes[1] = codec;
    bytes[2..4].copy_from_slice(&sequence.to_le_bytes());
    bytes[4..8].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&raw_len.to_le_bytes());
    let crc = crc32(crc32(0, &bytes[..12]), stored);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}
