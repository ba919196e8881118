//! The command: measures, prints tables, writes CSV.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use evenfit_bench::load::Load;
use evenfit_bench::table::{CSV_HEADER, Table};
use evenfit_bench::{footprint, instr, peers, recorded, speed};

/// evenfit and its peers, side by side: the same loads, the same loop, one run.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example: evenfit-bench instr --allocator evenfit-blocks,talc --trace redis,cc1plus"
)]
struct Cli {
    #[command(subcommand)]
    measure: Measure,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Args)]
struct Chosen {
    /// Only these allocators, separated by commas; a part of a name suffices.
    #[arg(long, global = true, value_delimiter = ',')]
    allocator: Vec<String>,
    /// Only these loads, separated by commas: names, recordings (.evt, .ytr.zst) or directories of them.
    #[arg(long, global = true, value_delimiter = ',')]
    trace: Vec<String>,
    /// Shorter: fewer rounds, and only the first 300,000 operations where instructions are counted.
    #[arg(long, global = true)]
    quick: bool,
    /// Writes the figures to this CSV file as well.
    #[arg(long, global = true)]
    csv: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Measure {
    /// Lists the allocators and the loads.
    List,
    /// Instructions an operation, by callgrind, the no-op replay subtracted.
    Instr,
    /// The smallest pool that serves a load, all metadata counted, over the peak of requested bytes.
    Footprint,
    /// Nanoseconds an operation: the median of interleaved rounds, the no-op replay subtracted.
    Ns,
    #[command(name = instr::CHILD, hide = true)]
    ReplayChild {
        name: String,
        len_bytes: usize,
        path: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("evenfit-bench: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    if let Measure::ReplayChild {
        name,
        len_bytes,
        path,
    } = &cli.measure
    {
        return instr::child(name, *len_bytes, path);
    }
    let names = allocators(&cli.chosen.allocator)?;
    let loads = loads(&cli.chosen.trace)?;
    let table = match cli.measure {
        Measure::List => return list(&names, &loads),
        Measure::ReplayChild { .. } => return Ok(()),
        Measure::Instr => instructions(&names, &loads, cli.chosen.quick)?,
        Measure::Footprint => footprints(&names, &loads),
        Measure::Ns => nanoseconds(&names, &loads, cli.chosen.quick),
    };
    print!("{}", table.to_text());
    match &cli.chosen.csv {
        Some(path) => std::fs::write(path, format!("{CSV_HEADER}{}", table.to_csv()))
            .map_err(|e| format!("{}: {e}", path.display())),
        None => Ok(()),
    }
}

fn list(names: &[&str], loads: &[Load]) -> Result<(), String> {
    println!("allocators: {}", names.join(" "));
    println!(
        "{:16}{:>12}{:>16}{:>16}",
        "load", "operations", "peak bytes", "peak blocks"
    );
    for load in loads {
        println!(
            "{:16}{:>12}{:>16}{:>16}",
            load.name,
            load.ops.len(),
            load.peak_live_bytes,
            load.peak_live_blocks
        );
    }
    Ok(())
}

fn instructions(names: &[&str], loads: &[Load], quick: bool) -> Result<Table, String> {
    let mut table = Table::new("instr", "instructions an operation", 1, names);
    for load in loads {
        let ops_max = if quick { 300_000 } else { usize::MAX };
        table.push_column(
            &load.name,
            instr::measure(names, load, ops_max).map_err(|e| e.to_string())?,
        );
    }
    Ok(table)
}

fn footprints(names: &[&str], loads: &[Load]) -> Table {
    let mut table = Table::new(
        "footprint",
        "footprint (smallest pool / peak payload)",
        3,
        names,
    );
    for load in loads {
        table.push_column(&load.name, footprint::measure(names, load));
    }
    table
}

fn nanoseconds(names: &[&str], loads: &[Load], quick: bool) -> Table {
    let mut table = Table::new("ns", "nanoseconds an operation", 1, names);
    for load in loads {
        table.push_column(
            &load.name,
            speed::measure(names, load, if quick { 3 } else { 11 }),
        );
    }
    table
}

fn allocators(chosen: &[String]) -> Result<Vec<&'static str>, String> {
    let all: Vec<&str> = peers::all()
        .iter()
        .map(|about| about.name)
        .filter(|&name| name != "noop")
        .collect();
    if let Some(unknown) = chosen
        .iter()
        .find(|&part| !all.iter().any(|name| name.contains(part.as_str())))
    {
        return Err(format!(
            "no allocator is called {unknown:?}; there are: {}",
            all.join(", ")
        ));
    }
    let wanted =
        |name: &&str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    Ok(all.into_iter().filter(wanted).collect())
}

/// The recordings of this repository.
fn traces_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces")
}

fn loads(chosen: &[String]) -> Result<Vec<Load>, String> {
    let own = recorded::list(&traces_dir())?;
    if chosen.is_empty() {
        return own.iter().map(|path| recorded::read(path)).collect();
    }
    let mut loads = Vec::new();
    for wanted in chosen {
        let path = Path::new(wanted);
        if path.is_dir() {
            for path in recorded::list(path)? {
                loads.push(recorded::read(&path)?);
            }
        } else if path.is_file() {
            loads.push(recorded::read(path)?);
        } else if let Some(path) = own.iter().find(|path| recorded::name(path) == *wanted) {
            loads.push(recorded::read(path)?);
        } else {
            let names: Vec<String> = own.iter().map(|path| recorded::name(path)).collect();
            return Err(format!(
                "{wanted:?} is neither a file nor one of the loads: {}",
                names.join(", ")
            ));
        }
    }
    Ok(loads)
}
