//! The output of a command, for the terminal or for the next program.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use schemars::JsonSchema;
use serde::Serialize;

/// A command's answer: the text for standard output and whether it is a yes.
#[derive(Debug)]
pub struct Answer {
    /// What to print, styled; styles are dropped where they can't be shown.
    pub text: String,
    /// Exit code 0 or 1.
    pub yes: bool,
}

impl Answer {
    /// A yes.
    pub fn yes(text: impl Into<String>) -> Self {
        Self { text: text.into(), yes: true }
    }

    /// An answer as one JSON object on lines of its own. `schema` is the name of its schema in
    /// `docs/json.md`.
    pub fn json(
        schema: &'static str,
        answer: &impl Serialize,
        yes: bool,
    ) -> Result<Self, InputError> {
        let whole = Json { schema, schema_version: SCHEMA_VERSION, answer };
        let mut text =
            serde_json::to_string_pretty(&whole).map_err(|e| InputError(e.to_string()))?;
        text.push('\n');
        Ok(Self { text, yes })
    }
}

/// Rises when a field is renamed, is removed or changes its meaning. New fields don't change it.
pub const SCHEMA_VERSION: u32 = 1;

/// What all JSON answers have in common.
#[derive(Serialize, JsonSchema)]
pub struct Json<T> {
    /// The name of this answer's schema.
    pub schema: &'static str,
    /// The version of all schemas: it rises when a field is renamed, is removed or changes its
    /// meaning. New fields don't change it.
    pub schema_version: u32,
    /// The answer's own fields, on the same level.
    #[serde(flatten)]
    pub answer: T,
}

/// A flag, a file or a machine that can't do what was asked: one sentence, exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError(pub String);

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InputError {}

/// Prints the answer or the error and gives the exit code: 0 yes, 1 no, 2 bad input.
pub fn finish(result: Result<Answer, InputError>) -> ExitCode {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "{BAD}error:{BAD:#} {error}");
            return ExitCode::from(2);
        }
    };
    match print(&answer.text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ =
                writeln!(anstream::stderr(), "{BAD}error:{BAD:#} can't write the answer: {error}");
            ExitCode::from(2)
        }
        _ => ExitCode::from(u8::from(!answer.yes)),
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Titles and values that matter.
pub const STRONG: Style = Style::new().bold();
/// Notes.
pub const FAINT: Style = Style::new().dimmed();
/// A yes.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// A no, an error.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Labels, values and notes in three columns.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

struct Row {
    label: String,
    value: String,
    note: String,
    style: Style,
}

impl Table {
    /// Adds a row.
    pub fn row(&mut self, label: &str, value: impl Into<String>, note: impl Into<String>) {
        self.styled(Style::new(), label, value, note);
    }

    /// Adds a row whose value is styled.
    pub fn styled(
        &mut self,
        style: Style,
        label: &str,
        value: impl Into<String>,
        note: impl Into<String>,
    ) {
        self.rows.push(Row {
            label: label.to_owned(),
            value: value.into(),
            note: note.into(),
            style,
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |part: fn(&Row) -> &str, rows: &[Row]| {
            rows.iter().map(|row| part(row).chars().count()).max().unwrap_or(0)
        };
        let labels = width(|row| &row.label, &self.rows);
        let noted = self.rows.iter().filter(|row| !row.note.is_empty());
        let values = noted.map(|row| row.value.chars().count()).max().unwrap_or(0);
        for Row { label, value, note, style } in &self.rows {
            write!(f, "  {label:labels$}  {style}{value}{style:#}")?;
            if !note.is_empty() {
                let pad = values.saturating_sub(value.chars().count());
                write!(f, "{:pad$}  {FAINT}{note}{FAINT:#}", "")?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// A bar of `width` columns, `share` (0 to 1) of it filled, to an eighth of a column.
pub fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// `word`, quoted such that a shell reads one word.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./+=:@%,".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_printed_command_is_one_word() {
        assert_eq!(shell_word("traces/redis.evt"), "traces/redis.evt");
        assert_eq!(shell_word("my trace"), "'my trace'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }

    #[test]
    fn columns_line_up_and_a_note_needs_no_padding_of_its_own() {
        let mut table = Table::default();
        table.row("a", "1", "first");
        table.row("long", "a value without a note", "");
        table.row("b", "123", "second");
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(
            text,
            "  a     1    first\n  long  a value without a note\n  b     123  second\n"
        );
    }

    #[test]
    fn a_bar_fills_by_eighths() {
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 1), "▌");
        assert_eq!(bar(7.0, 2), "██");
    }
}
