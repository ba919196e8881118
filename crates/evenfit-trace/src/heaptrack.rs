//! Imports heaptrack's recordings: `heaptrack.PROGRAM.PID.zst` or `.gz`, or the text in them.
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
//! | `A` | heaptrack was attached to a program that had run for a while |
//!
//! A free names the kind, not the block. Of several live blocks of one size and call path the
//! newest is freed. A reallocation is recorded as an allocation and a free. Alignments aren't
//! recorded; 16 is assumed. The output of `heaptrack --raw` has lines of other kinds (`x`, `m`),
//! and must be interpreted by heaptrack first.

use std::io::BufRead;

use crate::builder::TraceBuilder;
use crate::format::Header;
use crate::lines::{self, Accept, Bounded, Lines, Misfit, wrong};
use crate::{Event, Fault, Limits, Record, Repairs, Site, Trace, TraceError};

const LINE_BYTES_MAX: usize = 1 << 20;
const ALIGN_LOG2: u8 = 4;
const MILLISECONDS_HZ: u64 = 1000;
/// Most strings, pointers, paths and kinds, each, so that no file can use all memory.
const ENTRIES_MAX: u64 = 4 << 20;
const ATTACHED: &str = "heaptrack was attached to the running program, and what that had allocated before is not \
                        in it; start the program by heaptrack";

/// Whether these first bytes are those of heaptrack's text.
pub(crate) fn is_heaptrack(start: &[u8]) -> bool {
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let numbers = line.trim_ascii_end().strip_prefix(b"v ").unwrap_or_default();
    !numbers.is_empty() && numbers.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b' ')
}

/// Reads what can be read, and the first fault.
pub(crate) fn read(
    input: &mut dyn BufRead,
    limits: Limits,
) -> Result<(Trace, Option<TraceError>), TraceError> {
    let mut lines = Lines::new(input, LINE_BYTES_MAX, Accept::WholeLines);
    let header =
        Header { tick_hz: MILLISECONDS_HZ, default_align_log2: ALIGN_LOG2, ..Header::default() };
    let mut builder = TraceBuilder::new(header);
    let mut importer = Importer { limits, ..Importer::default() };
    let fault = lines::import(&mut lines, &mut importer, &mut builder, limits).err();
    if importer.is_attached {
        builder.incomplete(ATTACHED);
    }
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
    is_attached: bool,
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
struct Numbers<'a> {
    line: &'a str,
    numbers: std::str::SplitAsciiWhitespace<'a>,
    /// The number read last.
    last: &'a str,
}

impl<'a> Numbers<'a> {
    /// The numbers at the end of `line`, which are `rest`.
    fn new(line: &'a str, rest: &'a str) -> Self {
        Self { line, numbers: rest.split_ascii_whitespace(), last: rest }
    }

    fn next(&mut self) -> Result<u64, Misfit> {
        let end = &self.line[self.line.len()..];
        self.optional()?.ok_or_else(|| wrong(end, "a number is missing"))
    }

    fn optional(&mut self) -> Result<Option<u64>, Misfit> {
        let Some(text) = self.numbers.next() else {
            return Ok(None);
        };
        self.last = text;
        let number = u64::from_str_radix(text, 16);
        number.map(Some).map_err(|_| wrong(text, format!("'{text}' is no hexadecimal number")))
    }

    /// A number of a call path.
    fn path(&mut self) -> Result<u32, Misfit> {
        let number = self.next()?;
        u32::try_from(number).map_err(|_| Fault::Range("call path").at(self.last))
    }
}

impl lines::Importer for Importer {
    fn line(&mut self, line: &str, builder: &mut Bounded) -> Result<(), Misfit> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut numbers = Numbers::new(line, rest);
        match kind {
            "v" => {
                numbers.next()?;
                self.format = numbers.optional()?.unwrap_or(0);
                if self.format > 3 {
                    let why = format!("heaptrack format {}; 0 to 3 are understood", self.format);
                    return Err(wrong(numbers.last, why));
                }
            }
            "X" => self.program(rest, builder)?,
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
                let path = (numbers.next()? as usize, numbers.path()?);
                self.room(self.paths.len(), "call paths")?;
                self.paths.push(path);
            }
            "a" => {
                let (size, path) = (numbers.next()?, numbers.path()?);
                self.room(self.kinds.len(), "kinds of allocation")?;
                self.kinds.push(Kind { size, path, live: Vec::new() });
            }
            "+" | "-" => {
                let number = numbers.next()?;
                let event = self.event(number, kind == "+", builder);
                event.map_err(|fault| fault.at(numbers.last))?;
            }
            "c" => {
                let time = lines::clock(numbers.next()?, MILLISECONDS_HZ, "clock", rest)?;
                self.time = self.time.max(time);
            }
            "A" => self.is_attached = true,
            "x" | "m" => {
                return Err(wrong(
                    line,
                    "this is raw data of heaptrack; `heaptrack --interpret FILE` makes of it what can be read",
                ));
            }
            // Memory of the process, suppressions, comments and what later versions add.
            _ if kind.starts_with('#') => {}
            _ if kind.len() == 1 && kind.starts_with(|c: char| c.is_ascii_alphabetic()) => {}
            _ => return Err(wrong(kind, format!("'{kind}' is no kind of entry"))),
        }
        Ok(())
    }
}

impl Importer {
    fn program(&mut self, command: &str, builder: &mut Bounded) -> Result<(), Fault> {
        self.strings_bytes += command.len() as u64;
        builder.room_for_names(self.strings_bytes)?;
        builder.builder.fact("program", command);
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

    fn event(&mut self, kind: u64, is_new: bool, builder: &mut Bounded) -> Result<(), Fault> {
        let id = builder.builder.allocations();
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

    /// Every call path as a site. Paths may share names, so sites have none once these exceed the
    /// limit.
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
