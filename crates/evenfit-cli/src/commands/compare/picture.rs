//! The policies' memory maps side by side, and their fragmentation over time.

use std::fmt::Write as _;

use super::Report;
use super::simulate::{Outcome, SAMPLES};
use crate::commands::report::page::data_url;
use crate::commands::report::picture::{Raster, png, svg_frame};
use crate::output::InputError;
use crate::size::{grouped, human};

const TILE: usize = 400;
const MAP: usize = 210;
const CAPTION: usize = 76;
const GAP: usize = 24;
const LEFT: usize = 28;
const TOP: usize = 64;
const COLUMNS: usize = 4;
const WIDTH: usize = 2 * LEFT + COLUMNS * TILE + (COLUMNS - 1) * GAP;
const HEIGHT: usize = TOP + 2 * (MAP + CAPTION + GAP);

const FAINT: &str = "#767e8d";
const LINES: [&str; 7] =
    ["#4cc9f0", "#0f8a5f", "#fb8b3d", "#fcbf49", "#d1293d", "#7b2cbf", "#4361ee"];

/// The picture.
///
/// # Errors
/// A map's pixels can't be packed.
pub(super) fn svg(report: &Report, outcomes: &[Outcome]) -> Result<String, InputError> {
    let name = report.trace.rsplit('/').next().unwrap_or(&report.trace);
    let title = format!("{name} under seven policies");
    let note = format!(
        "{} operations to the right, a pool of {} upwards; blocks by size; evenfit without slabs",
        grouped(report.operations),
        human(report.pool_bytes)
    );
    let mut out = svg_frame((WIDTH, HEIGHT), LEFT, &title, &note);
    for (index, (row, outcome)) in report.policies.iter().zip(outcomes).enumerate() {
        let (x, y) = place(index);
        let pixels = Raster::new(TILE, MAP, report.operations.max(1), report.pool_bytes.max(1))
            .draw(&outcome.spans);
        let map = data_url("image/png", &png(&pixels, TILE, MAP)?);
        let failure = if row.served {
            String::new()
        } else {
            format!(", fails at {}", grouped(row.operations_done + 1))
        };
        let _ = write!(
            out,
            "<image x=\"{x}\" y=\"{y}\" width=\"{TILE}\" height=\"{MAP}\" href=\"{map}\"/>\n\
             <rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"3\" fill=\"{}\"/>\n\
             <text x=\"{}\" y=\"{}\" font-weight=\"600\">{}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">footprint {:.3}{failure}</text>\n\
             <text x=\"{x}\" y=\"{}\" fill=\"{FAINT}\" font-size=\"12\">{}</text>\n\
             <text x=\"{x}\" y=\"{}\" fill=\"{FAINT}\" font-size=\"12\">an allocation looks at {:.1}, at most {}</text>\n",
            y + MAP + 9,
            LINES[index],
            x + 18,
            y + MAP + 20,
            row.policy,
            x + TILE,
            y + MAP + 20,
            row.footprint,
            y + MAP + 39,
            row.does,
            y + MAP + 56,
            row.looked_at_mean,
            grouped(row.looked_at_max),
        );
    }
    chart(&mut out, outcomes);
    out.push_str("</svg>\n");
    Ok(out)
}

fn place(index: usize) -> (usize, usize) {
    let (column, line) = (index % COLUMNS, index / COLUMNS);
    (LEFT + column * (TILE + GAP), TOP + line * (MAP + CAPTION + GAP))
}

/// How much of the free memory lies apart, over time.
fn chart(out: &mut String, outcomes: &[Outcome]) {
    let (x, y) = place(outcomes.len());
    let _ = writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{TILE}\" height=\"{MAP}\" fill=\"#f6f7fa\"/>\
         <text x=\"{x}\" y=\"{}\" font-weight=\"600\">Free memory apart</text>\
         <text x=\"{x}\" y=\"{}\" fill=\"{FAINT}\" font-size=\"12\">outside the largest free block, over time: none below, all above</text>",
        y + MAP + 20,
        y + MAP + 39
    );
    for (outcome, line) in outcomes.iter().zip(LINES) {
        let points = outcome.apart.iter().enumerate().map(|(at, &share)| {
            let across = x as f64 + at as f64 / (SAMPLES - 1) as f64 * TILE as f64;
            let up = y as f64 + (1.0 - f64::from(share)) * MAP as f64;
            format!("{across:.1},{up:.1}")
        });
        let points: Vec<String> = points.collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{line}\" stroke-width=\"1.4\" stroke-opacity=\"0.9\"/>",
            points.join(" ")
        );
    }
}
