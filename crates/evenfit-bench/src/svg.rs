//! Plots as SVG text: bars, and points in a plane.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A labelled value.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Whose it is.
    pub label: String,
    /// How much; `None` is shown as absent.
    pub value: Option<f64>,
}

/// A labelled point.
#[derive(Clone, Debug)]
pub struct Point {
    /// Whose it is.
    pub label: String,
    /// To the right.
    pub x: f64,
    /// Up.
    pub y: f64,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences.
    Linear,
    /// Equal ratios.
    Log,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

const WIDTH: u32 = 860;
const LEFT: i32 = 150;
const RIGHT: i32 = 90;
const TOP: i32 = 60;
const ROW: i32 = 24;
/// evenfit's colour, and that of all others; both are readable on white and on black.
const OWN: RGBColor = RGBColor(0xd9, 0x48, 0x0f);
const OTHERS: RGBColor = RGBColor(0x74, 0x8f, 0xfc);
const TEXT: RGBColor = RGBColor(0x86, 0x8e, 0x96);

/// Horizontal bars, shortest first: less is better in everything measured here.
#[must_use]
pub fn bars(title: &str, subtitle: &str, scale: Scale, digits: usize, bars: &[Bar]) -> String {
    let mut sorted = bars.to_vec();
    sorted.sort_by(|a, b| {
        let [a, b] = [a, b].map(|bar| bar.value.unwrap_or(f64::MAX));
        a.total_cmp(&b)
    });
    let values = || sorted.iter().filter_map(|bar| bar.value);
    // A logarithmic bar begins a little below the least value, which would have no length
    // otherwise.
    let origin = values().fold(f64::MAX, f64::min) / 2.0;
    let length = |value: f64| match scale {
        Scale::Linear => value,
        Scale::Log => (value / origin).ln(),
    };
    let longest = values().map(length).fold(0.0, f64::max);
    let room = f64::from(WIDTH as i32 - LEFT - RIGHT);
    picture(title, subtitle, TOP + ROW * sorted.len() as i32 + 20, |area| {
        for (bar, y) in sorted.iter().zip((TOP..).step_by(ROW as usize)) {
            let middle = y + ROW / 2 - 1;
            write(area, &bar.label, (LEFT - 8, middle), HPos::Right)?;
            let (end, label) = match bar.value {
                Some(value) => {
                    (LEFT + (length(value) / longest * room) as i32, format!("{value:.digits$}"))
                }
                None => (LEFT, "none".to_owned()),
            };
            let corners = [(LEFT, y + 2), (end, y + ROW - 4)];
            if end > LEFT {
                area.draw(&Rectangle::new(corners, colour(&bar.label).filled()))?;
            }
            write(area, &label, (end + 6, middle), HPos::Left)?;
        }
        Ok(())
    })
}

/// Points in a plane, each with its label beside it.
#[must_use]
pub fn points(
    title: &str,
    subtitle: &str,
    x_label: &str,
    y_label: &str,
    points: &[Point],
) -> String {
    picture(title, subtitle, 520, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(TOP)
            .margin_right(RIGHT)
            .margin_left(10)
            .x_label_area_size(50)
            .y_label_area_size(60)
            .build_cartesian_2d(
                axis(points.iter().map(|point| point.x)),
                axis(points.iter().map(|point| point.y)),
            )?;
        chart
            .configure_mesh()
            .axis_style(TEXT.mix(0.3))
            .bold_line_style(TEXT.mix(0.3))
            .light_line_style(TRANSPARENT)
            .label_style(style(13))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .x_desc(x_label)
            .y_desc(y_label)
            .draw()?;
        chart.draw_series(points.iter().map(|point| {
            EmptyElement::at((point.x, point.y))
                + Circle::new((0, 0), 5, colour(&point.label).filled())
                + Text::new(
                    point.label.clone(),
                    (8, 0),
                    style(13).pos(Pos::new(HPos::Left, VPos::Center)),
                )
        }))?;
        Ok(())
    })
}

/// A logarithmic axis with a margin around these values.
fn axis(
    values: impl Iterator<Item = f64> + Clone,
) -> impl AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>> {
    let least = values.clone().fold(f64::MAX, f64::min);
    let most = values.fold(0.0, f64::max);
    let margin = (most / least).powf(0.06).max(1.01);
    let range = least / margin..most * margin;
    range.clone().log_scale().with_key_points(ticks(&range))
}

/// Round values within a logarithmic axis: dense ones if it spans less than a factor of four.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let steps: &[f64] = if range.end / range.start < 4.0 {
        &[1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let decades = (range.start.log10().floor() as i32)..=(range.end.log10().ceil() as i32);
    decades
        .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
        .filter(|tick| range.contains(tick))
        .collect()
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A picture with its title.
fn picture(title: &str, subtitle: &str, height: i32, draw: impl FnOnce(&Area) -> Drawn) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
    let heading = Text::new(title, (16, 10), style(17).font.style(FontStyle::Bold).color(&TEXT));
    area.draw(&heading)
        .and_then(|()| write(&area, subtitle, (16, 40), HPos::Left))
        .and_then(|()| draw(&area))
        .and_then(|()| area.present())
        .expect("a string takes all");
    drop(area);
    svg
}

fn write(area: &Area, text: &str, at: (i32, i32), side: HPos) -> Drawn {
    let style = style(13).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, style))
}

fn style(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&TEXT)
}

fn colour(label: &str) -> RGBColor {
    if label.starts_with("evenfit") { OWN } else { OTHERS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: Option<f64>) -> Bar {
        Bar { label: label.to_owned(), value }
    }

    #[test]
    fn bars_are_sorted_and_escaped() {
        let svg = bars(
            "a < b",
            "",
            Scale::Linear,
            1,
            &[bar("slow", Some(9.0)), bar("fast", Some(3.0)), bar("absent", None)],
        );
        assert!(svg.contains("a &lt; b"));
        let at = |text: &str| svg.find(text).expect(text);
        assert!(at("fast") < at("slow") && at("slow") < at("\nnone\n"));
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn a_point_has_a_place_within_the_plot() {
        let point = |label: &str, x, y| Point { label: label.to_owned(), x, y };
        let svg = points("t", "s", "x", "y", &[point("a", 1.0, 10.0), point("b", 4.0, 10.0)]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
