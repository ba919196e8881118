//! The plots that are made of the tables.

use crate::svg::{Bar, Point, Scale, bars, points};
use crate::table::{Summary, Table};

/// File names and SVG texts of every plot that `tables` allow.
#[must_use]
pub fn all(tables: &[Table]) -> Vec<(String, String)> {
    // Recorded programs come before made loads, so the first table of a measure is the one to plot.
    let first = |measure: &str| tables.iter().find(|table| table.measure == measure);
    let mut plots = Vec::new();
    let mut summary = |measure: &str, title: &str, scale| {
        if let Some(table) = first(measure) {
            plots.push((format!("{measure}.svg"), of_summary(table, title, scale)));
        }
    };
    summary("ns", "Nanoseconds an operation", Scale::Linear);
    summary("instr", "Instructions an operation", Scale::Linear);
    summary("footprint", "Footprint", Scale::Linear);
    for kind in ["alloc", "free"] {
        summary(&format!("worst_{kind}"), &format!("Most instructions in one {kind}"), Scale::Log);
    }
    if let Some(holes) = first("holes") {
        plots.push(("holes.svg".to_owned(), of_last_column(holes)));
    }
    if let (Some(ns), Some(footprint)) = (first("ns"), first("footprint")) {
        plots.push(("speed-and-footprint.svg".to_owned(), speed_and_footprint(ns, footprint)));
    }
    plots
}

fn of_summary(table: &Table, title: &str, scale: Scale) -> String {
    let over = match table.summary {
        Summary::Max => "the largest over",
        _ => "geometric mean over",
    };
    let subtitle = format!("{over} {}; less is better", table.columns.join(", "));
    let rows: Vec<Bar> = (0..table.rows.len())
        .map(|row| Bar { label: table.rows[row].clone(), value: table.summarized(row) })
        .filter(|bar| bar.value.is_some())
        .collect();
    bars(title, &subtitle, scale, table.digits, &rows)
}

fn of_last_column(table: &Table) -> String {
    let column = table.columns.last().map_or("", String::as_str);
    let rows: Vec<Bar> = (0..table.rows.len())
        .map(|row| Bar {
            label: table.rows[row].clone(),
            value: table.cells[row].last().and_then(|cell| cell.ok()),
        })
        .filter(|bar| bar.value.is_some())
        .collect();
    let title = format!("Instructions of one request among {column} holes");
    bars(&title, "each hole is just too small; less is better", Scale::Log, table.digits, &rows)
}

fn speed_and_footprint(ns: &Table, footprint: &Table) -> String {
    let of = |row: usize| {
        let name = &ns.rows[row];
        let other = footprint.rows.iter().position(|other| other == name)?;
        Some(Point { label: name.clone(), x: ns.summarized(row)?, y: footprint.summarized(other)? })
    };
    let rows: Vec<Point> = (0..ns.rows.len()).filter_map(of).collect();
    let subtitle = format!("geometric means over {}; lower left is better", ns.columns.join(", "));
    points("Speed and footprint", &subtitle, "nanoseconds an operation", "footprint", &rows)
}
