//! Plots as SVG text: bars, and points in a plane.

use std::fmt::Write;

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

const WIDTH: f64 = 860.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 60.0;
const ROW: f64 = 24.0;
/// evenfit's own colour, and that of everyone else; both hold on white and on black.
const OWN: &str = "#d9480f";
const OTHERS: &str = "#748ffc";
const TEXT: &str = "#868e96";

/// Horizontal bars, shortest first: less is better in everything measured here.
#[must_use]
pub fn bars(title: &str, subtitle: &str, scale: Scale, digits: usize, bars: &[Bar]) -> String {
    let mut sorted = bars.to_vec();
    sorted.sort_by(|a, b| {
        a.value
            .unwrap_or(f64::MAX)
            .total_cmp(&b.value.unwrap_or(f64::MAX))
    });
    let values = || sorted.iter().filter_map(|bar| bar.value);
    let (least, most) = (
        values().fold(f64::MAX, f64::min),
        values().fold(0.0, f64::max),
    );
    // A logarithmic bar begins a little below the least value, or that one would have no length.
    let origin = if scale == Scale::Log {
        least / 2.0
    } else {
        0.0
    };
    let axis = Axis {
        scale,
        from: origin,
        to: most,
    };
    let height = TOP + ROW * sorted.len() as f64 + 20.0;
    let mut svg = open(title, subtitle, height);
    for (row, bar) in sorted.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let label = escape(&bar.label);
        let _ = writeln!(
            svg,
            r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{label}</text>"#,
            LEFT - 8.0,
            y + 15.0
        );
        let Some(value) = bar.value else {
            let _ = writeln!(
                svg,
                r#"<text x="{LEFT:.0}" y="{:.0}" fill="{TEXT}">none</text>"#,
                y + 15.0
            );
            continue;
        };
        let length = axis.part(value) * (WIDTH - LEFT - RIGHT);
        let fill = colour(&bar.label);
        let _ = writeln!(
            svg,
            r#"<rect x="{LEFT:.0}" y="{:.0}" width="{length:.1}" height="{:.0}" fill="{fill}"/>"#,
            y + 2.0,
            ROW - 6.0
        );
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.0}">{value:.digits$}</text>"#,
            LEFT + length + 6.0,
            y + 15.0
        );
    }
    svg.push_str("</svg>\n");
    svg
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
    const HEIGHT: f64 = 520.0;
    const BOTTOM: f64 = 60.0;
    let left = 70.0;
    let x_axis = Axis::around(points.iter().map(|point| point.x));
    let y_axis = Axis::around(points.iter().map(|point| point.y));
    let x_at = |x: f64| left + x_axis.part(x) * (WIDTH - left - RIGHT);
    let y_at = |y: f64| HEIGHT - BOTTOM - y_axis.part(y) * (HEIGHT - BOTTOM - TOP);
    let mut svg = open(title, subtitle, HEIGHT);
    for x in x_axis.ticks() {
        let at = x_at(x);
        let _ = writeln!(
            svg,
            r#"<line x1="{at:.1}" y1="{TOP:.0}" x2="{at:.1}" y2="{:.0}" stroke="{TEXT}" stroke-opacity="0.3"/><text x="{at:.1}" y="{:.0}" text-anchor="middle" fill="{TEXT}">{}</text>"#,
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 18.0,
            short(x)
        );
    }
    for y in y_axis.ticks() {
        let at = y_at(y);
        let _ = writeln!(
            svg,
            r#"<line x1="{left:.0}" y1="{at:.1}" x2="{:.0}" y2="{at:.1}" stroke="{TEXT}" stroke-opacity="0.3"/><text x="{:.0}" y="{:.1}" text-anchor="end" fill="{TEXT}">{}</text>"#,
            WIDTH - RIGHT,
            left - 6.0,
            at + 4.0,
            short(y)
        );
    }
    for point in points {
        let (x, y) = (x_at(point.x), y_at(point.y));
        let (fill, label) = (colour(&point.label), escape(&point.label));
        let _ = writeln!(
            svg,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="5" fill="{fill}"/><text x="{:.1}" y="{:.1}">{label}</text>"#,
            x + 8.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        svg,
        r#"<text x="{:.0}" y="{:.0}" text-anchor="middle">{}</text><text x="16" y="{:.0}" text-anchor="middle" transform="rotate(-90 16 {:.0})">{}</text></svg>"#,
        f64::midpoint(left, WIDTH - RIGHT),
        HEIGHT - 14.0,
        escape(x_label),
        HEIGHT / 2.0,
        HEIGHT / 2.0,
        escape(y_label)
    );
    svg
}

struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Axis {
    /// A logarithmic axis with a margin around these values.
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().fold(f64::MAX, f64::min);
        let most = values.fold(0.0, f64::max);
        let margin = (most / least).powf(0.06).max(1.01);
        Self {
            scale: Scale::Log,
            from: least / margin,
            to: most * margin,
        }
    }

    /// Where a value lies between the ends: from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value / self.from).ln() / (self.to / self.from).ln(),
        };
        if part.is_finite() {
            part.clamp(0.0, 1.0)
        } else {
            1.0
        }
    }

    /// Round values within a logarithmic axis: dense ones if it spans less than a factor of four.
    fn ticks(&self) -> Vec<f64> {
        let dense = [
            1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0,
        ];
        let sparse = [1.0, 2.0, 5.0];
        let steps: &[f64] = if self.to / self.from < 4.0 {
            &dense
        } else {
            &sparse
        };
        let decades = (self.from.log10().floor() as i32)..=(self.to.log10().ceil() as i32);
        decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|tick| (self.from..=self.to).contains(tick))
            .collect()
    }
}

fn open(title: &str, subtitle: &str, height: f64) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {height:.0}" font-family="sans-serif" font-size="13" fill="{TEXT}">
<title>{title}</title>
<text x="16" y="24" font-size="17" font-weight="bold">{title}</text>
<text x="16" y="44" fill="{TEXT}">{subtitle}</text>
"#,
        title = escape(title),
        subtitle = escape(subtitle)
    )
}

fn colour(label: &str) -> &'static str {
    if label.starts_with("evenfit") {
        OWN
    } else {
        OTHERS
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: Option<f64>) -> Bar {
        Bar {
            label: label.to_owned(),
            value,
        }
    }

    #[test]
    fn bars_are_sorted_and_escaped() {
        let svg = bars(
            "a < b",
            "",
            Scale::Linear,
            1,
            &[
                bar("slow", Some(9.0)),
                bar("fast", Some(3.0)),
                bar("none", None),
            ],
        );
        assert!(svg.contains("a &lt; b"));
        assert!(svg.find("fast") < svg.find("slow") && svg.find("slow") < svg.find(">none<"));
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn a_point_has_a_place_within_the_plot() {
        let point = |label: &str, x, y| Point {
            label: label.to_owned(),
            x,
            y,
        };
        let svg = points(
            "t",
            "s",
            "x",
            "y",
            &[point("a", 1.0, 10.0), point("b", 4.0, 10.0)],
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
