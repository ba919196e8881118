//! The answers of `evenfit size` for people.

use std::fmt::Write as _;

use super::{Builds, Perturbed, Sized};
use crate::output::{BAD, FAINT, GOOD, STRONG, Table, bar};
use crate::size::{both, counted, grouped, human};

const BAR_WIDTH: usize = 24;

pub(super) fn of(sized: &Sized) -> String {
    let mut out = format!(
        "{STRONG}{}{STRONG:#}: {}, peak live {}\n\nThe smallest pool that serves it:\n{}",
        sized.trace,
        counted(sized.operations, "operation"),
        both(sized.peak_live_bytes),
        pools(sized)
    );
    if !sized.margins.is_empty() {
        let _ = write!(
            out,
            "\nHow much more the tightest request could have asked for:\n{}",
            margins(sized)
        );
    }
    if !sized.perturbed.is_empty() {
        let _ = write!(
            out,
            "\nThe pool it needs when it is slightly different:\n{}",
            perturbations(sized)
        );
    }
    let _ = write!(out, "\nAny program with the same maxima:\n{}", maxima(sized));
    out
}

fn pools(sized: &Sized) -> Table {
    let mut table = Table::default();
    for (index, pool) in sized.pools.iter().enumerate() {
        let style = if index == 0 { STRONG } else { anstyle::Style::new() };
        let Some(bytes) = pool.smallest_region_bytes else {
            table.row(pool.allocator, "none", "it can't manage a pool of the size needed");
            continue;
        };
        let how = match pool.always_region_bytes {
            _ if pool.simulated => "simulated".to_owned(),
            Some(always) if always == bytes => "8 bytes less fail, no longer pool does".to_owned(),
            Some(always) => {
                format!("8 bytes less fail, none from {} on does", counted(always, "byte"))
            }
            None => "8 bytes less fail, a longer pool may too".to_owned(),
        };
        let footprint =
            pool.footprint.map_or(String::new(), |footprint| format!("footprint {footprint:.3}, "));
        table.styled(style, pool.allocator, both(bytes), format!("{footprint}{how}"));
    }
    table
}

fn margins(sized: &Sized) -> Table {
    let mut table = Table::default();
    for margin in &sized.margins {
        let fails = if margin.serves { "" } else { ", fails" };
        let note = format!(
            "beside {}, at operation {}{fails}",
            human(margin.request_bytes),
            grouped(margin.operation)
        );
        let label = format!("{:>4} %  {}", margin.percent_of_smallest, human(margin.region_bytes));
        table.row(&label, human(margin.spare_bytes), note);
    }
    table
}

fn perturbations(sized: &Sized) -> String {
    let smallest = sized.pools.first().and_then(|pool| pool.smallest_region_bytes).unwrap_or(0);
    let growth = |bytes: u64| (bytes as f64 / smallest.max(1) as f64 - 1.0) * 100.0;
    let widest =
        sized.perturbed.iter().flat_map(|change| &change.region_bytes).max().copied().unwrap_or(1);
    let mut table = Table::default();
    for Perturbed { change, region_bytes } in &sized.perturbed {
        let middle = region_bytes[region_bytes.len() / 2];
        let most = region_bytes[region_bytes.len() - 1];
        let least = region_bytes[0];
        let spread = if region_bytes.len() > 1 {
            format!(
                "{:+.1} .. {:+.1} % over {}",
                growth(least),
                growth(most),
                counted(region_bytes.len() as u64, "seed")
            )
        } else {
            String::new()
        };
        let above = (growth(most) / growth(widest).max(0.001)).max(0.0);
        table.row(
            change,
            format!("{} ({:+.1} %)", human(middle), growth(middle)),
            format!("{spread} {}", bar(above, BAR_WIDTH)).trim().to_owned(),
        );
    }
    table.to_string()
}

fn maxima(sized: &Sized) -> Table {
    let maxima = &sized.maxima;
    let mut table = Table::default();
    let live = format!(
        "in {}, moving blocks counted twice, sizes rounded",
        counted(maxima.live_blocks, "block")
    );
    table.row("most live", both(maxima.live_bytes), live);
    table.row(
        "Robson's floor",
        both(maxima.robson_floor_bytes),
        "no allocator serves all of them from less",
    );
    match (
        maxima.safe_region_bytes,
        maxima.binding_request_bytes,
        maxima.most_gaps,
        maxima.longest_gap_bytes,
    ) {
        (Some(safe), Some(binding), Some(gaps), Some(gap)) => {
            let note = format!(
                "without slabs; binding: a request of {}, {} of up to {}",
                human(binding),
                counted(gaps, "gap"),
                human(gap)
            );
            table.styled(STRONG, "safe pool", both(safe), note);
        }
        _ => table.row("safe pool", "none", "larger than any machine's memory"),
    }
    if let (Some(pools), Some(bytes)) = (maxima.apart_pools, maxima.apart_region_bytes) {
        let note = format!("{}, each for blocks of some sizes", counted(pools, "pool"));
        table.row("safe apart", both(bytes), note);
    }
    if let (Some(bytes), Some(slabs)) = (maxima.safe_with_slabs_region_bytes, maxima.most_slabs) {
        let note = format!("at most {} at once", counted(slabs, "slab"));
        table.styled(STRONG, "with slabs", both(bytes), note);
    }
    table
}

pub(super) fn of_builds(builds: &Builds) -> String {
    let mut table = Table::default();
    for (label, build) in [("base", &builds.base), ("new", &builds.new)] {
        let note = format!("peak live {}, {}", both(build.peak_live_bytes), build.trace);
        table.row(label, both(build.smallest_region_bytes), note);
    }
    let growth = format!("{:+.2} %", builds.growth_percent);
    let allowed = format!("{} % allowed", builds.tolerance_percent);
    if builds.grew {
        table.styled(
            BAD,
            "growth",
            growth,
            format!("{allowed}: the new build needs a larger pool"),
        );
    } else {
        table.styled(GOOD, "growth", growth, allowed);
    }
    format!("The smallest pool that serves each build {FAINT}(the heap){FAINT:#}:\n{table}")
}
