//! Where the instructions of a call went, by function: those that were inlined too, as the debug information tells.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use crate::step::program_start;

/// The functions that an instruction belongs to, from the one it was written in to the one that it was inlined into at last.
type Functions = Vec<String>;

/// Of what was inlined, so many calls are told apart, one within the other.
const PATH_MAX: usize = 2;

/// Instructions by function, in lines: those of each function that is one in the program, and, indented, of those that were inlined into it.
///
/// # Errors
/// When `addr2line` of the binutils can't be run.
pub fn lines(addresses: &[usize]) -> io::Result<String> {
    let functions = functions(addresses)?;
    let mut outer: Vec<(&str, BTreeMap<String, usize>)> = Vec::new();
    for address in addresses {
        let Some((own, inlined)) = functions.get(address).and_then(|names| names.split_last()) else {
            continue;
        };
        let position = outer.iter().position(|(name, _)| name == own).unwrap_or_else(|| {
            outer.push((own, BTreeMap::new()));
            outer.len() - 1
        });
        let own_path = inlined.iter().rev().filter(|name| !is_core(name));
        let path: Vec<String> = own_path.take(PATH_MAX).map(|name| short(name)).collect();
        *outer[position].1.entry(path.join(" > ")).or_default() += 1;
    }
    let mut lines = String::new();
    for (name, inlined) in outer {
        let sum: usize = inlined.values().sum();
        writeln!(lines, "{sum:5} {}", short(name)).expect("a string takes all");
        for (path, count) in inlined {
            let path = if path.is_empty() { "(itself)" } else { &path };
            writeln!(lines, "      {count:5} {path}").expect("a string takes all");
        }
    }
    Ok(lines)
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

/// Whether a function is one of the language's own, which belongs to the one that it was inlined into.
fn is_core(name: &str) -> bool {
    let name = name.trim_start_matches(['<', '&', '*']);
    ["core::", "std::", "alloc::"].iter().any(|own| name.starts_with(own))
}

/// What `addr2line` says of each address.
fn functions(addresses: &[usize]) -> io::Result<BTreeMap<usize, Functions>> {
    let program = std::env::current_exe()?;
    let mut child = Command::new("addr2line")
        .args(["-a", "-f", "-i", "-C", "-e"])
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut distinct: Vec<usize> = addresses.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let asked: String = distinct
        .iter()
        .map(|address| format!("{:#x}\n", address - program_start()))
        .collect();
    let mut input = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || input.write_all(asked.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().expect("it doesn't panic")?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut functions = BTreeMap::new();
    let mut addresses = distinct.into_iter();
    let mut names = Vec::new();
    let mut address = None;
    let mut lines = answer.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            if let Some(address) = address {
                functions.insert(address, std::mem::take(&mut names));
            }
            address = addresses.next();
        } else {
            names.push(line.to_string());
            // The place in the source follows.
            lines.next();
        }
    }
    if let Some(address) = address {
        functions.insert(address, names);
    }
    Ok(functions)
}
