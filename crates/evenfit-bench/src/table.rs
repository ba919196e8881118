//! Figures by allocator and load: as text, as CSV.

use std::fmt::Write;

use crate::workload::Missing;

/// A figure, or why there is none.
pub type Cell = Result<f64, Missing>;

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// The geometric mean over all loads.
    GeometricMean,
    /// The largest figure.
    Max,
    /// Nothing that could be compared.
    None,
}

/// One measure over allocators (rows) and loads (columns).
#[derive(Clone, Debug)]
pub struct Table {
    /// What is measured, with its unit: `ns an operation`.
    pub title: String,
    /// The measure's short name: the CSV's first column.
    pub measure: String,
    /// Digits after the point.
    pub digits: usize,
    /// The last column.
    pub summary: Summary,
    /// The names of the allocators.
    pub rows: Vec<String>,
    /// The names of the loads.
    pub columns: Vec<String>,
    /// Row by row.
    pub cells: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table of these rows.
    #[must_use]
    pub fn new(measure: &str, title: &str, digits: usize, summary: Summary, rows: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            measure: measure.to_owned(),
            digits,
            summary,
            rows: rows.iter().map(|&row| row.to_owned()).collect(),
            columns: Vec::new(),
            cells: vec![Vec::new(); rows.len()],
        }
    }

    /// Appends a load's column; `cells` in the order of the rows.
    pub fn push_column(&mut self, name: &str, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.rows.len());
        self.columns.push(name.to_owned());
        for (row, cell) in self.cells.iter_mut().zip(cells) {
            row.push(cell);
        }
    }

    /// What a row comes to; `None` where a figure is missing, and for the largest, where all are.
    #[must_use]
    pub fn summarized(&self, row: usize) -> Option<f64> {
        let figures = || self.cells[row].iter().filter_map(|cell| cell.ok());
        match self.summary {
            Summary::None => None,
            Summary::Max => figures().reduce(f64::max),
            Summary::GeometricMean => {
                let logs: Vec<f64> = figures()
                    .filter(|figure| *figure > 0.0)
                    .map(f64::ln)
                    .collect();
                let complete = logs.len() == self.columns.len() && !logs.is_empty();
                complete.then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
            }
        }
    }

    /// As aligned text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines = self.lines();
        let widths: Vec<usize> = (0..lines[0].len())
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].len())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = format!("{}\n", self.title);
        for line in lines {
            for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let _ = if index == 0 {
                    write!(text, "{cell:width$}")
                } else {
                    write!(text, "  {cell:>width$}")
                };
            }
            text.push('\n');
        }
        text
    }

    /// As Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        for (index, line) in self.lines().iter().enumerate() {
            let _ = writeln!(text, "| {} |", line.join(" | "));
            if index == 0 {
                let _ = writeln!(text, "|---|{}", "--:|".repeat(line.len() - 1));
            }
        }
        text
    }

    /// The heading and a line for each row, as they are shown.
    fn lines(&self) -> Vec<Vec<String>> {
        let heading = match self.summary {
            Summary::GeometricMean => Some("geo. mean"),
            Summary::Max => Some("max"),
            Summary::None => None,
        };
        let mut first = vec![String::new()];
        first.extend(self.columns.iter().cloned());
        first.extend(heading.map(str::to_owned));
        let mut lines = vec![first];
        for (row, name) in self.rows.iter().enumerate() {
            let mut line = vec![name.clone()];
            line.extend(self.cells[row].iter().map(|cell| self.shown(cell)));
            if heading.is_some() {
                let missing = || Missing::NotMeasured.as_str().to_owned();
                line.push(
                    self.summarized(row)
                        .map_or_else(missing, |figure| format!("{figure:.*}", self.digits)),
                );
            }
            lines.push(line);
        }
        lines
    }

    /// As CSV lines `measure,load,allocator,value,missing`, without a header.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        for (row, name) in self.rows.iter().enumerate() {
            for (column, cell) in self.columns.iter().zip(&self.cells[row]) {
                let (value, missing) = match cell {
                    Ok(value) => (format!("{value:.4}"), ""),
                    Err(missing) => (String::new(), missing.as_str()),
                };
                let _ = writeln!(text, "{},{column},{name},{value},{missing}", self.measure);
            }
        }
        text
    }

    fn shown(&self, cell: &Cell) -> String {
        match cell {
            Ok(figure) => format!("{figure:.*}", self.digits),
            Err(missing) => missing.as_str().to_owned(),
        }
    }
}

/// The first line of a CSV file of tables.
pub const CSV_HEADER: &str = "measure,load,allocator,value,missing\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn table(summary: Summary) -> Table {
        let mut table = Table::new("m", "a measure", 2, summary, &["one", "two"]);
        table.push_column("x", vec![Ok(2.0), Ok(1.0)]);
        table.push_column("y", vec![Ok(8.0), Err(Missing::TooSlow)]);
        table
    }

    #[test]
    fn a_mean_needs_every_figure() {
        let table = table(Summary::GeometricMean);
        assert!((table.summarized(0).expect("complete") - 4.0).abs() < 1e-9);
        assert_eq!(table.summarized(1), None);
    }

    #[test]
    fn the_largest_needs_one() {
        assert_eq!(table(Summary::Max).summarized(1), Some(1.0));
    }

    #[test]
    fn says_why_a_figure_is_missing() {
        let table = table(Summary::GeometricMean);
        assert!(table.to_text().contains("too slow"));
        assert_eq!(table.to_csv().lines().last(), Some("m,y,two,,too slow"));
        assert_eq!(table.to_markdown().lines().count(), 4);
    }
}
