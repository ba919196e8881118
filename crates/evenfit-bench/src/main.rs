//! The command: measures, prints tables, writes CSV, Markdown and plots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use evenfit_bench::peers::Class;
use evenfit_bench::suite::{self, Effort};
use evenfit_bench::table::{CSV_HEADER, Table, from_csv};
use evenfit_bench::workload::Workload;
use evenfit_bench::{adversary, derived, instr, misuse, peers, plots, recorded, synthetic};
use evenfit_verify::states::table::replaced;

/// evenfit and its peers, side by side: the same loads, the same loop, one run.
#[derive(Parser)]
#[command(version, after_help = after_help())]
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
    /// Only these loads, separated by commas: names, `recorded`, `synthetic`, files (.evt) or
    /// directories.
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
    /// Everything, into a directory: results.csv, tables.txt, tables.md and plots (.svg).
    All {
        /// Where to write; made if it isn't there.
        #[arg(long, default_value = "target/evenfit-bench")]
        out: PathBuf,
    },
    /// Tables (.txt, .md) and plots (.svg) of figures measured before, without measuring anything.
    Plot {
        /// CSV files that this program wrote.
        #[arg(required = true)]
        csv: Vec<PathBuf>,
        /// Where to write; made if it isn't there.
        #[arg(long, default_value = "target/evenfit-bench")]
        out: PathBuf,
        /// A page between whose marks (`<!-- table: instr -->`) the tables are written too.
        #[arg(long)]
        page: Option<PathBuf>,
    },
    /// Lists the allocators and the loads.
    List,
    /// Instructions an operation, by callgrind, the no-op replay subtracted.
    Instr,
    /// Which functions and lines execute the instructions: callgrind's listing.
    Profile,
    /// The smallest pool that serves a load, all metadata counted, over the peak of requested
    /// bytes.
    Footprint,
    /// Nanoseconds an operation: the median of interleaved rounds, the no-op replay subtracted.
    Ns,
    /// The most instructions in one operation, by single-stepping.
    Worst,
    /// Percentiles of single operations' nanoseconds: each the least of several replays.
    Latency,
    /// Instructions of one request among 100, 8,000 and 100,000 holes that are just too small.
    Holes,
    /// What each allocator does on each misuse: the page docs/misuse-matrix.md.
    Misuse {
        /// The file to write; else the page is printed.
        file: Option<PathBuf>,
    },
    #[command(name = misuse::children::CHILD, hide = true)]
    MisuseChild { peer: String, case: String },
    #[command(name = instr::CHILD, hide = true)]
    ReplayChild { name: String, len_bytes: usize, path: PathBuf },
}

/// The made loads by name, and an example.
fn after_help() -> String {
    format!(
        "Made loads (`--trace synthetic` is all of them): {}\n\n\
         Example: evenfit-bench instr --allocator evenfit,talc --trace redis,cc1plus --quick",
        synthetic_names().collect::<Vec<_>>().join(", ")
    )
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
    match &cli.measure {
        Measure::ReplayChild { name, len_bytes, path } => {
            return instr::child(name, *len_bytes, path);
        }
        Measure::MisuseChild { peer, case } => return misuse::children::child(peer, case),
        Measure::Misuse { file: Some(path) } => return write(path, &misuse::children::page()),
        Measure::Misuse { file: None } => {
            print!("{}", misuse::children::page());
            return Ok(());
        }
        _ => {}
    }
    if let Measure::Plot { csv, out, page } = &cli.measure {
        let texts = csv.iter().map(|path| read(path)).collect::<Result<String, _>>()?;
        let tables = from_csv(&texts)?;
        publish(&tables, out)?;
        return page.as_ref().map_or(Ok(()), |page| fill(page, &tables));
    }
    let names = &allocators(&cli.chosen.allocator)?;
    let effort = if cli.chosen.quick { Effort::QUICK } else { Effort::FULL };
    let everything = matches!(cli.measure, Measure::All { .. } | Measure::List);
    let loads = &match &cli.measure {
        Measure::Holes => Vec::new(),
        _ => loads(&cli.chosen.trace, everything)?,
    };
    let tables = match cli.measure {
        Measure::All { out } => return publish(&all(names, loads, effort)?, &out),
        Measure::List => return list(names, loads),
        Measure::Profile => return profile(names, loads, effort),
        Measure::Instr => {
            by_origin(loads, |loads| Ok(vec![suite::instructions(names, loads, effort)?]))?
        }
        Measure::Footprint => by_origin(loads, |loads| Ok(vec![suite::footprints(names, loads)]))?,
        Measure::Ns => {
            by_origin(loads, |loads| Ok(vec![suite::nanoseconds(names, loads, effort)]))?
        }
        Measure::Worst => by_origin(loads, |loads| Ok(suite::worst(names, loads, effort).into()))?,
        Measure::Latency => suite::latencies(names, loads, effort),
        Measure::Holes => vec![suite::holes(names)],
        Measure::Plot { .. }
        | Measure::Misuse { .. }
        | Measure::MisuseChild { .. }
        | Measure::ReplayChild { .. } => Vec::new(),
    };
    suite::progress_done();
    print!("{}", tables.iter().map(Table::to_text).collect::<Vec<_>>().join("\n"));
    cli.chosen.csv.map_or(Ok(()), |path| write(&path, &csv(&tables)))
}

/// Measures everything.
fn all(names: &[&str], loads: &[Workload], effort: Effort) -> Result<Vec<Table>, String> {
    let mut tables = by_origin(loads, |loads| {
        let mut tables = vec![
            suite::instructions(names, loads, effort)?,
            suite::nanoseconds(names, loads, effort),
            suite::footprints(names, loads),
        ];
        tables.extend(suite::worst(names, loads, effort));
        Ok(tables)
    })?;
    tables.extend(suite::latencies(names, loads, effort));
    tables.push(suite::holes(names));
    suite::progress_done();
    Ok(tables)
}

/// Measures recorded programs and made loads separately, since a mean over both has no meaning.
fn by_origin(
    loads: &[Workload],
    measure: impl Fn(&[Workload]) -> Result<Vec<Table>, String>,
) -> Result<Vec<Table>, String> {
    let made = |load: &Workload| synthetic_names().any(|name| name == load.name());
    let (made, recorded): (Vec<_>, Vec<_>) = loads.iter().cloned().partition(made);
    let mut tables = Vec::new();
    if !recorded.is_empty() {
        tables.extend(measure(&recorded)?);
    }
    if !made.is_empty() {
        tables.extend(measure(&made)?.into_iter().map(Table::over_made_loads));
    }
    Ok(tables)
}

/// Writes figures, tables and plots into `out`, and prints the tables.
fn publish(measured: &[Table], out: &Path) -> Result<(), String> {
    let tables: &[Table] = &with_derived(measured);
    fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let text = tables.iter().map(Table::to_text).collect::<Vec<_>>().join("\n");
    let markdown: String = tables
        .iter()
        .map(|table| format!("### {}\n\n{}\n", table.title, table.to_markdown()))
        .collect();
    write(&out.join("results.csv"), &csv(measured))?;
    write(&out.join("tables.txt"), &text)?;
    write(&out.join("tables.md"), &markdown)?;
    for (name, svg) in plots::all(tables) {
        write(&out.join(name), &svg)?;
    }
    print!("{text}");
    println!("\nwritten to {}", out.display());
    Ok(())
}

fn with_derived(measured: &[Table]) -> Vec<Table> {
    measured.iter().cloned().chain(derived::all(measured)).collect()
}

/// Writes the tables between the page's marks of their names.
fn fill(path: &Path, measured: &[Table]) -> Result<(), String> {
    let mut page = read(path)?;
    for table in with_derived(measured) {
        let text = format!("\n\n{}\n", table.to_markdown());
        page = replaced(&page, &table.measure, &text).unwrap_or(page);
    }
    write(path, &page)
}

fn profile(names: &[&str], loads: &[Workload], effort: Effort) -> Result<(), String> {
    for load in loads {
        for name in names {
            print!(
                "{name}, {}: {}",
                load.name(),
                instr::profile(name, load, effort.instr_ops_max)?
            );
        }
    }
    Ok(())
}

fn csv(tables: &[Table]) -> String {
    format!("{CSV_HEADER}\n{}", tables.iter().map(Table::to_csv).collect::<String>())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn list(names: &[&str], loads: &[Workload]) -> Result<(), String> {
    println!("{:16}{:>8}{:>10}{:>24}", "allocator", "pool", "bounded", "bytes beside the pool");
    let yes = |yes| if yes { "yes" } else { "no" };
    for about in peers::all().iter().filter(|about| names.contains(&about.name)) {
        let pool = yes(about.class == Class::Pool);
        println!("{:16}{pool:>8}{:>10}{:>24}", about.name, yes(about.bounded), about.outside_bytes);
    }
    println!("\n{:16}{:>12}{:>16}{:>16}", "load", "operations", "peak bytes", "peak blocks");
    for load in loads {
        let (ops, blocks) =
            load.fixed().map_or((0, 0), |load| (load.ops.len(), load.peak_live_blocks));
        println!("{:16}{ops:>12}{:>16}{blocks:>16}", load.name(), load.peak_live_bytes());
    }
    Ok(())
}

fn allocators(chosen: &[String]) -> Result<Vec<&'static str>, String> {
    let all: Vec<&str> =
        peers::all().iter().map(|about| about.name).filter(|&name| name != "noop").collect();
    if let Some(unknown) =
        chosen.iter().find(|&part| !all.iter().any(|name| name.contains(part.as_str())))
    {
        return Err(format!("no allocator is called {unknown:?}; there are: {}", all.join(", ")));
    }
    let wanted =
        |name: &&str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    Ok(all.into_iter().filter(wanted).collect())
}

/// The recordings of this repository.
fn own_recordings() -> Result<Vec<PathBuf>, String> {
    recorded::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces"))
}

fn synthetic_names() -> impl Iterator<Item = &'static str> {
    synthetic::NAMES.into_iter().chain([adversary::NAME])
}

/// The loads named on the command line. If there are none, the recordings, and with `everything`
/// all others too.
fn loads(chosen: &[String], everything: bool) -> Result<Vec<Workload>, String> {
    let defaults: &[&str] = if everything { &["recorded", "synthetic"] } else { &["recorded"] };
    let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
    let chosen = if chosen.is_empty() { defaults } else { &chosen };
    let mut loads = Vec::new();
    for name in chosen {
        loads.extend(named(name)?);
    }
    Ok(loads)
}

/// The loads that one name on the command line stands for.
fn named(name: &str) -> Result<Vec<Workload>, String> {
    let read = |paths: Vec<PathBuf>| paths.iter().map(|path| Workload::recorded(path)).collect();
    let path = Path::new(name);
    if name == "recorded" {
        read(own_recordings()?)
    } else if name == "synthetic" {
        Ok(synthetic_names().filter_map(Workload::synthetic).collect())
    } else if let Some(load) = Workload::synthetic(name) {
        Ok(vec![load])
    } else if let Some(path) =
        own_recordings()?.into_iter().find(|path| recorded::name(path) == name)
    {
        read(vec![path])
    } else if path.is_dir() {
        read(recorded::list(path)?)
    } else if path.is_file() {
        read(vec![path.to_owned()])
    } else {
        let mut known: Vec<String> =
            own_recordings()?.iter().map(|path| recorded::name(path)).collect();
        known.extend(synthetic_names().map(str::to_owned));
        Err(format!("{name:?} is neither a file nor a load; there are: {}", known.join(", ")))
    }
}
