//! A [`Chart`] becomes SVG, with `plotters` and its SVG backend.
//!
//! The backend knows whole pixels only, so everything is drawn [`FINE`] times as large and shown in
//! a `viewBox`: lines come out smooth. Without font files it guesses how wide a text is; where that
//! matters (legend, labels of categories) this file guesses for itself, on the safe side.

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::Color as _;

use super::scale::Scale;
use super::{Chart, ChartError, Color, Kind, Mark, SIDE, Series, Shape};

/// Pixels of the drawing for one of the page.
const FINE: u32 = 2;
/// Sizes of text, in CSS pixels.
const TITLE_PX: u32 = 16;
const TEXT_PX: u32 = 12;
/// How wide a character is, as a share of its size: wider than most.
const CHARACTER_WIDTH: f64 = 0.56;
/// `plotters` takes the height of a line, which it makes so much more than the size of the letters.
const LINE: f64 = 1.24;

const GROUND: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 41, 55);
const QUIET: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(222, 226, 232);
const FAINT: RGBColor = RGBColor(240, 242, 245);
const PALETTE: [Color; 8] = [
    Color::Blue,
    Color::Orange,
    Color::Green,
    Color::Purple,
    Color::Teal,
    Color::Red,
    Color::Brown,
    Color::Grey,
];

/// By attribute, which style sheets override: the colours above, and what each is in the dark.
pub(super) const DARK_STYLE: &str = "\
svg [fill=\"#FFFFFF\"]{fill:#171c24}svg [fill=\"#1F2937\"]{fill:#e5e9f0}\
svg [stroke=\"#1F2937\"]{stroke:#8b95a5}svg [fill=\"#6B7280\"]{fill:#a3adbb}\
svg [stroke=\"#6B7280\"]{stroke:#a3adbb}svg [stroke=\"#DEE2E8\"]{stroke:#313947}\
svg [stroke=\"#F0F2F5\"]{stroke:#212834}\
svg [fill=\"#2563EB\"]{fill:#6ea2ff}svg [stroke=\"#2563EB\"]{stroke:#6ea2ff}\
svg [fill=\"#E2650B\"]{fill:#ff9d4d}svg [stroke=\"#E2650B\"]{stroke:#ff9d4d}\
svg [fill=\"#0B8A5F\"]{fill:#3fce9b}svg [stroke=\"#0B8A5F\"]{stroke:#3fce9b}\
svg [fill=\"#7C3AED\"]{fill:#b693ff}svg [stroke=\"#7C3AED\"]{stroke:#b693ff}\
svg [fill=\"#CF2233\"]{fill:#ff7b86}svg [stroke=\"#CF2233\"]{stroke:#ff7b86}\
svg [fill=\"#0E8AA8\"]{fill:#45c8e6}svg [stroke=\"#0E8AA8\"]{stroke:#45c8e6}\
svg [fill=\"#92591A\"]{fill:#d8a669}svg [stroke=\"#92591A\"]{stroke:#d8a669}";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Ruled, Ruled>>;

/// An axis as `plotters` wants it.
struct Ruled(Scale);

pub(super) fn svg(chart: &Chart) -> Result<String, ChartError> {
    if !SIDE.contains(&chart.width) || !SIDE.contains(&chart.height) {
        return Err(ChartError::Size(chart.width, chart.height));
    }
    let bars = chart
        .series
        .iter()
        .any(|series| series.shape == Shape::Bars);
    let x = chart
        .series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.0));
    let y = chart.series.iter().flat_map(|series| {
        let whiskers = series.spread.iter().flat_map(|spread| [spread.0, spread.1]);
        series.points.iter().map(|point| point.1).chain(whiskers)
    });
    let marked = |vertical| {
        let marks = chart
            .marks
            .iter()
            .filter(move |mark| mark.vertical == vertical);
        marks.map(|mark| mark.at)
    };
    let empty = || ChartError::Empty(chart.title.clone());
    let scale_x = Scale::over(&chart.x, x.chain(marked(true)), false).ok_or_else(empty)?;
    let scale_y = Scale::over(&chart.y, y.chain(marked(false)), bars).ok_or_else(empty)?;
    if !chart
        .series
        .iter()
        .any(|series| !runs(series, &scale_x, &scale_y).is_empty())
    {
        return Err(empty());
    }
    let mut text = String::new();
    {
        let size = (chart.width * FINE, chart.height * FINE);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(chart, &root, scale_x, &scale_y)
            .map_err(|error| ChartError::Backend(chart.title.clone(), error))?;
        root.present()
            .map_err(|error| ChartError::Backend(chart.title.clone(), error.to_string()))?;
    }
    Ok(with_own_head(chart, &text))
}

/// Puts our opening tag in the backend's place: shown at the size asked for, named for readers that
/// do not see.
fn with_own_head(chart: &Chart, text: &str) -> String {
    let body = text.split_once('\n').map_or("", |(_, body)| body);
    let (width, height) = (chart.width, chart.height);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {} {}\">\n<title>{}</title>\n{body}",
        width * FINE,
        height * FINE,
        escaped(&chart.title),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn draw(chart: &Chart, root: &Area<'_>, mut x: Scale, y: &Scale) -> Result<(), String> {
    root.fill(&GROUND).map_err(told)?;
    let top = heading(chart, root)?;
    let left = label_width(y.labels.iter().map(|(_, text)| text.as_str())) + px(14);
    let plot_width = root.dim_in_pixel().0.saturating_sub(left + px(24));
    fit_labels(&mut x, &chart.x.kind, plot_width);
    let (_, plot) = root.split_vertically(top);
    let mut plane: Plane<'_, '_> = ChartBuilder::on(&plot)
        .margin_top(px(8))
        .margin_right(px(24))
        .margin_bottom(px(8))
        .x_label_area_size(px(if chart.x.label.is_empty() { 24 } else { 42 }))
        .y_label_area_size(left)
        .build_cartesian_2d(Ruled(x.clone()), Ruled(y.clone()))
        .map_err(told)?;
    let mut mesh = plane.configure_mesh();
    if let Kind::Categories(_) = chart.x.kind {
        mesh.disable_x_mesh();
    }
    mesh.x_desc(&chart.x.label)
        .axis_desc_style(font(TEXT_PX, QUIET))
        .label_style(font(TEXT_PX, INK))
        .axis_style(QUIET.stroke_width(FINE))
        .bold_line_style(GRID.stroke_width(FINE))
        .light_line_style(FAINT.stroke_width(FINE))
        .draw()
        .map_err(told)?;
    let bars = chart
        .series
        .iter()
        .filter(|series| series.shape == Shape::Bars)
        .count();
    let mut bar = 0;
    for (index, series) in chart.series.iter().enumerate() {
        let color = rgb(color(series, index));
        if series.shape == Shape::Bars {
            draw_bars(&mut plane, series, color, (bar, bars), &x, y)?;
            bar += 1;
        } else {
            draw_runs(&mut plane, series, color, &x, y)?;
        }
    }
    for mark in &chart.marks {
        draw_mark(root, &mut plane, mark, &x, y)?;
    }
    Ok(())
}

/// Title, subtitle, legend, name of the vertical axis; gives the height that they take.
fn heading(chart: &Chart, root: &Area<'_>) -> Result<u32, String> {
    let width = root.dim_in_pixel().0;
    let mut down = px(10);
    let room = width.saturating_sub(px(24));
    for line in wrapped(&chart.title, TITLE_PX, room) {
        write(root, &line, (px(12), down), bold(TITLE_PX))?;
        down += px(TITLE_PX + 6);
    }
    for line in wrapped(&chart.subtitle, TEXT_PX, room) {
        write(root, &line, (px(12), down), font(TEXT_PX, QUIET))?;
        down += px(TEXT_PX + 5);
    }
    let named = chart.series.iter().any(|series| !series.name.is_empty());
    if named {
        down = legend(chart, root, down + px(4))?;
    }
    if !chart.y.label.is_empty() {
        down += px(6);
        write(root, &chart.y.label, (px(12), down), font(TEXT_PX, QUIET))?;
        down += px(TEXT_PX + 2);
    }
    Ok(down)
}

fn legend(chart: &Chart, root: &Area<'_>, mut down: u32) -> Result<u32, String> {
    let width = root.dim_in_pixel().0;
    let mut across = px(12);
    for (index, series) in chart.series.iter().enumerate() {
        if series.name.is_empty() {
            continue;
        }
        let taken = px(24) + text_width(&series.name, TEXT_PX) + px(16);
        if across + taken > width && across > px(12) {
            across = px(12);
            down += px(TEXT_PX + 6);
        }
        let color = rgb(color(series, index));
        let middle = (down + px(6)) as i32;
        let (from, to) = (across as i32, (across + px(18)) as i32);
        match series.shape {
            Shape::Bars => root.draw(&Rectangle::new(
                [(from, middle - px(5) as i32), (to, middle + px(5) as i32)],
                color.filled(),
            )),
            Shape::Points => {
                let at = ((from + to) / 2, middle);
                root.draw(&Circle::new(at, px(4), color.filled()))
            }
            Shape::Line | Shape::Step if series.dashed => root.draw(&DashedPathElement::new(
                [(from, middle), (to, middle)],
                px(5),
                px(3),
                color.stroke_width(px(2)),
            )),
            Shape::Line | Shape::Step => root.draw(&PathElement::new(
                [(from, middle), (to, middle)],
                color.stroke_width(px(2)),
            )),
        }
        .map_err(told)?;
        write(
            root,
            &series.name,
            (across + px(24), down),
            font(TEXT_PX, INK),
        )?;
        across += taken;
    }
    Ok(down + px(TEXT_PX + 4))
}

fn draw_runs(
    plane: &mut Plane<'_, '_>,
    series: &Series,
    color: RGBColor,
    x: &Scale,
    y: &Scale,
) -> Result<(), String> {
    let style = color.stroke_width(px(2));
    for run in runs(series, x, y) {
        let alone = run.len() == 1;
        if series.shape == Shape::Points || alone {
            let dots = run.iter().map(|at| Circle::new(*at, px(3), color.filled()));
            plane.draw_series(dots).map_err(told)?;
            continue;
        }
        let path = if series.shape == Shape::Step {
            stairs(&run)
        } else {
            run
        };
        if series.dashed {
            let dashed = DashedPathElement::new(path, px(6), px(4), style);
            plane.draw_series(std::iter::once(dashed)).map_err(told)?;
        } else {
            let line = PathElement::new(path, style);
            plane.draw_series(std::iter::once(line)).map_err(told)?;
        }
    }
    whiskers(plane, series, color, 0.0, x, y)
}

fn draw_bars(
    plane: &mut Plane<'_, '_>,
    series: &Series,
    color: RGBColor,
    (index, of): (usize, usize),
    x: &Scale,
    y: &Scale,
) -> Result<(), String> {
    let width = 0.76 / of as f64 * bar_step(series);
    let shift = (index as f64 - (of as f64 - 1.0) / 2.0) * width;
    let floor = y.place(0.0).unwrap_or(y.from).max(y.from);
    let bars = series.points.iter().filter_map(|point| {
        let (at, high) = (x.place(point.0)? + shift, y.place(point.1)?);
        let corners = [(at - width * 0.46, floor), (at + width * 0.46, high)];
        Some(Rectangle::new(corners, color.filled()))
    });
    plane.draw_series(bars).map_err(told)?;
    whiskers(plane, series, INK, shift, x, y)
}

/// The least distance between bars, in the axis' own space.
fn bar_step(series: &Series) -> f64 {
    let steps = series
        .points
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0).abs());
    let least = steps
        .filter(|step| *step > 0.0)
        .fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 1.0 }
}

fn whiskers(
    plane: &mut Plane<'_, '_>,
    series: &Series,
    color: RGBColor,
    shift: f64,
    x: &Scale,
    y: &Scale,
) -> Result<(), String> {
    let ends = series.points.iter().zip(&series.spread);
    let lines = ends.filter_map(|(point, spread)| {
        let at = x.place(point.0)? + shift;
        let (low, high) = (y.place(spread.0)?, y.place(spread.1)?);
        Some(PathElement::new(
            vec![(at, low), (at, high)],
            color.stroke_width(px(1)),
        ))
    });
    plane.draw_series(lines).map_err(told)?;
    Ok(())
}

fn draw_mark(
    root: &Area<'_>,
    plane: &mut Plane<'_, '_>,
    mark: &Mark,
    x: &Scale,
    y: &Scale,
) -> Result<(), String> {
    let scale = if mark.vertical { x } else { y };
    let Some(at) = scale.place(mark.at) else {
        return Ok(());
    };
    let ends = if mark.vertical {
        [(at, y.from), (at, y.to)]
    } else {
        [(x.from, at), (x.to, at)]
    };
    let line = DashedPathElement::new(ends, px(3), px(3), INK.stroke_width(FINE));
    plane.draw_series(std::iter::once(line)).map_err(told)?;
    let area = plane.plotting_area();
    let end = area.map_coordinate(&ends[1]);
    let taken = text_width(&mark.label, TEXT_PX) as i32;
    let corner = if mark.vertical {
        let range = area.get_pixel_range().0;
        let left = end.0 + px(5) as i32;
        let left = if left + taken > range.end {
            end.0 - taken
        } else {
            left
        };
        (left, end.1 + px(3) as i32)
    } else {
        (end.0 - taken, end.1 - px(TEXT_PX + 4) as i32)
    };
    let corner = (corner.0.max(0) as u32, corner.1.max(0) as u32);
    let (left, top) = (corner.0 as i32, corner.1 as i32);
    let behind = [
        (left - px(3) as i32, top - px(1) as i32),
        (left + taken, top + px(TEXT_PX + 1) as i32),
    ];
    root.draw(&Rectangle::new(behind, GROUND.mix(0.8).filled()))
        .map_err(told)?;
    write(root, &mark.label, corner, font(TEXT_PX, INK))
}

/// The points of a series that have a place, cut where one has none.
fn runs(series: &Series, x: &Scale, y: &Scale) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for point in &series.points {
        let place = x.place(point.0).zip(y.place(point.1));
        match (place, runs.last_mut()) {
            (Some(place), Some(run)) => run.push(place),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn stairs(run: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut path = Vec::with_capacity(run.len() * 2);
    for (index, point) in run.iter().enumerate() {
        if index > 0 {
            path.push((point.0, run[index - 1].1));
        }
        path.push(*point);
    }
    path
}

/// Leaves out labels that would run into each other; names are cut short instead.
fn fit_labels(scale: &mut Scale, kind: &Kind, width: u32) {
    let count = scale.labels.len().max(1);
    if let Kind::Categories(_) = kind {
        let room = f64::from(width) / count as f64 - f64::from(px(6));
        let characters = (room / (f64::from(px(TEXT_PX)) * CHARACTER_WIDTH)) as usize;
        for (_, text) in &mut scale.labels {
            if text.chars().count() > characters.max(3) {
                *text = text
                    .chars()
                    .take(characters.max(3) - 1)
                    .chain(['…'])
                    .collect();
            }
        }
        return;
    }
    let pixels = f64::from(width) / (scale.to - scale.from);
    let mut free = f64::NEG_INFINITY;
    scale.labels.retain(|(at, text)| {
        let (middle, half) = (at * pixels, f64::from(text_width(text, TEXT_PX)) / 2.0);
        let fits = middle - half >= free;
        if fits {
            free = middle + half + f64::from(px(8));
        }
        fits
    });
}

fn wrapped(text: &str, size: u32, room: u32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn label_width<'a>(texts: impl Iterator<Item = &'a str>) -> u32 {
    texts
        .map(|text| text_width(text, TEXT_PX))
        .max()
        .unwrap_or(0)
}

fn text_width(text: &str, size: u32) -> u32 {
    (text.chars().count() as f64 * f64::from(px(size)) * CHARACTER_WIDTH) as u32
}

fn write(area: &Area<'_>, text: &str, at: (u32, u32), style: TextStyle<'_>) -> Result<(), String> {
    let place = (at.0 as i32, at.1 as i32);
    area.draw(&Text::new(text.to_owned(), place, style))
        .map_err(told)
}

fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", f64::from(px(size)) * LINE)
        .into_font()
        .color(&color)
}

fn bold(size: u32) -> TextStyle<'static> {
    let font = ("sans-serif", f64::from(px(size)) * LINE).into_font();
    font.style(FontStyle::Bold).color(&INK)
}

fn px(css: u32) -> u32 {
    css * FINE
}

fn told(error: impl Display) -> String {
    error.to_string()
}

fn color(series: &Series, index: usize) -> Color {
    series.color.unwrap_or(PALETTE[index % PALETTE.len()])
}

fn rgb(color: Color) -> RGBColor {
    match color {
        Color::Blue => RGBColor(0x25, 0x63, 0xEB),
        Color::Orange => RGBColor(0xE2, 0x65, 0x0B),
        Color::Green => RGBColor(0x0B, 0x8A, 0x5F),
        Color::Purple => RGBColor(0x7C, 0x3A, 0xED),
        Color::Red => RGBColor(0xCF, 0x22, 0x33),
        Color::Teal => RGBColor(0x0E, 0x8A, 0xA8),
        Color::Brown => RGBColor(0x92, 0x59, 0x1A),
        Color::Grey => QUIET,
    }
}

// === impl Ruled ===

impl Ranged for Ruled {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.0.from) / (self.0.to - self.0.from);
        // a little outside is drawn outside; far outside would overflow what SVG readers take
        let at = share.clamp(-1.0, 2.0) * f64::from(limit.1 - limit.0);
        limit.0 + at.round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            self.0.faint.clone()
        } else {
            self.0.labels.iter().map(|(at, _)| *at).collect()
        }
    }

    fn range(&self) -> Range<f64> {
        self.0.from..self.0.to
    }
}

impl ValueFormatter<f64> for Ruled {
    fn format_ext(&self, place: &f64) -> String {
        self.0.label_at(*place)
    }
}
