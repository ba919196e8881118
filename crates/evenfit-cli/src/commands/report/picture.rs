//! The memory map and the live bytes over time as one picture, for papers and build artefacts.

use std::fmt::Write as _;

use font8x8::UnicodeFonts as _;

use super::Summary;
use super::history::{Column, History, Span};
use super::page::{data_url, escaped};
use crate::output::InputError;
use crate::size::{grouped, human};

/// Red, green, blue.
pub(in crate::commands) type Colour = [u8; 3];

const WIDTH: usize = 1400;
const MAP_HEIGHT: usize = 520;
const CURVE_HEIGHT: usize = 150;
const LEFT: usize = 96;
const RIGHT: usize = 24;
const TOP: usize = 56;
const GAP: usize = 20;
const BOTTOM: usize = 64;
const HEIGHT: usize = TOP + MAP_HEIGHT + GAP + CURVE_HEIGHT + BOTTOM;
const PLOT: usize = WIDTH - LEFT - RIGHT;
const CURVE_TOP: usize = TOP + MAP_HEIGHT + GAP;

const PAPER: Colour = [255, 255, 255];
const INK: Colour = [34, 40, 52];
const FAINT: Colour = [118, 126, 141];
const GRID: Colour = [222, 226, 233];
/// Free memory that was used before, and memory never touched.
const FREE: Colour = [238, 241, 246];
const LIVE: Colour = [67, 97, 238];
const REACH: Colour = [247, 37, 133];
const FAILURE: Colour = [208, 0, 0];

/// Blocks by size, from 16 bytes to the largest. The page uses the same.
const SIZES: [Colour; 12] = [
    [76, 201, 240],
    [72, 149, 239],
    [67, 97, 238],
    [94, 74, 227],
    [123, 44, 191],
    [166, 44, 191],
    [209, 44, 159],
    [247, 37, 133],
    [249, 87, 95],
    [251, 139, 61],
    [252, 191, 73],
    [255, 225, 122],
];

/// Doublings of size for each colour, so that the last one is that of the largest block.
pub(in crate::commands) fn doublings(spans: &[Span]) -> f64 {
    let largest = spans.iter().map(|span| span.place.len_bytes).max().unwrap_or(0);
    doublings_up_to(largest)
}

/// The same, given the size of the largest block in bytes.
pub(in crate::commands) fn doublings_up_to(largest_bytes: usize) -> f64 {
    f64::from(largest_bytes.max(16).ilog2() - 4).max(11.0) / 11.0
}

/// A block's colour.
pub(in crate::commands) fn colour(len_bytes: usize, doublings: f64) -> Colour {
    let class = ((len_bytes.max(16) as f64).log2() - 4.0) / doublings + 1e-9;
    SIZES[(class as usize).min(SIZES.len() - 1)]
}

/// The numbers to draw.
pub(super) struct Picture {
    title: String,
    note: String,
    end: u64,
    pool_bytes: u64,
    /// The map's pixels, row by row from the highest address down.
    map: Vec<Colour>,
    /// Live and reached bytes of each step of time.
    columns: Vec<Column>,
    failed_at: Option<u64>,
}

impl Picture {
    pub(super) fn of(summary: &Summary, history: &History) -> Self {
        let end = summary.operations.max(1);
        let name = summary.trace.rsplit('/').next().unwrap_or(&summary.trace);
        Self {
            title: format!("{name} in a pool of {}", summary.pool_human),
            note: format!(
                "{}{} operations, peak live {}{}",
                if summary.incomplete.is_some() { "INCOMPLETE RECORDING: " } else { "" },
                grouped(summary.operations),
                human(summary.peak.live_bytes),
                if summary.fits {
                    String::new()
                } else {
                    format!("; fails at operation {}", grouped(summary.operations_done + 1))
                }
            ),
            end,
            pool_bytes: summary.pool_bytes.max(1),
            map: Raster::new(PLOT, MAP_HEIGHT, end, summary.pool_bytes.max(1)).draw(&history.spans),
            columns: history.columns.iter().filter(|column| column.seen).copied().collect(),
            failed_at: (!summary.fits).then_some(summary.operations_done),
        }
    }

    /// Points of a curve under the map.
    fn curve(&self, value: impl Fn(&Column) -> u64) -> Vec<(f64, f64)> {
        let done = self.failed_at.unwrap_or(self.end) as f64 / self.end as f64;
        let step = done * PLOT as f64 / self.columns.len().max(1) as f64;
        let points = self.columns.iter().enumerate().map(|(at, column)| {
            let share = value(column) as f64 / self.pool_bytes as f64;
            let y = CURVE_TOP as f64 + (1.0 - share.min(1.0)) * CURVE_HEIGHT as f64;
            (LEFT as f64 + (at as f64 + 0.5) * step, y)
        });
        points.collect()
    }

    /// Ticks along an axis: the position from 0 to 1, and the label.
    fn ticks(end: u64, label: impl Fn(u64) -> String) -> Vec<(f64, String)> {
        (0..=4).map(|at| (f64::from(at) / 4.0, label(end * at as u64 / 4))).collect()
    }

    /// The picture as SVG: axes, curves and text as vectors, the map as pixels.
    ///
    /// # Errors
    /// The map's pixels can't be packed.
    pub(super) fn svg(&self) -> Result<String, InputError> {
        let mut svg = Svg(svg_frame((WIDTH, HEIGHT), LEFT, &self.title, &self.note));
        let map = data_url("image/png", &png(&self.map, PLOT, MAP_HEIGHT)?);
        let _ = writeln!(
            svg.0,
            "<image x=\"{LEFT}\" y=\"{TOP}\" width=\"{PLOT}\" height=\"{MAP_HEIGHT}\" href=\"{map}\"/>"
        );
        self.draw(&mut svg);
        Ok(svg.0 + "</svg>\n")
    }

    /// The picture as PNG.
    ///
    /// # Errors
    /// The pixels can't be packed.
    pub(super) fn png(&self) -> Result<Vec<u8>, InputError> {
        let mut canvas = Canvas { pixels: vec![PAPER; WIDTH * HEIGHT] };
        for (y, row) in self.map.chunks_exact(PLOT).enumerate() {
            let start = (TOP + y) * WIDTH + LEFT;
            canvas.pixels[start..start + PLOT].copy_from_slice(row);
        }
        canvas.letters((LEFT, 14), &self.title, INK, 2);
        canvas.letters((LEFT, 38), &self.note, FAINT, 1);
        self.draw(&mut canvas);
        png(&canvas.pixels, WIDTH, HEIGHT)
    }

    /// Axes, curves and legend.
    fn draw(&self, pen: &mut impl Pen) {
        let (left, bottom) = (LEFT as f64, (CURVE_TOP + CURVE_HEIGHT) as f64);
        let x_at = |share: f64| left + share * PLOT as f64;
        for (share, label) in Self::ticks(self.pool_bytes, human) {
            let y = TOP as f64 + (1.0 - share) * MAP_HEIGHT as f64;
            pen.text((left - 8.0, y + 4.0), Anchor::End, FAINT, &label);
        }
        for (share, label) in Self::ticks(self.end, grouped) {
            let x = x_at(share);
            pen.line(&[(x, CURVE_TOP as f64), (x, bottom)], GRID, Stroke::Hair);
            let anchor = match share {
                1.0.. => Anchor::End,
                _ => Anchor::Middle,
            };
            pen.text((x, bottom + 18.0), anchor, FAINT, &label);
        }
        pen.line(&self.curve(|c| c.reach_bytes), REACH, Stroke::Curve);
        pen.line(&self.curve(|c| c.live_bytes), LIVE, Stroke::Curve);
        let y = HEIGHT as f64 - 14.0;
        pen.text((left, y), Anchor::Start, REACH, "furthest byte used");
        pen.text((left + 170.0, y), Anchor::Start, LIVE, "live bytes");
        pen.text((x_at(1.0), y), Anchor::End, FAINT, "operations");
        if let Some(failed) = self.failed_at {
            let x = x_at(failed as f64 / self.end as f64);
            pen.line(&[(x, TOP as f64), (x, bottom)], FAILURE, Stroke::Dashes);
        }
    }
}

/// Which end of a text is at its position.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// The style of a line.
#[derive(Clone, Copy, PartialEq)]
enum Stroke {
    Hair,
    Curve,
    Dashes,
}

/// The means by which a picture is drawn. Positions are in pixels from the upper left corner; that
/// of a text is on its base line.
trait Pen {
    fn text(&mut self, at: (f64, f64), anchor: Anchor, colour: Colour, text: &str);
    fn line(&mut self, points: &[(f64, f64)], colour: Colour, stroke: Stroke);
}

/// An SVG picture as it is written.
struct Svg(String);

impl Pen for Svg {
    fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, colour: Colour, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
            hex(colour),
            escaped(text)
        );
    }

    fn line(&mut self, points: &[(f64, f64)], colour: Colour, stroke: Stroke) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let style = match stroke {
            Stroke::Hair => "",
            Stroke::Curve => " stroke-width=\"1.6\"",
            Stroke::Dashes => " stroke-dasharray=\"4 3\"",
        };
        let _ = writeln!(
            self.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\"{style}/>",
            points.join(" "),
            hex(colour)
        );
    }
}

/// A colour as SVG writes it.
fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The beginning of every picture: its size, background and font, a title and a note below it.
pub(in crate::commands) fn svg_frame(
    (width, height): (usize, usize),
    left: usize,
    title: &str,
    note: &str,
) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"Inter, Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"{}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n\
         <text x=\"{left}\" y=\"24\" font-size=\"18\" font-weight=\"600\">{}</text>\n\
         <text x=\"{left}\" y=\"43\" fill=\"{}\">{}</text>\n",
        hex(INK),
        hex(PAPER),
        escaped(title),
        hex(FAINT),
        escaped(note),
    )
}

/// Pixels as a PNG file.
///
/// # Errors
/// They can't be packed.
pub(in crate::commands) fn png(
    pixels: &[Colour],
    width: usize,
    height: usize,
) -> Result<Vec<u8>, InputError> {
    let error = |e: png::EncodingError| InputError(format!("can't pack the picture: {e}"));
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(error)?;
    writer.write_image_data(pixels.as_flattened()).map_err(error)?;
    writer.finish().map_err(error)?;
    Ok(out)
}

/// The map of addresses over time. The shade of a pixel shows how full it is.
pub(in crate::commands) struct Raster {
    width: usize,
    height: usize,
    x_scale: f64,
    y_scale: f64,
    covered: Vec<f32>,
    largest: Vec<f32>,
    colours: Vec<Colour>,
}

impl Raster {
    /// An empty map: its size in pixels, and the operations and bytes that it covers.
    pub(in crate::commands) fn new(width: usize, height: usize, end: u64, pool_bytes: u64) -> Self {
        Self {
            width,
            height,
            x_scale: width as f64 / end as f64,
            y_scale: height as f64 / pool_bytes as f64,
            covered: vec![0.0; width * height],
            largest: vec![0.0; width * height],
            colours: vec![FREE; width * height],
        }
    }

    /// Draws the spans, row by row from the highest address down.
    pub(in crate::commands) fn draw(mut self, spans: &[Span]) -> Vec<Colour> {
        let doublings = doublings(spans);
        for span in spans {
            self.span(span, colour(span.place.len_bytes, doublings));
        }
        let blend = |from: Colour, to: Colour, share: f32| {
            [0, 1, 2]
                .map(|at| (f32::from(from[at]) * (1.0 - share) + f32::from(to[at]) * share) as u8)
        };
        let pixels = self.colours.iter().zip(&self.covered);
        pixels.map(|(&colour, &covered)| blend(FREE, colour, covered.min(1.0).sqrt())).collect()
    }

    fn span(&mut self, span: &Span, colour: Colour) {
        let x = (f64::from(span.start) * self.x_scale, f64::from(span.end) * self.x_scale);
        let low = span.place.offset_bytes as f64 * self.y_scale;
        let high = (span.place.offset_bytes + span.place.len_bytes) as f64 * self.y_scale;
        // The part of pixel `at` that the interval covers.
        let part = |(from, to): (f64, f64), at: usize| {
            (to.min(at as f64 + 1.0) - from.max(at as f64)).max(0.0) as f32
        };
        for row in low as usize..=(high as usize).min(self.height - 1) {
            let tall = part((low, high), row);
            for column in x.0 as usize..=(x.1 as usize).min(self.width - 1) {
                let share = tall * part(x, column);
                let at = (self.height - 1 - row) * self.width + column;
                self.covered[at] += share;
                if share > self.largest[at] {
                    self.largest[at] = share;
                    self.colours[at] = colour;
                }
            }
        }
    }
}

/// A canvas of pixels.
struct Canvas {
    pixels: Vec<Colour>,
}

impl Canvas {
    fn set(&mut self, x: usize, y: usize, colour: Colour) {
        if x < WIDTH && y < HEIGHT {
            self.pixels[y * WIDTH + x] = colour;
        }
    }

    /// Text whose upper left corner is at `place`, with letters of 8 times `scale` pixels.
    fn letters(&mut self, (x, y): (usize, usize), text: &str, colour: Colour, scale: usize) {
        for (at, letter) in text.chars().enumerate() {
            let glyph = font8x8::BASIC_FONTS.get(letter).unwrap_or_default();
            for (row, column) in (0..8 * scale).flat_map(|y| (0..8 * scale).map(move |x| (y, x))) {
                if glyph[row / scale] >> (column / scale) & 1 == 1 {
                    self.set(x + at * 8 * scale + column, y + row, colour);
                }
            }
        }
    }
}

impl Pen for Canvas {
    fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, colour: Colour, text: &str) {
        let width = 8 * text.chars().count();
        let before = match anchor {
            Anchor::Start => 0,
            Anchor::Middle => width / 2,
            Anchor::End => width,
        };
        let x = (x as usize).saturating_sub(before).min(WIDTH - width.min(WIDTH));
        self.letters((x, (y as usize).saturating_sub(8)), text, colour, 1);
    }

    fn line(&mut self, points: &[(f64, f64)], colour: Colour, stroke: Stroke) {
        for pair in points.windows(2) {
            let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
            let steps = dx.abs().max(dy.abs()).ceil().max(1.0) as usize;
            for step in 0..=steps {
                let share = step as f64 / steps as f64;
                let (x, y) = (pair[0].0 + dx * share, pair[0].1 + dy * share);
                // The right end of an axis is the last pixel before the margin.
                let (x, y) = ((x as usize).min(LEFT + PLOT - 1), y as usize);
                match stroke {
                    Stroke::Dashes if y % 7 >= 4 => {}
                    Stroke::Curve => (y..y + 2).for_each(|y| self.set(x, y, colour)),
                    _ => self.set(x, y, colour),
                }
            }
        }
    }
}
