//! `evenfit top`: a recorded program played in a pool, on the terminal.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use evenfit_trace::Trace;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span as Text};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline, Widget};

use super::open_trace;
use super::report::history::{History, Span};
use super::report::picture::{colour, doublings};
use super::report::{PoolSize, group};
use crate::allocator::Kind;
use crate::output::{Answer, InputError};
use crate::size::{counted, grouped, human};

/// Watch a recorded program use its pool: the map, curves and largest holders; pause, step, jump to the fullest moment.
///
/// Keys: space pauses, arrows step (with Shift 100 operations), + and - change the speed, p the fullest moment, w the one
/// with the free memory most in pieces, f the failure, Home, End, q. Exit code 0; 2 for bad flags or files.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit top traces/lua_particles.evt
  evenfit top traces/csound.evt --pool 43MiB --at failure       one picture, as text")]
pub struct Args {
    /// The recorded program: an .evt or .ytr file
    trace: PathBuf,
    /// The pool's size, metadata included: 16MiB, 4096, 1.5GiB; or `min` for the smallest that fits
    #[arg(long, value_name = "SIZE", default_value = "min")]
    pool: PoolSize,
    /// The allocator to run it in
    #[arg(long, value_enum, default_value_t = Kind::Heap)]
    allocator: Kind,
    /// Print one picture instead: of an operation's number, `fullest`, `worst` or `failure`
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    /// Seconds in which the whole recording is played, at first
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    seconds: f64,
    /// With --at: the same moment's numbers in JSON
    #[arg(long, requires = "at")]
    json: bool,
}

/// A picture's size where there is no terminal.
const PLAIN: Rect = Rect {
    x: 0,
    y: 0,
    width: 100,
    height: 32,
};
/// Between two pictures.
const FRAME: Duration = Duration::from_millis(50);
/// Holders shown.
const HOLDERS_MAX: usize = 12;

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        if self.at.is_none() && !stdout().is_terminal() {
            return Err(InputError(
                "top needs a terminal; --at fullest prints one picture as text".into(),
            ));
        }
        if !(self.seconds > 0.0 && self.seconds <= 1e6) {
            return Err(InputError("--seconds is a number above 0".into()));
        }
        let trace = open_trace(&self.trace)?;
        if trace.events().is_empty() {
            return Err(InputError(format!(
                "{}: there is no operation to show",
                self.trace.display()
            )));
        }
        let pool = self.pool.bytes(&trace, self.allocator)?;
        let history = History::of(&trace, self.allocator, pool)?;
        let mut player = Player::new(
            self.trace.display().to_string(),
            &trace,
            &history,
            pool as u64,
            self.seconds,
        );
        match &self.at {
            None => player
                .play()
                .map_err(|e| InputError(format!("the terminal failed: {e}")))?,
            Some(at) => {
                player.jump_to(at)?;
                if self.json {
                    return Answer::json(&player.now(), true);
                }
                return Ok(Answer::yes(plain(&player)));
            }
        }
        Ok(Answer::yes(""))
    }
}

/// One picture as text, trailing blanks removed.
fn plain(player: &Player) -> String {
    let mut buffer = Buffer::empty(PLAIN);
    player.render(PLAIN, &mut buffer);
    let mut out = String::new();
    for y in 0..PLAIN.height {
        let row: String = (0..PLAIN.width)
            .map(|x| buffer[(x, y)].symbol().to_owned())
            .collect();
        let _ = writeln!(out, "{}", row.trim_end());
    }
    out
}

/// A moment in numbers.
#[derive(serde::Serialize)]
struct Now {
    operation: u64,
    live_bytes: u64,
    live_blocks: u64,
    largest_free_bytes: u64,
    share_served: f64,
    /// Who holds most: call sites, or sizes where none were recorded.
    holders: Vec<Holder>,
}

#[derive(serde::Serialize)]
struct Holder {
    name: String,
    blocks: u64,
    bytes: u64,
}

struct Player<'a> {
    title: String,
    trace: &'a Trace,
    history: &'a History,
    region_bytes: u64,
    doublings: f64,
    /// The event after which the pool is shown; fractions, as it moves on slowly or fast.
    at: f64,
    /// Events a second.
    speed: f64,
    paused: bool,
}

impl<'a> Player<'a> {
    fn new(
        title: String,
        trace: &'a Trace,
        history: &'a History,
        region_bytes: u64,
        seconds: f64,
    ) -> Self {
        Self {
            title,
            trace,
            history,
            region_bytes,
            doublings: doublings(&history.spans),
            at: 0.0,
            speed: history.outcome.done.max(1) as f64 / seconds,
            paused: false,
        }
    }

    fn last(&self) -> usize {
        self.history.outcome.done.saturating_sub(1)
    }

    fn event(&self) -> usize {
        (self.at as usize).min(self.last())
    }

    fn go(&mut self, event: f64) {
        self.at = event.clamp(0.0, self.last() as f64);
    }

    fn jump_to(&mut self, moment: &str) -> Result<(), InputError> {
        let event = match moment {
            "fullest" => self.history.peak.event,
            "worst" => self.history.worst.event,
            "failure" if self.fits() => {
                return Err(InputError("--at failure: the program fits".into()));
            }
            "failure" => self.last(),
            number => match number.replace(',', "").parse::<usize>() {
                Ok(operation) if (1..=self.last() + 1).contains(&operation) => operation - 1,
                _ => {
                    return Err(InputError(format!(
                        "--at: {moment} is neither an operation from 1 to {} nor `fullest`, `worst` or `failure`",
                        grouped(self.last() as u64 + 1)
                    )));
                }
            },
        };
        self.paused = true;
        self.go(event as f64);
        Ok(())
    }

    fn fits(&self) -> bool {
        self.history.outcome.done == self.trace.events().len()
    }

    /// Plays until `q`.
    fn play(&mut self) -> std::io::Result<()> {
        let mut terminal = ratatui::init();
        let mut last = Instant::now();
        let result = loop {
            if let Err(error) = terminal.draw(|frame| self.render(frame.area(), frame.buffer_mut()))
            {
                break Err(error);
            }
            let wait = FRAME.saturating_sub(last.elapsed());
            match event::poll(wait).and_then(|ready| {
                if ready {
                    event::read().map(Some)
                } else {
                    Ok(None)
                }
            }) {
                Ok(Some(Event::Key(key))) if key.kind == KeyEventKind::Press => {
                    if !self.press(key.code, key.modifiers) {
                        break Ok(());
                    }
                }
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            if !self.paused {
                self.go(self.at + self.speed * last.elapsed().as_secs_f64());
            }
            last = Instant::now();
        };
        ratatui::restore();
        result
    }

    /// What a key does; whether to go on.
    fn press(&mut self, key: KeyCode, with: KeyModifiers) -> bool {
        let stride = if with.contains(KeyModifiers::SHIFT) {
            100.0
        } else {
            1.0
        };
        let mut step = |by: f64| {
            self.paused = true;
            let whole = self.at.floor();
            self.go(whole + by);
        };
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if with.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Right => step(stride),
            KeyCode::Left => step(-stride),
            KeyCode::Home => self.go(0.0),
            KeyCode::End => self.go(f64::MAX),
            KeyCode::Char('+' | '=') => self.speed *= 2.0,
            KeyCode::Char('-') => self.speed = (self.speed / 2.0).max(1.0),
            // Without a failure there is nowhere to jump to.
            KeyCode::Char(c @ ('p' | 'w' | 'f')) => {
                let moment = match c {
                    'p' => "fullest",
                    'w' => "worst",
                    _ => "failure",
                };
                let _ = self.jump_to(moment);
            }
            _ => {}
        }
        true
    }

    fn column(&self) -> usize {
        let columns = self.history.columns.len().max(1);
        (self.event() * columns / self.history.over.max(1)).min(columns - 1)
    }

    fn now(&self) -> Now {
        let column = self
            .history
            .columns
            .get(self.column())
            .copied()
            .unwrap_or_default();
        let live: Vec<&Span> = self.history.live_at(self.event()).collect();
        Now {
            operation: self.event() as u64 + 1,
            live_bytes: live.iter().map(|span| span.place.size_bytes).sum(),
            live_blocks: live.len() as u64,
            largest_free_bytes: column.largest_free_bytes,
            share_served: self.history.share_served(column.largest_free_bytes),
            holders: self.holders(&live),
        }
    }

    fn holders(&self, live: &[&Span]) -> Vec<Holder> {
        // By site, or by power of two of the size, before names are looked up.
        let mut groups: HashMap<(u32, u32), (&Span, u64, u64)> = HashMap::new();
        for span in live {
            let class = if span.site == 0 {
                span.place.size_bytes.max(1).ilog2()
            } else {
                0
            };
            let (_, blocks, bytes) = groups.entry((span.site, class)).or_insert((span, 0, 0));
            *blocks += 1;
            *bytes += span.place.len_bytes as u64;
        }
        let holders = groups.into_values().map(|(span, blocks, bytes)| Holder {
            name: group(self.trace, span),
            blocks,
            bytes,
        });
        let mut holders: Vec<Holder> = holders.collect();
        holders.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        holders.truncate(HOLDERS_MAX);
        holders
    }

    fn render(&self, area: Rect, buffer: &mut Buffer) {
        let [top, middle, curves, keys] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Min(4),
            Constraint::Length(7),
            Constraint::Length(1),
        ])
        .areas(area);
        let [map, side] =
            Layout::horizontal([Constraint::Min(20), Constraint::Length(46)]).areas(middle);
        let now = self.now();
        self.header(&now, top, buffer);
        self.map(map, buffer);
        Self::side(&now, side, buffer);
        self.curves(curves, buffer);
        Line::styled(
            "space pause  ←→ step  +− speed  p fullest  w most in pieces  f failure  Home End  q quit",
            Style::new().add_modifier(Modifier::DIM),
        )
        .render(keys, buffer);
    }

    fn header(&self, now: &Now, area: Rect, buffer: &mut Buffer) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let state = match (self.fits(), self.event() == self.last()) {
            (false, true) => " FAILED ".to_owned(),
            (true, true) => " end ".to_owned(),
            _ if self.paused => " paused ".to_owned(),
            _ => format!(" {} operations/s ", grouped(self.speed as u64)),
        };
        let colour = if !self.fits() && self.event() == self.last() {
            Color::Red
        } else {
            Color::Blue
        };
        Paragraph::new(vec![
            Line::from(vec![
                Text::styled(self.title.clone(), bold),
                Text::raw(format!("  in a pool of {}  ", human(self.region_bytes))),
                Text::styled(state, Style::new().bg(colour).fg(Color::White)),
            ]),
            Line::from(format!(
                "operation {} of {}   live {} in {}",
                grouped(now.operation),
                grouped(self.trace.events().len() as u64),
                human(now.live_bytes),
                counted(now.live_blocks, "block"),
            )),
            Line::from(format!(
                "largest free {}: {:.1} % of the requests would succeed",
                human(now.largest_free_bytes),
                (now.share_served * 1000.0).floor() / 10.0
            )),
        ])
        .render(area, buffer);
    }

    /// The pool, row by row from its start: each cell as full as it is, in the colour of what covers most of it.
    fn map(&self, area: Rect, buffer: &mut Buffer) {
        let block = Block::new().borders(Borders::ALL).title("pool");
        let inside = block.inner(area);
        block.render(area, buffer);
        let cells = usize::from(inside.width) * usize::from(inside.height);
        if cells == 0 {
            return;
        }
        let bytes = self.history.outcome.pool_bytes.max(1) as f64 / cells as f64;
        let mut covered = vec![0f64; cells];
        let mut largest = vec![(0f64, 0usize); cells];
        for span in self.history.live_at(self.event()) {
            let from = span.place.offset_bytes as f64 / bytes;
            let to = (span.place.offset_bytes + span.place.len_bytes) as f64 / bytes;
            for cell in from as usize..(to.ceil() as usize).min(cells) {
                let part = to.min(cell as f64 + 1.0) - from.max(cell as f64);
                covered[cell] += part;
                if part > largest[cell].0 {
                    largest[cell] = (part, span.place.len_bytes);
                }
            }
        }
        for (cell, &share) in covered.iter().enumerate() {
            let symbol = match share {
                share if share <= 0.001 => "·",
                share if share < 0.35 => "░",
                share if share < 0.65 => "▒",
                share if share < 0.98 => "▓",
                _ => "█",
            };
            let style = if share <= 0.001 {
                Style::new().fg(Color::DarkGray)
            } else {
                let [r, g, b] = colour(largest[cell].1, self.doublings);
                Style::new().fg(Color::Rgb(r, g, b))
            };
            let (x, y) = (
                cell % usize::from(inside.width),
                cell / usize::from(inside.width),
            );
            buffer[(inside.x + x as u16, inside.y + y as u16)]
                .set_symbol(symbol)
                .set_style(style);
        }
    }

    fn side(now: &Now, area: Rect, buffer: &mut Buffer) {
        let block = Block::new().borders(Borders::ALL).title("largest holders");
        let inside = block.inner(area);
        block.render(area, buffer);
        let lines = now.holders.iter().map(|holder| {
            let name: String = holder.name.chars().take(24).collect();
            Line::from(format!(
                "{name:<24} {:>9} {:>9}",
                grouped(holder.blocks),
                human(holder.bytes)
            ))
        });
        Paragraph::new(lines.collect::<Vec<_>>()).render(inside, buffer);
    }

    fn curves(&self, area: Rect, buffer: &mut Buffer) {
        let [live, share] =
            Layout::vertical([Constraint::Length(4), Constraint::Length(3)]).areas(area);
        let columns = &self.history.columns;
        let draw = |area: Rect,
                    title: String,
                    value: &dyn Fn(usize) -> u64,
                    most: u64,
                    colour: Color,
                    buffer: &mut Buffer| {
            let block = Block::new().borders(Borders::TOP).title(title);
            let inside = block.inner(area);
            block.render(area, buffer);
            let width = usize::from(inside.width).max(1);
            // Up to now; what comes is not drawn yet.
            let shown = (self.column() + 1) * width / columns.len().max(1);
            let bars: Vec<u64> = (0..shown.max(1))
                .map(|x| value((x * columns.len() / width).min(columns.len() - 1)))
                .collect();
            Sparkline::default()
                .data(&bars)
                .max(most.max(1))
                .style(Style::new().fg(colour))
                .render(inside, buffer);
        };
        let pool = self.history.outcome.pool_bytes as u64;
        draw(
            live,
            format!("live bytes of {}", human(pool)),
            &|at| columns[at].live_bytes,
            pool,
            Color::Blue,
            buffer,
        );
        draw(
            share,
            "share of the requests that would succeed".into(),
            &|at| (self.history.share_served(columns[at].largest_free_bytes) * 1000.0) as u64,
            1000,
            Color::Green,
            buffer,
        );
    }
}

#[cfg(test)]
mod tests {
    use evenfit_trace::TraceBuilder;

    use super::*;

    fn trace() -> Trace {
        let mut builder = TraceBuilder::default();
        let ids: Vec<u32> = (0..50)
            .map(|n| builder.alloc(100 + 10 * n, 8).unwrap())
            .collect();
        ids.iter()
            .step_by(2)
            .for_each(|&id| builder.free(id).unwrap());
        builder.finish()
    }

    #[test]
    fn keys_pause_step_and_jump() {
        let trace = trace();
        let history = History::of(&trace, Kind::Blocks, 64 << 10).unwrap();
        let mut player = Player::new("t".into(), &trace, &history, 64 << 10, 10.0);
        let press = |player: &mut Player, key| player.press(key, KeyModifiers::NONE);
        assert!(press(&mut player, KeyCode::Right) && player.paused);
        assert_eq!(player.event(), 1);
        press(&mut player, KeyCode::Left);
        press(&mut player, KeyCode::Left);
        assert_eq!(player.event(), 0);
        player.press(KeyCode::Right, KeyModifiers::SHIFT);
        assert_eq!(player.event(), 74, "at the end of 75 operations");
        press(&mut player, KeyCode::Char('p'));
        assert_eq!(player.event(), 49);
        assert_eq!(player.now().live_blocks, 50);
        press(&mut player, KeyCode::Char('f'));
        assert_eq!(player.event(), 49, "no failure to jump to");
        press(&mut player, KeyCode::End);
        assert_eq!(player.now().live_blocks, 25);
        press(&mut player, KeyCode::Char(' '));
        assert!(!player.paused);
        let speed = player.speed;
        press(&mut player, KeyCode::Char('+'));
        assert!(player.speed > speed);
        assert!(!press(&mut player, KeyCode::Char('q')));
    }

    #[test]
    fn every_size_of_terminal_can_be_drawn_on() {
        let trace = trace();
        let history = History::of(&trace, Kind::Blocks, 64 << 10).unwrap();
        let player = Player::new("t".into(), &trace, &history, 64 << 10, 10.0);
        for (width, height) in [(1, 1), (5, 3), (20, 10), (80, 24), (300, 100)] {
            let area = Rect::new(0, 0, width, height);
            player.render(area, &mut Buffer::empty(area));
        }
    }
}
