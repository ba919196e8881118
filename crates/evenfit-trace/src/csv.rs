//! Traces as comma-separated values.
//!
//! The first line names the columns, `op` first; `block` is the other that must be there. One line
//! an event:
//!
//! - `op`: `alloc`, `free` or `realloc`
//! - `block`: which block, by any word without commas: its number, its address
//! - `to`: the block's word after a reallocation; the same if empty
//! - `size`: bytes, of an allocation or reallocation
//! - `align`: bytes, a power of two; 8 if empty
//! - `zeroed`: 1 or 0; 0 if empty
//! - `time_ns`: nanoseconds since the beginning; as before if empty
//! - `thread`, `site`: numbers; 0 if empty
//!
//! A line that begins with `#` is a comment; `# incomplete: ` and a sentence say what is missing
//! from the recording.
//!
//! A word may be an address that is used again, so the same errors are repaired as in recordings by
//! address.

use std::io::{self, BufRead, Write};
use std::str::FromStr;

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Accept, Bounded, Lines, Misfit, NANOSECONDS_HZ, wrong};
use crate::places::Places;
use crate::{Event, Fault, Limits, Record, Trace, TraceError};

const COLUMNS: [&str; 9] =
    ["op", "block", "to", "size", "align", "zeroed", "time_ns", "thread", "site"];
const LINE_BYTES_MAX: usize = 4096;
const INCOMPLETE: &str = "# incomplete: ";
/// Most bytes of a sentence in a comment, so that its line can be read again.
const SENTENCE_CHARACTERS_MAX: usize = 800;

/// Whether these first bytes are those of a CSV trace.
pub(crate) fn is_csv(start: &[u8]) -> bool {
    start.starts_with(b"op,")
}

/// Reads what can be read, and the first fault.
pub(crate) fn read(
    input: &mut dyn BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let mut lines = Lines::new(input, LINE_BYTES_MAX, Accept::Text);
    let mut builder = TraceBuilder::default();
    let mut importer = Importer::default();
    let fault = lines::import(&mut lines, &mut importer, &mut builder, limits).err();
    match fault {
        Some(fault) if importer.columns.is_none() => return Err(fault),
        _ => {}
    }
    builder.repairs(importer.places.repairs);
    importer.missing.into_iter().for_each(|why| builder.incomplete(why));
    Ok((builder.finish(), fault))
}

/// Which cell of a line belongs to which column.
struct Columns {
    cells: usize,
    of: [Option<usize>; COLUMNS.len()],
}

impl Columns {
    fn new(names: &str) -> Result<Self, Misfit> {
        let mut columns = Columns { cells: 0, of: [None; COLUMNS.len()] };
        for (cell, name) in names.split(',').map(str::trim).enumerate() {
            let column = COLUMNS.iter().position(|&known| known == name);
            let column = column.ok_or_else(|| {
                wrong(name, format!("unknown column '{name}'; known are {}", COLUMNS.join(", ")))
            })?;
            if columns.of[column].replace(cell).is_some() {
                return Err(wrong(name, format!("column '{name}' stands twice")));
            }
            columns.cells = cell + 1;
        }
        match columns.has("block") {
            true => Ok(columns),
            false => Err(wrong(names, "there is no column 'block'")),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.at(name).is_some()
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.of[COLUMNS.iter().position(|&known| known == name)?]
    }
}

/// One line's cells.
struct Row<'a> {
    columns: &'a Columns,
    cells: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn new(columns: &'a Columns, line: &'a str) -> Result<Self, Misfit> {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != columns.cells {
            let why = format!(
                "{} cells where the first line names {} columns",
                cells.len(),
                columns.cells
            );
            // The first superfluous cell, or the end.
            return Err(wrong(cells.get(columns.cells).unwrap_or(&&line[line.len()..]), why));
        }
        Ok(Row { columns, cells })
    }

    /// The cell of a column, empty or not; `None` where the column isn't there.
    fn place(&self, name: &str) -> Option<&'a str> {
        self.columns.at(name).map(|at| self.cells[at])
    }

    /// The cell of a column; `None` where it is empty or the column isn't there.
    fn cell(&self, name: &str) -> Option<&'a str> {
        self.place(name).filter(|cell| !cell.is_empty())
    }

    fn needed(&self, name: &str) -> Result<&'a str, Misfit> {
        let place = self.place(name).unwrap_or(self.cells[0]);
        self.cell(name).ok_or_else(|| wrong(place, format!("'{name}' is empty")))
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Misfit> {
        let parse = |cell: &str| {
            cell.parse()
                .map_err(|_| wrong(cell, format!("{name}: '{cell}' is no number that fits")))
        };
        self.cell(name).map(parse).transpose()
    }

    fn size(&self) -> Result<u64, Misfit> {
        self.needed("size")?;
        Ok(self.number("size")?.unwrap_or_default())
    }

    fn align_log2(&self) -> Result<u8, Misfit> {
        let align: u64 = self.number("align")?.unwrap_or(1 << Header::default().default_align_log2);
        let cell = self.cell("align").unwrap_or_default();
        match align.is_power_of_two() {
            true => Ok(align.trailing_zeros() as u8),
            false => Err(wrong(cell, format!("align: {align} is no power of two"))),
        }
    }

    fn zeroed(&self) -> Result<bool, Misfit> {
        match self.cell("zeroed") {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(wrong(other, format!("zeroed: '{other}' is neither 0 nor 1"))),
        }
    }

    /// The cell because of which an event is refused.
    fn blamed(&self, fault: Fault) -> Misfit {
        let name = match fault {
            Fault::Size(_) | Fault::LiveBytes => "size",
            Fault::Align(_) => "align",
            Fault::ClockBack => "time_ns",
            _ => "op",
        };
        fault.at(self.place(name).unwrap_or(self.cells[0]))
    }
}

#[derive(Default)]
struct Importer {
    /// Named by the first line.
    columns: Option<Columns>,
    places: Places<String>,
    time: u64,
    missing: Vec<String>,
    missing_bytes: u64,
}

impl lines::Importer for Importer {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Misfit> {
        let Some(columns) = &self.columns else {
            let columns = Columns::new(line)?;
            let tick_hz = if columns.has("time_ns") { NANOSECONDS_HZ } else { 0 };
            *builder.builder = TraceBuilder::new(Header { tick_hz, ..Header::default() });
            self.columns = Some(columns);
            return Ok(());
        };
        if line.starts_with('#') {
            if let Some(why) = line.strip_prefix(INCOMPLETE) {
                self.missing_bytes += line.len() as u64;
                builder.room_for_names(self.missing_bytes)?;
                self.missing.push(why.to_owned());
            }
            return Ok(());
        }
        let row = Row::new(columns, line)?;
        if let (Some(time), Some(text)) = (row.number("time_ns")?, row.cell("time_ns")) {
            self.time = lines::clock(time, NANOSECONDS_HZ, "time_ns", text)?;
        }
        let (time, thread) = (self.time, row.number("thread")?.unwrap_or(0));
        let site = row.number("site")?.unwrap_or(0);
        let (next, block) = (builder.builder.allocations(), row.needed("block")?);
        let (before, event) = match row.needed("op")? {
            "alloc" => {
                let (size, align_log2, zeroed) = (row.size()?, row.align_log2()?, row.zeroed()?);
                self.places
                    .settle(block.to_owned(), Event::Alloc { id: next, size, align_log2, zeroed })
            }
            "free" => match self.places.free(&block.to_owned()) {
                Some(event) => (None, event),
                None => return Ok(()),
            },
            "realloc" => {
                let to = row.cell("to").unwrap_or(block).to_owned();
                self.places.realloc(&block.to_owned(), to, row.size()?, next, row.align_log2()?)
            }
            other => {
                return Err(wrong(other, format!("op: '{other}' is none of alloc, free, realloc")));
            }
        };
        for event in before.into_iter().chain([event]) {
            let record = Record { event, time, thread, site };
            builder.push(record).map_err(|fault| row.blamed(fault))?;
        }
        Ok(())
    }
}

/// Writes the columns that have values.
pub(crate) fn write(trace: &Trace, out: impl Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let hz = trace.header().tick_hz;
    let threads = trace.records().any(|record| record.thread != 0);
    let sites = trace.records().any(|record| record.site != 0);
    let extra = [(hz != 0, ",time_ns"), (threads, ",thread"), (sites, ",site")];
    let names: String = extra.iter().filter(|column| column.0).map(|column| column.1).collect();
    writeln!(out, "op,block,size,align,zeroed{names}")?;
    for why in trace.incomplete() {
        let one_line = why.chars().map(|c| if c.is_control() { ' ' } else { c });
        let sentence: String = one_line.take(SENTENCE_CHARACTERS_MAX).collect();
        writeln!(out, "{INCOMPLETE}{}", sentence.trim())?;
    }
    for record in trace.records() {
        match record.event {
            Event::Alloc { id, size, align_log2, zeroed } => {
                write!(out, "alloc,{id},{size},{},{}", 1u64 << align_log2, zeroed as u8)?;
            }
            Event::Free { id } => write!(out, "free,{id},,,")?,
            Event::Realloc { id, new_size } => write!(out, "realloc,{id},{new_size},,")?,
        }
        if hz != 0 {
            write!(out, ",{}", record.time as u128 * NANOSECONDS_HZ as u128 / hz as u128)?;
        }
        if threads {
            write!(out, ",{}", record.thread)?;
        }
        if sites {
            write!(out, ",{}", record.site)?;
        }
        writeln!(out)?;
    }
    out.flush()
}
