//! The instructions of a call by function and source line, from the debug information.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::ops::Range;
use std::process::{Command, Stdio};

use iced_x86::Mnemonic;

use crate::stepping::step::program_start;
use crate::stepping::translate::decoder;

/// A line in the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    function: String,
    file: String,
    line: String,
}

/// The lines that an instruction belongs to: first that of the function of the program, then that
/// of the function inlined there, and so on.
type Frames = Vec<Place>;

/// Instructions by line of a function, and by line of the functions inlined there.
type Lines = BTreeMap<String, BTreeMap<String, usize>>;

/// Instructions by function of the program; within it by line; and by line of inlined functions.
///
/// # Errors
/// When `addr2line` of the binutils can't be run.
pub fn lines(addresses: &[usize]) -> io::Result<String> {
    let frames = frames(addresses)?;
    let mut functions: Vec<(String, Lines)> = Vec::new();
    for address in addresses {
        let Some([outer, inlined @ ..]) = frames.get(address).map(Vec::as_slice) else {
            continue;
        };
        let name = short(&outer.function);
        let position = functions.iter().position(|(own, _)| *own == name);
        let position = position.unwrap_or_else(|| {
            functions.push((name, BTreeMap::new()));
            functions.len() - 1
        });
        let inner = inlined.first().map_or(String::new(), Place::text);
        let lines = functions[position].1.entry(outer.text()).or_default();
        *lines.entry(inner).or_default() += 1;
    }
    let mut text = String::new();
    for (name, lines) in functions {
        let sum: usize = lines.values().flat_map(BTreeMap::values).sum();
        writeln!(text, "{sum:4} {name}").expect("a string takes all");
        for (line, inner) in lines {
            let sum: usize = inner.values().sum();
            writeln!(text, "    {sum:4} {line}").expect("a string takes all");
            let inlined = inner.iter().filter(|(line, _)| inner.len() > 1 && !line.is_empty());
            for (line, count) in inlined {
                writeln!(text, "           {count:4} {line}").expect("a string takes all");
            }
        }
    }
    Ok(text)
}

/// The lines with instructions that aren't among `executed`, by function, with their number. Only
/// functions whose path contains `module`, and of which something was executed.
///
/// # Errors
/// When `nm` or `addr2line` of the binutils can't be run.
pub fn unreached(executed: &BTreeSet<usize>, module: &str) -> io::Result<String> {
    let mut text = String::new();
    for (name, range) in symbols()? {
        if !name.contains(module) || executed.range(range.clone()).next().is_none() {
            continue;
        }
        let mut left_out = instructions(range);
        left_out.retain(|address| !executed.contains(address));
        if left_out.is_empty() {
            continue;
        }
        let frames = frames(&left_out)?;
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for address in &left_out {
            let place = frames.get(address).and_then(|places| places.last());
            *lines.entry(place.map_or(String::new(), Place::text)).or_default() += 1;
        }
        writeln!(text, "{:4} {}", left_out.len(), short(&name)).expect("a string takes all");
        for (line, count) in lines {
            writeln!(text, "    {count:4} {line}").expect("a string takes all");
        }
    }
    Ok(text)
}

/// The functions of the program, and where they lie.
fn symbols() -> io::Result<Vec<(String, Range<usize>)>> {
    let output = Command::new("nm")
        .args(["-C", "-S", "--defined-only"])
        .arg(std::env::current_exe()?)
        .output()?;
    let number = |hex: &str| usize::from_str_radix(hex, 16).ok();
    let symbol = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let start = number(words.next()?)? + program_start();
        let len = number(words.next()?)?;
        let is_code = matches!(words.next()?, "t" | "T" | "w" | "W");
        is_code.then_some((words.next()?.to_string(), start..start + len))
    };
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listed.lines().filter_map(symbol).collect())
}

/// The addresses of a function's instructions, without padding.
fn instructions(range: Range<usize>) -> Vec<usize> {
    let mut addresses = Vec::new();
    for instruction in &mut decoder(range.start) {
        let at = instruction.ip() as usize;
        if at >= range.end {
            break;
        }
        if !matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Ud2) {
            addresses.push(at);
        }
    }
    addresses
}

impl Place {
    /// The line with its text, if it is in the project.
    fn text(&self) -> String {
        let file = self.file.rsplit('/').next().unwrap_or_default();
        let number: usize = self.line.parse().unwrap_or(0);
        let source = std::fs::read_to_string(&self.file).unwrap_or_default();
        let text = source.lines().nth(number.wrapping_sub(1)).unwrap_or_default();
        format!("{file}:{number:<4} {}", text.trim())
    }
}

/// The last part of a function's path, without types.
fn short(name: &str) -> String {
    let mut depth = 0;
    let plain = |&letter: &char| {
        depth += i32::from(letter == '<');
        let is_outside = depth == 0;
        depth -= i32::from(letter == '>');
        is_outside
    };
    let name: String = name.chars().filter(plain).collect();
    let last = name.rsplit("::").find(|part| !part.is_empty());
    last.unwrap_or_default().to_string()
}

/// What `addr2line` says of each address.
fn frames(addresses: &[usize]) -> io::Result<BTreeMap<usize, Frames>> {
    let mut distinct: Vec<usize> = addresses.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let asked: String =
        distinct.iter().map(|address| format!("{:#x}\n", address - program_start())).collect();
    let answer = addr2line(asked)?;
    let mut frames = BTreeMap::new();
    for (address, answer) in distinct.into_iter().zip(answer.split("0x").skip(1)) {
        let lines: Vec<&str> = answer.lines().skip(1).collect();
        let mut places: Frames =
            lines.chunks_exact(2).map(|pair| place(pair[0], pair[1])).collect();
        places.reverse();
        // Instructions of the language's own functions count for the function that calls them.
        let own = places.iter().position(|place| place.file.starts_with("/rustc/"));
        places.truncate(own.unwrap_or(places.len()).max(1));
        frames.insert(address, places);
    }
    Ok(frames)
}

fn place(function: &str, file_and_line: &str) -> Place {
    let (file, line) = file_and_line.rsplit_once(':').unwrap_or((file_and_line, ""));
    let line = line.split(' ').next().unwrap_or_default();
    Place { function: function.to_string(), file: file.to_string(), line: line.to_string() }
}

fn addr2line(asked: String) -> io::Result<String> {
    let mut child = Command::new("addr2line")
        .args(["-a", "-f", "-i", "-C", "-e"])
        .arg(std::env::current_exe()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || input.write_all(asked.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().expect("it doesn't panic")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
