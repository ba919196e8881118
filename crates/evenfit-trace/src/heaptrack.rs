//! Importing what heaptrack recorded: `heaptrack.PROGRAM.PID.zst`, or its text unpacked.
//!
//! One line an entry, its kind and hexadecimal numbers; strings, instruction pointers, call paths
//! and kinds of allocation are numbered from 1 (kinds from 0) in the order in which they come:
//!
//! | line | meaning |
//! |---|---|
//! | `v VERSION FORMAT` | first; formats 1 to 3 |
//! | `X COMMAND` | the command line |
//! | `s LENGTH TEXT`, `s TEXT` up to format 1 | a string |
//! | `i ADDRESS MODULE [FUNCTION FILE LINE]...` | an instruction pointer |
//! | `t POINTER PARENT` | a call path |
//! | `a SIZE PATH` | a kind of allocation |
//! | `+ KIND`, `- KIND` | an allocation, a free |
//! | `c MILLISECONDS` | the clock |
//!
//! A free names the kind, not the block: of several live blocks of one size and call path the
//! newest is taken. A reallocation is there as an allocation and a free. Alignments were not
//! recorded; 16 is taken.

use std::io::{BufRead, BufReader, ErrorKind};

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Lines};
use crate::{Event, Fault, Limits, Record, Repairs, Site, Trace, TraceError};

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Windows of up to 128 MiB are unpacked; a file that asks for more is refused.
const WINDOW_LOG2_MAX: u32 = 27;
const LINE_BYTES_MAX: usize = 1 << 20;
const ALIGN_LOG2: u8 = 4;
const MILLISECONDS_HZ: u64 = 1000;
/// Most strings, pointers, paths and kinds, each: so that no file can take all memory.
const ENTRIES_MAX: u64 = 4 << 20;

/// Whether these first bytes are those of heaptrack's text.
pub(crate) fn is_heaptrack(start: &[u8]) -> bool {
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let numbers = line.strip_prefix(b"v ").unwrap_or_default();
    !numbers.is_empty() && numbers.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b' ')
}

/// Whether these first bytes are those of a zstd frame: heaptrack packs its text so.
pub(crate) fn is_packed(start: &[u8]) -> bool {
    start.starts_with(&ZSTD_MAGIC)
}

/// As `read`, from text that is packed.
pub(crate) fn read_packed(
    input: impl BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let unpack = |error: std::io::Error| {
        let fault = match error.kind() {
            ErrorKind::UnexpectedEof => Fault::Truncated,
            _ => Fault::Unpack(error.to_string()),
        };
        TraceError::new(fault, 0)
    };
    let mut unpacker = zstd::stream::read::Decoder::with_buffer(input).map_err(unpack)?;
    unpacker.window_log_max(WINDOW_LOG2_MAX).map_err(unpack)?;
    let mut text = BufReader::new(unpacker);
    if is_heaptrack(text.fill_buf().map_err(unpack)?) {
        read(text, limits)
    } else {
        Err(TraceError::new(Fault::NotATrace, 0))
    }
}

/// Reads what can be read, and the first fault.
pub(crate) fn read(
    input: impl BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let mut lines = Lines::new(input, LINE_BYTES_MAX);
    let header =
        Header { tick_hz: MILLISECONDS_HZ, default_align_log2: ALIGN_LOG2, ..Header::default() };
    let mut builder = TraceBuilder::new(header);
    let mut importer = Importer { limits, ..Importer::default() };
    let fault = importer.lines(&mut lines, &mut builder).err();
    builder.repairs(importer.repairs);
    let sites = importer.sites();
    builder.sites(sites);
    Ok((builder.finish(), fault))
}

#[derive(Default)]
struct Importer {
    limits: Limits,
    format: u64,
    strings: Vec<String>,
    strings_bytes: u64,
    pointers: Vec<Pointer>,
    /// Instruction pointer and parent path.
    paths: Vec<(usize, u32)>,
    kinds: Vec<Kind>,
    time: u64,
    repairs: Repairs,
}

/// An instruction pointer: numbers of strings, 0 for none.
struct Pointer {
    address: u64,
    module: usize,
    function: usize,
    file: usize,
    line: u64,
}

struct Kind {
    size: u64,
    path: u32,
    /// The live blocks of this kind, the newest last.
    live: Vec<u32>,
}

/// The hexadecimal numbers of a line.
struct Numbers<'a>(std::str::SplitAsciiWhitespace<'a>);

impl Numbers<'_> {
    fn next(&mut self) -> Result<u64, Fault> {
        self.optional()?.ok_or_else(|| Fault::Line("a number is missing".into()))
    }

    fn optional(&mut self) -> Result<Option<u64>, Fault> {
        let parse = |text| {
            u64::from_str_radix(text, 16)
                .map_err(|_| Fault::Line(format!("'{text}' is no hexadecimal number")))
        };
        self.0.next().map(parse).transpose()
    }
}

impl Importer {
    fn lines<R: BufRead>(
        &mut self,
        lines: &mut Lines<R>,
        builder: &mut TraceBuilder,
    ) -> Result<(), TraceError> {
        while let Some(line) = lines.next()? {
            let taken = self.line(line, builder);
            taken.map_err(|fault| lines.error(fault))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, builder: &mut TraceBuilder) -> Result<(), Fault> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut numbers = Numbers(rest.split_ascii_whitespace());
        match kind {
            "v" => {
                numbers.next()?;
                self.format = numbers.optional()?.unwrap_or(0);
                if self.format > 3 {
                    return Err(Fault::Line(format!(
                        "heaptrack format {}; 0 to 3 are understood",
                        self.format
                    )));
                }
            }
            "X" => builder.fact("program", rest),
            "s" => self.string(rest)?,
            "i" => {
                let pointer = Pointer {
                    address: numbers.next()?,
                    module: numbers.next()? as usize,
                    function: numbers.optional()?.unwrap_or(0) as usize,
                    file: numbers.optional()?.unwrap_or(0) as usize,
                    line: numbers.optional()?.unwrap_or(0),
                };
                self.room(self.pointers.len(), "instruction pointers")?;
                self.pointers.push(pointer);
            }
            "t" => {
                let path = (numbers.next()? as usize, narrow(numbers.next()?)?);
                self.room(self.paths.len(), "call paths")?;
                self.paths.push(path);
            }
            "a" => {
                let (size, path) = (numbers.next()?, narrow(numbers.next()?)?);
                self.room(self.kinds.len(), "kinds of allocation")?;
                self.kinds.push(Kind { size, path, live: Vec::new() });
            }
            "+" => self.event(numbers.next()?, true, builder)?,
            "-" => self.event(numbers.next()?, false, builder)?,
            "c" => {
                let time = lines::clock(numbers.next()?, MILLISECONDS_HZ, "clock", rest)?;
                self.time = self.time.max(time);
            }
            // Memory of the process, suppressions, comments and what later versions add.
            _ => {}
        }
        Ok(())
    }

    /// From format 2 on, the length comes first.
    fn string(&mut self, rest: &str) -> Result<(), Fault> {
        let text =
            if self.format >= 2 { rest.split_once(' ').map_or("", |(_, text)| text) } else { rest };
        self.strings_bytes += text.len() as u64;
        if self.strings_bytes > self.limits.notes_bytes {
            return Err(Fault::Limit { what: "bytes of names", most: self.limits.notes_bytes });
        }
        self.room(self.strings.len(), "names")?;
        self.strings.push(text.to_owned());
        Ok(())
    }

    fn room(&self, count: usize, what: &'static str) -> Result<(), Fault> {
        let most = self.limits.events.min(ENTRIES_MAX);
        if count as u64 >= most {
            return Err(Fault::Limit { what, most });
        }
        Ok(())
    }

    fn event(&mut self, kind: u64, is_new: bool, builder: &mut TraceBuilder) -> Result<(), Fault> {
        if builder.len() as u64 >= self.limits.events {
            return Err(Fault::Limit { what: "events", most: self.limits.events });
        }
        let id = builder.allocations();
        let kinds = self.kinds.len();
        let unknown = || Fault::Line(format!("kind of allocation {kind:#x} of {kinds:#x}"));
        let kind = usize::try_from(kind)
            .ok()
            .and_then(|kind| self.kinds.get_mut(kind))
            .ok_or_else(unknown)?;
        let event = if is_new {
            kind.live.push(id);
            Event::Alloc { id, size: kind.size, align_log2: ALIGN_LOG2, zeroed: false }
        } else {
            let Some(id) = kind.live.pop() else {
                self.repairs.unknown_frees += 1;
                return Ok(());
            };
            Event::Free { id }
        };
        builder.push(Record { event, time: self.time, thread: 0, site: kind.path })
    }

    /// Every call path as a site; without names once those would take more than the limit, as many
    /// paths may share one.
    fn sites(&self) -> Vec<Site> {
        let string = |number: usize| {
            let string = number.checked_sub(1).and_then(|at| self.strings.get(at));
            string.map_or("", String::as_str)
        };
        let mut room = self.limits.notes_bytes;
        let paths = self.paths.iter().enumerate();
        let sites = paths.filter_map(|(index, &(pointer, parent))| {
            let pointer = self.pointers.get(pointer.checked_sub(1)?)?;
            let mut site =
                Site { id: index as u32 + 1, parent, address: pointer.address, ..Site::default() };
            let (name, file, module) =
                (string(pointer.function), string(pointer.file), string(pointer.module));
            let bytes = (name.len() + file.len().max(module.len()) + 32) as u64;
            if let Some(rest) = room.checked_sub(bytes) {
                room = rest;
                site.name = name.to_owned();
                site.location = match file {
                    "" => module.to_owned(),
                    file => format!("{file}:{}", pointer.line),
                };
            }
            Some(site)
        });
        sites.collect()
    }
}

fn narrow(number: u64) -> Result<u32, Fault> {
    u32::try_from(number).map_err(|_| Fault::Range("call path"))
}
