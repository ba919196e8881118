//! What both views share: the screen's parts, and the loop that draws it and reads keys.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span as Text};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline, Widget};

use crate::commands::report::picture::colour;
use crate::output::InputError;
use crate::size::{grouped, human};

/// A view that can be shown.
pub(super) trait Screen {
    fn render(&self, area: Rect, buffer: &mut Buffer);

    /// Handles a key. Returns whether to continue.
    fn press(&mut self, key: KeyCode, with: KeyModifiers) -> bool;

    /// Time has passed.
    fn advance(&mut self, by: Duration);
}

/// The size of a picture without a terminal.
const PLAIN: Rect = Rect { x: 0, y: 0, width: 100, height: 32 };
/// The time between two pictures.
const FRAME: Duration = Duration::from_millis(50);
/// Holders shown.
pub(super) const HOLDERS_MAX: usize = 12;

/// One picture as text, trailing blanks removed.
pub(super) fn plain(screen: &impl Screen) -> String {
    let mut buffer = Buffer::empty(PLAIN);
    screen.render(PLAIN, &mut buffer);
    let mut out = String::new();
    for y in 0..PLAIN.height {
        let row: String = (0..PLAIN.width).map(|x| buffer[(x, y)].symbol().to_owned()).collect();
        let _ = writeln!(out, "{}", row.trim_end());
    }
    out
}

/// Shows it until `q`.
///
/// # Errors
/// The terminal failed.
pub(super) fn show(screen: &mut impl Screen) -> Result<(), InputError> {
    let mut terminal =
        ratatui::try_init().map_err(|e| InputError(format!("the terminal failed: {e}")))?;
    let result = play(&mut terminal, screen);
    ratatui::restore();
    result.map_err(|e| InputError(format!("the terminal failed: {e}")))
}

fn play(terminal: &mut ratatui::DefaultTerminal, screen: &mut impl Screen) -> std::io::Result<()> {
    let mut last = Instant::now();
    loop {
        terminal.draw(|frame| screen.render(frame.area(), frame.buffer_mut()))?;
        if event::poll(FRAME.saturating_sub(last.elapsed()))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let ends = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                || key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if ends || !screen.press(key.code, key.modifiers) {
                return Ok(());
            }
        }
        screen.advance(last.elapsed());
        last = Instant::now();
    }
}

/// The screen's parts: header, map, holders, curves, keys.
pub(super) fn areas(area: Rect) -> [Rect; 5] {
    let [top, middle, curves, keys] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Min(4),
        Constraint::Length(7),
        Constraint::Length(1),
    ])
    .areas(area);
    let [map, side] =
        Layout::horizontal([Constraint::Min(20), Constraint::Length(46)]).areas(middle);
    [top, map, side, curves, keys]
}

/// The header: what is shown, its state, and two lines about it.
pub(super) struct Header {
    pub(super) title: String,
    pub(super) pool: String,
    pub(super) state: String,
    pub(super) is_bad: bool,
    pub(super) lines: [String; 2],
}

impl Header {
    pub(super) fn render(self, area: Rect, buffer: &mut Buffer) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let colour = if self.is_bad { Color::Red } else { Color::Blue };
        let [first, second] = self.lines;
        Paragraph::new(vec![
            Line::from(vec![
                Text::styled(self.title, bold),
                Text::raw(format!("  {}  ", self.pool)),
                Text::styled(format!(" {} ", self.state), Style::new().bg(colour).fg(Color::White)),
            ]),
            Line::from(first),
            Line::from(second),
        ])
        .render(area, buffer);
    }
}

pub(super) fn keys(text: &str, area: Rect, buffer: &mut Buffer) {
    Line::styled(text, Style::new().add_modifier(Modifier::DIM)).render(area, buffer);
}

/// A piece of the pool: how much of it is used, from 0 to 1, and the block that covers most of
/// that, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) share: f64,
    pub(super) largest_bytes: usize,
}

/// Pieces of equal length, over which blocks are laid.
pub(super) struct Cells {
    cells: Vec<Cell>,
    /// The part of each cell that its largest block covers.
    parts: Vec<f64>,
    bytes: f64,
}

impl Cells {
    /// A number of blocks, and the bytes they take.
    pub(super) fn new(count: usize, over_bytes: f64) -> Self {
        Self {
            cells: vec![Cell::default(); count],
            parts: vec![0.0; count],
            bytes: over_bytes.max(1.0) / count.max(1) as f64,
        }
    }

    /// Lays a run of bytes, `share` of which is used by blocks of `block_bytes`.
    pub(super) fn lay(&mut self, from: usize, len: usize, share: f64, block_bytes: usize) {
        let (from, to) = (from as f64 / self.bytes, (from + len) as f64 / self.bytes);
        for at in from as usize..(to.ceil() as usize).min(self.cells.len()) {
            let part = (to.min(at as f64 + 1.0) - from.max(at as f64)) * share;
            let cell = &mut self.cells[at];
            cell.share += part;
            if part > self.parts[at] {
                self.parts[at] = part;
                cell.largest_bytes = block_bytes;
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Cell> {
        self.cells
    }
}

/// The pool, row by row from its start. A cell shows how full it is, in the colour of the block
/// that covers most of it. `cells` returns the requested number of cells.
pub(super) fn map(
    title: String,
    doublings: f64,
    cells: impl FnOnce(usize) -> Vec<Cell>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let block = Block::new().borders(Borders::ALL).title(title);
    let inside = block.inner(area);
    block.render(area, buffer);
    let width = usize::from(inside.width);
    let count = width * usize::from(inside.height);
    if count == 0 {
        return;
    }
    for (at, cell) in cells(count).into_iter().take(count).enumerate() {
        let symbol = match cell.share {
            share if share <= 0.001 => "·",
            share if share < 0.35 => "░",
            share if share < 0.65 => "▒",
            share if share < 0.98 => "▓",
            _ => "█",
        };
        let style = if cell.share <= 0.001 {
            Style::new().fg(Color::DarkGray)
        } else {
            let [r, g, b] = colour(cell.largest_bytes, doublings);
            Style::new().fg(Color::Rgb(r, g, b))
        };
        let (x, y) = (at % width, at / width);
        buffer[(inside.x + x as u16, inside.y + y as u16)].set_symbol(symbol).set_style(style);
    }
}

/// The largest holders.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) blocks: u64,
    pub(super) bytes: u64,
}

/// Puts the largest first and drops the rest.
pub(super) fn largest(mut holders: Vec<Holder>) -> Vec<Holder> {
    holders.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    holders.truncate(HOLDERS_MAX);
    holders
}

pub(super) fn holders(holders: &[Holder], area: Rect, buffer: &mut Buffer) {
    let block = Block::new().borders(Borders::ALL).title("largest holders");
    let inside = block.inner(area);
    block.render(area, buffer);
    let lines = holders.iter().map(|holder| {
        let name: String = holder.name.chars().take(24).collect();
        Line::from(format!("{name:<24} {:>9} {:>9}", grouped(holder.blocks), human(holder.bytes)))
    });
    Paragraph::new(lines.collect::<Vec<_>>()).render(inside, buffer);
}

/// Bars under a title, one for each column. `value` is called with the column and the width.
pub(super) fn curve(
    title: String,
    colour: Color,
    most: u64,
    bars: impl FnOnce(usize) -> Vec<u64>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let block = Block::new().borders(Borders::TOP).title(title);
    let inside = block.inner(area);
    block.render(area, buffer);
    Sparkline::default()
        .data(bars(usize::from(inside.width).max(1)))
        .max(most.max(1))
        .style(Style::new().fg(colour))
        .render(inside, buffer);
}

/// Where the two curves go.
pub(super) fn two(area: Rect) -> [Rect; 2] {
    Layout::vertical([Constraint::Length(4), Constraint::Length(3)]).areas(area)
}
