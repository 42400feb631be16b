//! Pictures of measurements: lines, steps, points and bars as SVG, over `plotters`.
//!
//! A [`Chart`] says what is shown (titles, axes with units, series); [`Chart::svg`] gives a whole
//! SVG document on a light ground, with text as text, no script, no style sheet and no reference to
//! anything outside. Everything that comes from outside (names, titles) is escaped. Standing in an
//! HTML page, [`DARK_STYLE`] turns it dark with the page.
//!
//! ```
//! use penstock_loadgen::chart::{Axis, Chart, Series, Unit};
//!
//! let svg = Chart::new("Latency by load")
//!     .x(Axis::linear("offered load", Unit::Custom("/s")))
//!     .y(Axis::log("end to end, p99", Unit::Nanoseconds))
//!     .series(Series::line("penstock", [(100.0, 2.1e6), (200.0, 2.4e6)]))
//!     .series(Series::line("nginx", [(100.0, 1.1e6), (200.0, 1.9e6)]).dashed())
//!     .svg()?;
//! assert!(svg.starts_with("<svg"));
//! # Ok::<(), penstock_loadgen::chart::ChartError>(())
//! ```
//!
//! Points without a finite place on their axis (a NaN, a zero on a logarithm) are gaps in the line.

mod draw;
mod scale;

pub use scale::{Unit, nanoseconds};

/// Style sheet that turns the pictures dark where the page is; for a page's own `<style>`.
pub const DARK_STYLE: &str = draw::DARK_STYLE;

/// The least and the most that a picture is wide or high, in CSS pixels.
pub const SIDE: std::ops::RangeInclusive<u32> = 160..=4096;

/// A picture: a title, two axes, and series over them.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    subtitle: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
    marks: Vec<Mark>,
    width: u32,
    height: u32,
}

/// One axis: what it shows, in which unit, over which range.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    unit: Unit,
    kind: Kind,
    range: Option<(f64, f64)>,
    from_zero: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Linear,
    Log,
    Percentile,
    Categories(Vec<String>),
}

/// Values that belong together, under one name in the legend.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    shape: Shape,
    points: Vec<(f64, f64)>,
    spread: Vec<(f64, f64)>,
    color: Option<Color>,
    dashed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Line,
    Step,
    Points,
    Bars,
}

/// Colours that stay apart for most eyes, on light and on dark ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is what it is called
pub enum Color {
    Blue,
    Orange,
    Green,
    Purple,
    Red,
    Teal,
    Brown,
    Grey,
}

/// A straight line through the whole picture, with a word at its end.
#[derive(Clone, Debug)]
struct Mark {
    at: f64,
    label: String,
    vertical: bool,
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChartError {
    /// No series has a point that its axes can show.
    #[error("the chart {0:?} has no point to show")]
    Empty(String),
    /// A side is out of [`SIDE`].
    #[error("a chart of {0} × {1} pixels: a side is 160 to 4096")]
    Size(u32, u32),
    /// The backend refused.
    #[error("drawing the chart {0:?}: {1}")]
    Backend(String, String),
}

// === impl Chart ===

impl Chart {
    /// A chart of 720 × 400 CSS pixels with linear axes and nothing in it yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            x: Axis::linear("", Unit::Plain),
            y: Axis::linear("", Unit::Plain),
            series: Vec::new(),
            marks: Vec::new(),
            width: 720,
            height: 400,
        }
    }

    /// A line of smaller text under the title: conditions, what is better.
    #[must_use]
    pub fn subtitle(mut self, subtitle: impl Into<String>) -> Self {
        self.subtitle = subtitle.into();
        self
    }

    /// The horizontal axis.
    #[must_use]
    pub fn x(mut self, axis: Axis) -> Self {
        self.x = axis;
        self
    }

    /// The vertical axis.
    #[must_use]
    pub fn y(mut self, axis: Axis) -> Self {
        self.y = axis;
        self
    }

    /// One more series; the legend keeps their order.
    #[must_use]
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// A horizontal line at a value of y: a target, a limit, a capacity.
    #[must_use]
    pub fn mark_y(self, at: f64, label: impl Into<String>) -> Self {
        self.mark(at, label.into(), false)
    }

    /// A vertical line at a value of x.
    #[must_use]
    pub fn mark_x(self, at: f64, label: impl Into<String>) -> Self {
        self.mark(at, label.into(), true)
    }

    fn mark(mut self, at: f64, label: String, vertical: bool) -> Self {
        self.marks.push(Mark {
            at,
            label,
            vertical,
        });
        self
    }

    /// Width and height in CSS pixels.
    #[must_use]
    pub fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// The picture as an SVG document.
    pub fn svg(&self) -> Result<String, ChartError> {
        draw::svg(self)
    }
}

// === impl Axis ===

impl Axis {
    /// Equal steps. Bars and areas start at zero; lines do where zero is near.
    pub fn linear(label: impl Into<String>, unit: Unit) -> Self {
        Self::of(label, unit, Kind::Linear)
    }

    /// Equal factors; values at or below zero have no place on it.
    pub fn log(label: impl Into<String>, unit: Unit) -> Self {
        Self::of(label, unit, Kind::Log)
    }

    /// Quantiles as fractions (0.99), spread as 1 / (1 − q), so that 90 %, 99 %, 99.9 % stand at
    /// equal distances, as HdrHistogram's plots have them. A quantile of 1 has no place on it.
    pub fn percentile(label: impl Into<String>) -> Self {
        Self::of(label, Unit::Plain, Kind::Percentile)
    }

    /// Names, the first at x = 0, the next at x = 1; for bars.
    pub fn categories(
        label: impl Into<String>,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self::of(label, Unit::Plain, Kind::Categories(names))
    }

    fn of(label: impl Into<String>, unit: Unit, kind: Kind) -> Self {
        Self {
            label: label.into(),
            unit,
            kind,
            range: None,
            from_zero: false,
        }
    }

    /// What part of it is shown; else what the series need.
    #[must_use]
    pub fn range(mut self, from: f64, to: f64) -> Self {
        self.range = Some((from, to));
        self
    }

    /// Zero is shown, whatever the values are.
    #[must_use]
    pub fn from_zero(mut self) -> Self {
        self.from_zero = true;
        self
    }
}

// === impl Series ===

impl Series {
    /// Points joined by straight lines.
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::of(name, Shape::Line, points)
    }

    /// Each value holds until the next x.
    pub fn step(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::of(name, Shape::Step, points)
    }

    /// Dots alone.
    pub fn points(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::of(name, Shape::Points, points)
    }

    /// Bars from zero (from the bottom of a logarithmic axis), side by side with those of other
    /// series.
    pub fn bars(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::of(name, Shape::Bars, points)
    }

    fn of(
        name: impl Into<String>,
        shape: Shape,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        Self {
            name: name.into(),
            shape,
            points: points.into_iter().collect(),
            spread: Vec::new(),
            color: None,
            dashed: false,
        }
    }

    /// Least and greatest of each point in turn, drawn as whiskers.
    #[must_use]
    pub fn spread(mut self, spread: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.spread = spread.into_iter().collect();
        self
    }

    /// A colour of its own; else the next of the palette.
    #[must_use]
    pub fn color(mut self, color: Color) -> Self {
        self.color = Some(color);
        self
    }

    /// Dashes in place of a solid line.
    #[must_use]
    pub fn dashed(mut self) -> Self {
        self.dashed = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart::new("Latency <by> \"load\" & 'more'")
            .subtitle("lower is better")
            .x(Axis::linear("offered", Unit::Custom("/s")))
            .y(Axis::log("p99", Unit::Nanoseconds))
            .series(Series::line(
                "a <script>",
                [(1.0, 1e6), (2.0, f64::NAN), (3.0, 2e6)],
            ))
            .series(Series::step("b", [(1.0, 3e6), (3.0, 5e8)]).dashed())
            .mark_y(1e8, "limit")
    }

    #[test]
    fn names_are_escaped_and_nothing_is_fetched_or_run() {
        let svg = chart().svg().unwrap();
        assert!(svg.contains("a &lt;script&gt;") && svg.contains("<title>Latency &lt;by&gt;"));
        assert!(!svg.contains("<script") && !svg.contains("style=") && !svg.contains("href"));
        assert_eq!(svg.matches("http").count(), 1, "only the name space");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        for text in ["limit", "lower is better", "100 ms", "offered", "p99"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn every_colour_has_its_like_in_the_dark() {
        let mut svg = String::new();
        let colors = [
            Color::Blue,
            Color::Orange,
            Color::Green,
            Color::Purple,
            Color::Red,
            Color::Teal,
            Color::Brown,
            Color::Grey,
        ];
        for color in colors {
            let series = Series::line("s", [(0.0, 1.0), (1.0, 2.0)]).color(color);
            svg += &chart().series(series).svg().unwrap();
        }
        for kind in ["fill", "stroke"] {
            for part in svg.split(&format!("{kind}=\"#")).skip(1) {
                let rule = format!("svg [{kind}=\"#{}\"]{{", &part[..6]);
                assert!(DARK_STYLE.contains(&rule), "{rule}");
            }
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let nothing = Chart::new("t").series(Series::line("s", [(f64::NAN, 1.0)]));
        assert_eq!(nothing.svg(), Err(ChartError::Empty("t".into())));
        let dark = Chart::new("t").y(Axis::log("", Unit::Plain));
        let dark = dark.series(Series::line("s", [(1.0, 0.0)]));
        assert_eq!(dark.svg(), Err(ChartError::Empty("t".into())));
        assert_eq!(chart().size(10, 400).svg(), Err(ChartError::Size(10, 400)));
        assert!(chart().size(160, 160).svg().is_ok());
    }
}
