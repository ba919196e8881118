//! Imports events that a device printed into a log, wherever in it they begin. A line shows which
//! of the formats it is; all lines before are skipped.

use std::io::BufRead;

use crate::builder::TraceBuilder;
use crate::lines::{self, Accept, Bounded, Lines, Misfit};
use crate::zephyr::Call;
use crate::{Fault, Limits, Trace, TraceError, esp_idf, system_view, zephyr};

const PIECE_BYTES_MAX: usize = 64 << 10;

/// Reads what can be read, and the first fault.
pub(crate) fn read(
    input: &mut dyn BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let mut lines = Lines::new(input, PIECE_BYTES_MAX, Accept::Anything);
    let mut builder = TraceBuilder::default();
    let mut log = Log::default();
    let fault = lines::import(&mut lines, &mut log, &mut builder, limits).err();
    match log.format {
        Format::Unknown => {
            return Err(fault.unwrap_or_else(|| TraceError::new(Fault::NotATrace, 0)));
        }
        Format::EspIdf(importer) => importer.finish(&mut builder),
        Format::SystemView(importer) => importer.finish(&mut builder),
        Format::Zephyr(importer) => {
            log.unread.into_iter().for_each(|why| builder.incomplete(why));
            importer.finish(log.unknown_frees, log.dropped, &mut builder);
        }
    }
    Ok((builder.finish(), fault))
}

#[derive(Default)]
enum Format {
    #[default]
    Unknown,
    EspIdf(esp_idf::Importer),
    SystemView(system_view::Importer),
    Zephyr(zephyr::Importer),
}

#[derive(Default)]
struct Log {
    format: Format,
    /// Zephyr's frees before its first allocation.
    unknown_frees: u64,
    /// The fault of the first line before that may have been an event.
    unread: Option<String>,
    /// Messages that Zephyr's logging dropped.
    dropped: u64,
}

impl Log {
    /// Whether this line shows which format it is. Lines like those of Zephyr's listeners may also
    /// be in other logs, so the two other formats are tried first.
    fn know(&mut self, line: &str, builder: &mut Bounded) {
        if matches!(self.format, Format::EspIdf(_) | Format::SystemView(_)) {
            return;
        }
        let (known, header) = if esp_idf::begins(line) {
            (Format::EspIdf(Default::default()), esp_idf::HEADER)
        } else if system_view::begins(line) {
            (Format::SystemView(Default::default()), system_view::HEADER)
        } else if matches!(self.format, Format::Zephyr(_)) {
            return;
        } else {
            match Call::of(line) {
                Ok(Some(Call::Alloc { .. })) => {
                    (Format::Zephyr(Default::default()), zephyr::HEADER)
                }
                Ok(Some(Call::Free { .. })) => {
                    self.unknown_frees += 1;
                    return;
                }
                Ok(None) => return,
                Err(misfit) => {
                    let why = || format!("a line before the first allocation: {}", misfit.fault);
                    self.unread.get_or_insert_with(why);
                    return;
                }
            }
        };
        self.format = known;
        *builder.builder = TraceBuilder::new(header);
    }
}

impl lines::Importer for Log {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Misfit> {
        self.dropped = self.dropped.saturating_add(zephyr::dropped(line));
        self.know(line, builder);
        match &mut self.format {
            Format::Unknown => Ok(()),
            Format::EspIdf(importer) => importer.line(line, builder),
            Format::SystemView(importer) => importer.line(line, builder),
            Format::Zephyr(importer) => importer.line(line, builder),
        }
    }

    fn end(&mut self, builder: &mut Bounded) -> Result<(), Misfit> {
        match &mut self.format {
            Format::EspIdf(importer) => importer.end(builder),
            Format::SystemView(importer) => importer.end(builder),
            Format::Unknown | Format::Zephyr(_) => Ok(()),
        }
    }
}
