//! A recorded program played in a pool.

use std::collections::HashMap;
use std::time::Duration;

use evenfit_trace::Trace;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::draw::{self, Cell, Cells, Header, Holder, Screen};
use crate::commands::report::history::{History, Span};
use crate::commands::report::picture::doublings;
use crate::obstacles::{group_key, group_name};
use crate::output::InputError;
use crate::size::{counted, grouped, human};

/// A moment in numbers.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct Now {
    operation: u64,
    live_bytes: u64,
    live_blocks: u64,
    largest_free_bytes: u64,
    share_served: f64,
    /// The largest holders: call sites, or sizes if none were recorded.
    holders: Vec<Holder>,
}

pub(super) struct Player<'a> {
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
    pub(super) fn new(
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

    pub(super) fn jump_to(&mut self, moment: &str) -> Result<(), InputError> {
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

    fn column(&self) -> usize {
        let columns = self.history.columns.len().max(1);
        (self.event() * columns / self.history.over.max(1)).min(columns - 1)
    }

    pub(super) fn now(&self) -> Now {
        let column = self.history.columns.get(self.column()).copied().unwrap_or_default();
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
        // Before names are looked up.
        let mut groups: HashMap<(u32, u32), (&Span, u64, u64)> = HashMap::new();
        for span in live {
            let key = group_key(span.site, span.place.size_bytes);
            let (_, blocks, bytes) = groups.entry(key).or_insert((span, 0, 0));
            *blocks += 1;
            *bytes += span.place.len_bytes as u64;
        }
        let holders = groups.into_values().map(|(span, blocks, bytes)| Holder {
            name: group_name(self.trace, span.site, span.place.size_bytes),
            blocks,
            bytes,
        });
        draw::largest(holders.collect())
    }

    fn header(&self, now: &Now) -> Header {
        let has_failed = !self.fits() && self.event() == self.last();
        let state = match (self.fits(), self.event() == self.last()) {
            (false, true) => "FAILED".to_owned(),
            (true, true) => "end".to_owned(),
            _ if self.paused => "paused".to_owned(),
            _ => format!("{} operations/s", grouped(self.speed as u64)),
        };
        Header {
            title: self.title.clone(),
            pool: format!("in a pool of {}", human(self.region_bytes)),
            state,
            is_bad: has_failed,
            lines: [
                format!(
                    "operation {} of {}   live {} in {}",
                    grouped(now.operation),
                    grouped(self.trace.events().len() as u64),
                    human(now.live_bytes),
                    counted(now.live_blocks, "block"),
                ),
                format!(
                    "largest free {}: {:.1} % of the requests would succeed",
                    human(now.largest_free_bytes),
                    (now.share_served * 1000.0).floor() / 10.0
                ),
            ],
        }
    }

    fn cells(&self, count: usize) -> Vec<Cell> {
        let mut cells = Cells::new(count, self.history.outcome.pool_bytes as f64);
        for span in self.history.live_at(self.event()) {
            let place = span.place;
            cells.lay(place.offset_bytes, place.len_bytes, 1.0, place.len_bytes);
        }
        cells.finish()
    }

    fn curves(&self, area: Rect, buffer: &mut Buffer) {
        let [live, share] = draw::two(area);
        let columns = &self.history.columns;
        // The curve up to now.
        let bars = |value: &dyn Fn(usize) -> u64, width: usize| -> Vec<u64> {
            let shown = (self.column() + 1) * width / columns.len().max(1);
            (0..shown.max(1))
                .map(|x| value((x * columns.len() / width).min(columns.len() - 1)))
                .collect()
        };
        let pool = self.history.outcome.pool_bytes as u64;
        draw::curve(
            format!("live bytes of {}", human(pool)),
            Color::Blue,
            pool,
            |width| bars(&|at| columns[at].live_bytes, width),
            live,
            buffer,
        );
        let served =
            |at: usize| (self.history.share_served(columns[at].largest_free_bytes) * 1000.0) as u64;
        draw::curve(
            "share of the requests that would succeed".into(),
            Color::Green,
            1000,
            |width| bars(&served, width),
            share,
            buffer,
        );
    }
}

impl Screen for Player<'_> {
    fn render(&self, area: Rect, buffer: &mut Buffer) {
        let [top, map, side, curves, keys] = draw::areas(area);
        let now = self.now();
        self.header(&now).render(top, buffer);
        draw::map("pool".into(), self.doublings, |count| self.cells(count), map, buffer);
        draw::holders(&now.holders, side, buffer);
        self.curves(curves, buffer);
        draw::keys(
            "space pause  ←→ step  +− speed  p fullest  w most in pieces  f failure  Home End  q quit",
            keys,
            buffer,
        );
    }

    fn press(&mut self, key: KeyCode, with: KeyModifiers) -> bool {
        let stride = if with.contains(KeyModifiers::SHIFT) { 100.0 } else { 1.0 };
        let mut step = |by: f64| {
            self.paused = true;
            let whole = self.at.floor();
            self.go(whole + by);
        };
        match key {
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

    fn advance(&mut self, by: Duration) {
        if !self.paused {
            self.go(self.at + self.speed * by.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use evenfit_trace::TraceBuilder;

    use super::*;
    use crate::allocator::Kind;

    fn trace() -> Trace {
        let mut builder = TraceBuilder::default();
        let ids: Vec<u32> = (0..50).map(|n| builder.alloc(100 + 10 * n, 8).unwrap()).collect();
        ids.iter().step_by(2).for_each(|&id| builder.free(id).unwrap());
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
