//! The page: one file with its numbers as JSON, the map's rectangles compressed, style and script.

use std::io::Write as _;

use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::Summary;
use super::history::{Column, History, Span};
use crate::output::InputError;

const HTML: &str = include_str!("assets/report.html");
const CSS: &str = include_str!("assets/report.css");
const SCRIPT: &str = include_str!("assets/report.js");

/// The unit of all offsets and lengths: half a granule, since slots of slabs are multiples of it.
pub(super) const UNIT_BYTES: u64 = 8;

/// The whole page.
///
/// # Errors
/// The numbers can't be written as JSON.
pub(super) fn of(
    summary: &Summary,
    history: &History,
    shown: &[Span],
) -> Result<String, InputError> {
    let json = serde_json::to_string(summary).map_err(|e| InputError(e.to_string()))?;
    let spans = packed(&spans(shown));
    let columns = packed(&columns(history));
    // In a script element only its own end needs escaping.
    let json = json.replace('<', "\\u003c");
    let mut page = HTML.to_owned();
    for (mark, text) in [
        ("/*CSS*/", CSS),
        ("/*SUMMARY*/", &json),
        ("/*SPANS*/", &spans),
        ("/*COLUMNS*/", &columns),
        ("/*SCRIPT*/", SCRIPT),
    ] {
        page = page.replacen(mark, text, 1);
    }
    let title = escaped(&format!("{} in {}", summary.trace, summary.pool_human));
    Ok(page.replacen("<!--TITLE-->", &title, 1))
}

/// Text, escaped for HTML and SVG.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn leb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Seven columns one after the other, since each compresses better alone: start (difference),
/// lifetime, offset (difference), units, bytes beyond the request, id (difference), site.
fn spans(spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spans.len() * 8);
    let mut delta = |field: &dyn Fn(&Span) -> i64| {
        let mut last = 0;
        for span in spans {
            leb(&mut out, zigzag(field(span) - last));
            last = field(span);
        }
    };
    delta(&|span| i64::from(span.start));
    delta(&|span| (span.place.offset_bytes as u64 / UNIT_BYTES) as i64);
    delta(&|span| i64::from(span.id));
    for span in spans {
        leb(&mut out, u64::from(span.end - span.start));
    }
    for span in spans {
        leb(&mut out, span.place.len_bytes as u64 / UNIT_BYTES);
    }
    for span in spans {
        leb(&mut out, (span.place.len_bytes as u64).saturating_sub(span.place.size_bytes));
    }
    for span in spans {
        leb(&mut out, u64::from(span.site));
    }
    out
}

/// Six columns in the same way. The last is the share of all requests that the largest free block
/// would serve, in millionths.
fn columns(history: &History) -> Vec<u8> {
    let mut out = Vec::new();
    let fields: [&dyn Fn(&Column) -> u64; 6] = [
        &|column| column.live_bytes,
        &|column| column.used_bytes,
        &|column| column.live_blocks,
        &|column| column.reach_bytes,
        &|column| column.largest_free_bytes,
        &|column| (history.share_served(column.largest_free_bytes) * 1e6).floor() as u64,
    ];
    for field in fields {
        let seen = history.columns.iter().filter(|column| column.seen);
        seen.for_each(|column| leb(&mut out, field(column)));
    }
    out
}

/// Compressed by deflate, and encoded in base 64.
fn packed(bytes: &[u8]) -> String {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    // Writing to a vector can't fail.
    let _ = encoder.write_all(bytes);
    BASE64.encode(&encoder.finish().unwrap_or_default())
}

/// Bytes in base 64, for pictures within pictures.
pub(in crate::commands) fn data_url(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_of_either_sign_are_small() {
        assert_eq!([0, -1, 1, -2].map(zigzag), [0, 1, 2, 3]);
        let mut out = Vec::new();
        leb(&mut out, 300);
        assert_eq!(out, [0xAC, 2]);
    }
}
