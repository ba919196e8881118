//! Sizes as people write and read them: `16MiB`, `4096`, `0x1000`, `1.5GiB`, `64k`.

use std::fmt;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError {
    text: String,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    NoNumber,
    Negative,
    Unit(String),
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match &self.why {
            Why::NoNumber => write!(f, "'{text}' does not start with a number")?,
            Why::Negative => write!(f, "'{text}' is less than nothing")?,
            Why::Unit(unit) => write!(f, "'{unit}' is no unit of size")?,
            Why::TooLarge => write!(f, "'{text}' is more than this machine can address")?,
        }
        f.write_str(
            "; sizes read 4096, 0x1000, 64k, 16MiB or 1.5GiB (kB, MB, GB are powers of 1000)",
        )
    }
}

impl std::error::Error for SizeError {}

/// Bytes in a text: a number, perhaps with a fraction, and perhaps a unit.
///
/// Or a hexadecimal number of bytes behind `0x`. `k`, `KiB`, `M`, `MiB`, .. `TiB` are powers of
/// 1024, `kB`, `MB`, .. `TB` powers of 1000; capitals don't matter. A fraction of a byte is
/// dropped.
///
/// # Errors
/// What was wrong and how a size reads.
pub fn parse(text: &str) -> Result<usize, SizeError> {
    let error = |why| SizeError { text: text.to_owned(), why };
    let trimmed = text.trim();
    if trimmed.starts_with('-') && trimmed.len() > 1 && trimmed.as_bytes()[1].is_ascii_digit() {
        return Err(error(Why::Negative));
    }
    if let Some(digits) = trimmed.strip_prefix("0x").or_else(|| trimmed.strip_prefix("0X")) {
        let digits = digits.replace('_', "");
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(error(Why::NoNumber));
        }
        let bytes = usize::from_str_radix(&digits, 16).ok();
        let bytes = bytes.filter(|&bytes| isize::try_from(bytes).is_ok());
        return bytes.ok_or_else(|| error(Why::TooLarge));
    }
    let number_len = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(number_len);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.replace('_', "");
    if whole.is_empty() || fraction.contains(['.', '_']) {
        return Err(error(Why::NoNumber));
    }
    let unit = unit.trim();
    let scale = scale(unit).ok_or_else(|| error(Why::Unit(unit.to_owned())))?;
    let whole: u128 = whole.parse().map_err(|_| error(Why::TooLarge))?;
    whole
        .checked_mul(scale)
        .and_then(|bytes| bytes.checked_add(fraction_of(fraction, scale)))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .ok_or_else(|| error(Why::TooLarge))
}

fn scale(unit: &str) -> Option<u128> {
    let unit = unit.to_ascii_lowercase();
    let (prefix, base) = match unit.as_str() {
        "" | "b" | "byte" | "bytes" => return Some(1),
        unit if unit.ends_with("ib") => (&unit[..unit.len() - 2], 1024u128),
        unit if unit.ends_with('b') => (&unit[..unit.len() - 1], 1000),
        unit => (unit, 1024),
    };
    let power = ["k", "m", "g", "t"].iter().position(|&p| p == prefix)?;
    Some(base.pow(power as u32 + 1))
}

/// `scale` times the decimal fraction whose digits are `digits`. Digits beyond the 18th can't
/// matter to a byte of a scale below 10^18.
fn fraction_of(digits: &str, scale: u128) -> u128 {
    let digits = &digits[..digits.len().min(18)];
    let numerator: u128 = digits.parse().unwrap_or(0);
    scale * numerator / 10u128.pow(digits.len() as u32)
}

/// A count with its thousands set apart: `11,070,794`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and what is counted: `1 block`, `27,877 blocks`.
pub fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// A size in the largest binary unit that leaves at least one: `10.6 MiB`.
pub fn human(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return counted(bytes, "byte");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value.fract() == 0.0 {
        format!("{value} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// A size both ways, `11,070,794 bytes (10.6 MiB)`, or once where both are the same.
pub fn both(bytes: u64) -> String {
    if bytes < 1024 { human(bytes) } else { format!("{} bytes ({})", grouped(bytes), human(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let cases: [(&str, u64); 21] = [
            ("4096", 4096),
            ("0", 0),
            ("0x10000", 65_536),
            ("0Xff", 255),
            ("0x1_0000", 65_536),
            (" 16 MiB ", 16 << 20),
            ("16MiB", 16 << 20),
            ("16mib", 16 << 20),
            ("16M", 16 << 20),
            ("64k", 64 << 10),
            ("64K", 64 << 10),
            ("64kB", 64_000),
            ("2MB", 2_000_000),
            ("1.5GiB", 3 << 29),
            ("1.", 1),
            ("0.5k", 512),
            ("1.3KiB", 1331),
            ("1_000_000", 1_000_000),
            ("12b", 12),
            ("1TiB", 1 << 40),
            ("1.000000000000000000000000000001k", 1024),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text).map(|n| n as u64), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_reason() {
        let cases = [
            ("", "number"),
            ("MiB", "number"),
            ("-1", "less than nothing"),
            ("-5MiB", "less than nothing"),
            ("--json", "number"),
            ("0x", "number"),
            ("0x12G", "number"),
            ("0xffffffffffffffffff", "address"),
            (".5k", "number"),
            ("1.2.3", "number"),
            ("16Mx", "'Mx' is no unit"),
            ("16 elephants", "'elephants' is no unit"),
            ("ib", "number"),
            ("1ib", "no unit"),
            ("1é", "no unit"),
            ("99999999999999999999", "address"),
            ("9999999999999999999999999999999999999999999999", "address"),
            ("8388608TiB", "address"),
        ];
        for (text, part) in cases {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(message.contains("16MiB"), "{text}: {message}");
        }
    }

    #[test]
    fn numbers_are_grouped_and_sizes_shortened() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(11_070_794), "11,070,794");
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(counted(0, "block"), "0 blocks");
        assert_eq!(human(1023), "1,023 bytes");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(16 << 20), "16 MiB");
        assert_eq!(human((1 << 20) - 1), "1.0 MiB");
        assert_eq!(human(1 << 50), "1024 TiB");
        assert_eq!(both(100), "100 bytes");
        assert_eq!(both(2048), "2,048 bytes (2 KiB)");
    }
}
