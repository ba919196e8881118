//! Each measure over allocators and loads, as tables.

use std::io::IsTerminal;

use crate::table::{Cell, LATENCY, Table};
use crate::workload::{Missing, Workload};
use crate::{footprint, holes, instr, latency, speed, worst};

/// How thorough a run is.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Operations of a load replayed under callgrind.
    pub instr_ops_max: usize,
    /// Rounds of the time measurement that count.
    pub rounds: usize,
    /// Timed replays from which latencies are taken.
    pub replays: usize,
    /// How much is stepped.
    pub sample: worst::Sample,
}

impl Effort {
    /// For figures to publish.
    pub const FULL: Self =
        Self { instr_ops_max: usize::MAX, rounds: 11, replays: 7, sample: worst::Sample::FULL };
    /// For a quick look.
    pub const QUICK: Self =
        Self { instr_ops_max: 300_000, rounds: 3, replays: 3, sample: worst::Sample::QUICK };
}

/// Instructions an operation.
///
/// # Errors
/// When callgrind can't be run.
pub fn instructions(
    names: &[&str],
    workloads: &[Workload],
    effort: Effort,
) -> Result<Table, String> {
    let mut table = Table::new("instr", names);
    for workload in workloads.iter().filter(|workload| workload.fixed().is_ok()) {
        progress("instructions", workload.name());
        let cells =
            instr::measure(names, workload, effort.instr_ops_max).map_err(|e| e.to_string())?;
        table.push_column(workload.name(), cells);
    }
    Ok(table)
}

/// Footprints.
#[must_use]
pub fn footprints(names: &[&str], workloads: &[Workload]) -> Table {
    let mut table = Table::new("footprint", names);
    for workload in workloads {
        progress("footprint", workload.name());
        table.push_column(workload.name(), footprint::measure(names, workload));
    }
    table
}

/// Nanoseconds an operation.
#[must_use]
pub fn nanoseconds(names: &[&str], workloads: &[Workload], effort: Effort) -> Table {
    let mut table = Table::new("ns", names);
    for workload in workloads.iter().filter(|workload| workload.fixed().is_ok()) {
        progress("nanoseconds", workload.name());
        table.push_column(workload.name(), speed::measure(names, workload, effort.rounds));
    }
    table
}

/// The most instructions in one allocation, free and change of size: a table each.
#[must_use]
pub fn worst(names: &[&str], workloads: &[Workload], effort: Effort) -> [Table; 3] {
    let mut tables =
        ["worst_alloc", "worst_free", "worst_realloc"].map(|kind| Table::new(kind, names));
    for workload in workloads {
        progress("most instructions", workload.name());
        let measured = worst::measure(names, workload, effort.sample);
        let of: [fn(&worst::Worst) -> u64; 3] = [|w| w.alloc, |w| w.free, |w| w.realloc];
        for (table, of) in tables.iter_mut().zip(of) {
            // A load without operations of a kind has no figure for that kind.
            let cell = |worst: &Result<worst::Worst, Missing>| match worst.as_ref().map(of) {
                Ok(0) => Err(Missing::NotMeasured),
                Ok(most) => Ok(most as f64),
                Err(missing) => Err(*missing),
            };
            table.push_column(workload.name(), measured.iter().map(cell).collect());
        }
    }
    tables
}

/// Latency percentiles: a table for each load.
#[must_use]
pub fn latencies(names: &[&str], workloads: &[Workload], effort: Effort) -> Vec<Table> {
    let mut tables = Vec::new();
    for workload in workloads.iter().filter(|workload| workload.fixed().is_ok()) {
        progress("latency", workload.name());
        let mut table = Table::new(&format!("{LATENCY}{}", workload.name()), names);
        let measured = latency::measure(names, workload, effort.replays);
        for (index, part) in latency::PART_NAMES.iter().enumerate() {
            let cells =
                measured.iter().map(|percentiles| percentiles.map(|p| p.ns[index])).collect();
            table.push_column(part, cells);
        }
        tables.push(table);
    }
    tables
}

/// Instructions of a request among ever more holes that are just too small.
#[must_use]
pub fn holes(names: &[&str]) -> Table {
    let mut table = Table::new("holes", names);
    let measured = holes::measure(names);
    for (index, holes) in holes::HOLES.iter().enumerate() {
        progress("holes", &holes.to_string());
        let cells: Vec<Cell> = measured.iter().map(|row| row[index]).collect();
        table.push_column(&holes.to_string(), cells);
    }
    table
}

/// Shows on a terminal what is being measured.
fn progress(measure: &str, load: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{measure}: {load} ");
    }
}

/// Clears the line that shows progress.
pub fn progress_done() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
