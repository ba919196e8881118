//! Figures by allocator and load: as text, as CSV.

use std::fmt::Write;

use crate::workload::Missing;

/// A figure, or why there is none.
pub type Cell = Result<f64, Missing>;

/// How a row is summarised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// The geometric mean over all loads.
    GeometricMean,
    /// The largest figure.
    Max,
    /// Not at all: its figures can't be compared.
    None,
}

/// One measure over allocators (rows) and loads (columns).
#[derive(Clone, Debug)]
pub struct Table {
    /// The measure with its unit: `nanoseconds an operation`.
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
    ///
    /// # Panics
    /// When `measure` is none of those that the tables have.
    #[must_use]
    pub fn new(measure: &str, rows: &[&str]) -> Self {
        let (title, digits, summary) = describe(measure).expect("a known measure");
        Self {
            title,
            measure: measure.to_owned(),
            digits,
            summary,
            rows: rows.iter().map(|&row| row.to_owned()).collect(),
            columns: Vec::new(),
            cells: vec![Vec::new(); rows.len()],
        }
    }

    /// The same figures, marked as over made loads instead of recorded programs.
    #[must_use]
    pub fn over_made_loads(mut self) -> Self {
        self.measure.insert_str(0, MADE);
        let described = describe(&self.measure).expect("it was known before");
        self.title = described.0;
        self
    }

    /// Appends a load's column; `cells` in the order of the rows.
    pub fn push_column(&mut self, name: &str, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.rows.len());
        self.columns.push(name.to_owned());
        for (row, cell) in self.cells.iter_mut().zip(cells) {
            row.push(cell);
        }
    }

    /// Sets one figure; rows and columns appear in the order in which they are first named.
    fn set(&mut self, row: &str, column: &str, cell: Cell) {
        let absent = Err(Missing::NotMeasured);
        let row = self.rows.iter().position(|name| name == row).unwrap_or_else(|| {
            self.rows.push(row.to_owned());
            self.cells.push(vec![absent; self.columns.len()]);
            self.rows.len() - 1
        });
        let column = self.columns.iter().position(|name| name == column).unwrap_or_else(|| {
            self.columns.push(column.to_owned());
            self.cells.iter_mut().for_each(|cells| cells.push(absent));
            self.columns.len() - 1
        });
        self.cells[row][column] = cell;
    }

    /// Whether this is `measure` over made loads.
    #[must_use]
    pub fn is_of_made_loads(&self, measure: &str) -> bool {
        self.measure.strip_prefix(MADE) == Some(measure)
    }

    /// The figure in that row and column.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self, row: &str, column: &str) -> Cell {
        let row = self.rows.iter().position(|name| name == row);
        let column = self.columns.iter().position(|name| name == column);
        match (row, column) {
            (Some(row), Some(column)) => self.cells[row][column],
            _ => Err(Missing::NotMeasured),
        }
    }

    /// A row's summary; `None` if a figure is missing, or for the largest, if all are.
    #[must_use]
    pub fn summarized(&self, row: usize) -> Option<f64> {
        let figures = || self.cells[row].iter().filter_map(|cell| cell.ok());
        match self.summary {
            Summary::None => None,
            Summary::Max => figures().reduce(f64::max),
            Summary::GeometricMean => {
                let logs: Vec<f64> =
                    figures().filter(|figure| *figure > 0.0).map(f64::ln).collect();
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
            .map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0))
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
        if let Some(without) = self.without_figures() {
            let _ = writeln!(text, "{without}");
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
        if let Some(without) = self.without_figures() {
            let _ = writeln!(text, "\n{without}");
        }
        text
    }

    fn has_figures(&self, row: usize) -> bool {
        self.cells[row].iter().any(Result::is_ok)
    }

    /// The rows that `lines` omits, each with the first reason, as a sentence.
    fn without_figures(&self) -> Option<String> {
        let named: Vec<String> = (0..self.rows.len())
            .filter(|&row| !self.has_figures(row))
            .map(|row| {
                let name = &self.rows[row];
                match self.cells[row].first() {
                    Some(Err(missing)) if *missing != Missing::NotMeasured => {
                        format!("{name} ({})", missing.as_str())
                    }
                    _ => name.clone(),
                }
            })
            .collect();
        (!named.is_empty()).then(|| format!("Without a figure: {}.", named.join(", ")))
    }

    /// The heading and a line for each row that has a figure, as they are shown.
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
            if !self.has_figures(row) {
                continue;
            }
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
pub const CSV_HEADER: &str = "measure,load,allocator,value,missing";

/// Begins the name of a measure over made loads instead of recorded programs.
const MADE: &str = "made_";

/// Begins the name of a latency table; the load's name follows.
pub const LATENCY: &str = "latency_";

/// The measures: name, title, digits after the point, summary.
const MEASURES: [(&str, &str, usize, Summary); 10] = [
    ("instr", "instructions an operation", 1, Summary::GeometricMean),
    ("ns", "nanoseconds an operation", 1, Summary::GeometricMean),
    (
        "footprint",
        "footprint: smallest pool that serves the load, all metadata counted, over the peak payload",
        3,
        Summary::GeometricMean,
    ),
    ("worst_alloc", "most instructions in one allocation", 0, Summary::Max),
    ("worst_free", "most instructions in one free", 0, Summary::Max),
    (
        "worst_realloc",
        "most instructions in one change of size, payload copies apart",
        0,
        Summary::Max,
    ),
    (
        "worst",
        "most instructions in one operation, over all recorded programs and all made loads",
        0,
        Summary::None,
    ),
    (
        "holes",
        "instructions of one request of 1,100 bytes among holes of 1,040 bytes, when nothing else is free",
        0,
        Summary::None,
    ),
    (LATENCY, "nanoseconds of one operation, each the least of several replays", 0, Summary::None),
    (
        "growth",
        "growth: how many times as much with ten times as many live blocks",
        2,
        Summary::None,
    ),
];

/// Title, digits and summary of a measure; `None` if there is none of that name.
fn describe(measure: &str) -> Option<(String, usize, Summary)> {
    let made = measure.starts_with(MADE);
    let plain = measure.strip_prefix(MADE).unwrap_or(measure);
    let load = plain.strip_prefix(LATENCY);
    let name = if load.is_some() { LATENCY } else { plain };
    let (_, title, digits, summary) = MEASURES.into_iter().find(|measure| measure.0 == name)?;
    let title = match load {
        Some(load) => format!("{title}: {load}"),
        None if made => format!("{title}: made loads"),
        None => title.to_owned(),
    };
    Some((title, digits, summary))
}

/// The tables in the text of a CSV file that this program wrote.
///
/// # Errors
/// A sentence that names the line and what is wrong with it.
pub fn from_csv(text: &str) -> Result<Vec<Table>, String> {
    let mut tables: Vec<Table> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line == CSV_HEADER {
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}: {line:?}", index + 1);
        let [measure, load, allocator, value, missing] = line.split(',').collect::<Vec<_>>()[..]
        else {
            return Err(wrong("not five fields"));
        };
        let cell = match (value.parse::<f64>(), Missing::from_word(missing)) {
            (Ok(value), None) if missing.is_empty() => Ok(value),
            (Err(_), Some(missing)) if value.is_empty() => Err(missing),
            _ => return Err(wrong("neither a value nor a reason why there is none")),
        };
        describe(measure).ok_or_else(|| wrong("no such measure"))?;
        let known = tables.iter().position(|table| table.measure == measure);
        let at = known.unwrap_or_else(|| {
            tables.push(Table::new(measure, &[]));
            tables.len() - 1
        });
        tables[at].set(allocator, load, cell);
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(summary: Summary) -> Table {
        let mut table = Table::new("ns", &["one", "two"]);
        table.summary = summary;
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
        assert_eq!(table.to_csv().lines().last(), Some("ns,y,two,,too slow"));
        assert_eq!(table.to_markdown().lines().count(), 4);
    }

    #[test]
    fn names_rows_without_a_figure_below() {
        let mut table = Table::new("ns", &["one", "two", "three"]);
        let none = [Err(Missing::NeverServed), Err(Missing::NotMeasured)];
        table.push_column("x", vec![Ok(2.0), none[0], none[1]]);
        let sentence = "Without a figure: two (no memory), three.\n";
        assert!(table.to_text().ends_with(sentence));
        assert!(table.to_markdown().ends_with(&format!("|\n\n{sentence}")));
        assert_eq!(table.to_text().lines().count(), 4);
    }

    #[test]
    fn reads_what_it_writes() {
        let csv = format!("{CSV_HEADER}\n{}", table(Summary::Max).to_csv());
        let tables = from_csv(&csv).expect("its own text");
        assert_eq!(tables.len(), 1);
        assert_eq!(format!("{CSV_HEADER}\n{}", tables[0].to_csv()), csv);
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        for wrong in
            ["ns,x,one", "ns,x,one,,", "ns,x,one,1,too slow", "speed,x,one,1,", "ns,x,one,fast,"]
        {
            let text = format!("{CSV_HEADER}\n{wrong}\n");
            assert!(from_csv(&text).expect_err(wrong).starts_with("line 2: "));
        }
    }
}
