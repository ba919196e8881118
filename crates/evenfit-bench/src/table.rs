//! Figures by allocator and load: as text, as CSV.

use std::fmt::Write;

use crate::pool::Missing;

/// A figure, or why there is none.
pub type Cell = Result<f64, Missing>;

/// One measure over allocators (rows) and loads (columns).
#[derive(Clone, Debug)]
pub struct Table {
    /// What is measured, with its unit: `ns an operation`.
    pub title: String,
    /// The measure's short name: the CSV's first column.
    pub measure: String,
    /// Digits after the point.
    pub digits: usize,
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
    pub fn new(measure: &str, title: &str, digits: usize, rows: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            measure: measure.to_owned(),
            digits,
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

    /// The geometric mean of a row; `None` unless every load has a positive figure.
    #[must_use]
    pub fn geometric_mean(&self, row: usize) -> Option<f64> {
        let logs: Option<Vec<f64>> = self.cells[row]
            .iter()
            .map(|cell| cell.ok().filter(|figure| *figure > 0.0).map(f64::ln))
            .collect();
        let logs = logs.filter(|logs| !logs.is_empty())?;
        Some((logs.iter().sum::<f64>() / logs.len() as f64).exp())
    }

    /// As aligned text, the geometric mean last.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{:16}", self.title, "");
        let widths: Vec<usize> = self
            .columns
            .iter()
            .map(|name| name.len().max(11) + 2)
            .collect();
        for (name, width) in self.columns.iter().zip(&widths) {
            let _ = write!(text, "{name:>width$}");
        }
        let _ = writeln!(text, "{:>10}", "geo. mean");
        for (row, name) in self.rows.iter().enumerate() {
            let _ = write!(text, "{name:16}");
            for (cell, width) in self.cells[row].iter().zip(&widths) {
                let _ = write!(text, "{:>width$}", self.shown(cell));
            }
            let mean = self
                .geometric_mean(row)
                .map_or("-".to_owned(), |mean| format!("{mean:.*}", self.digits));
            let _ = writeln!(text, "{mean:>10}");
        }
        text
    }

    /// As Markdown, the geometric mean last.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "| |{}| geo. mean |\n|---|",
            self.columns
                .iter()
                .map(|c| format!(" {c} |"))
                .collect::<String>()
                .trim_end_matches('|')
        );
        text.push_str(&"--:|".repeat(self.columns.len() + 1));
        text.push('\n');
        for (row, name) in self.rows.iter().enumerate() {
            let _ = write!(text, "| {name} |");
            for cell in &self.cells[row] {
                let _ = write!(text, " {} |", self.shown(cell));
            }
            let mean = self
                .geometric_mean(row)
                .map_or("-".to_owned(), |mean| format!("{mean:.*}", self.digits));
            let _ = writeln!(text, " {mean} |");
        }
        text
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
