//! A bench's report as one page: its plots are in it, so that one file can be handed on.

use crate::error::CliError;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

const SIZE: (u32, u32) = (860, 320);

/// Colours of lines.
pub const ORANGE: RGBColor = RGBColor(220, 120, 0);
/// The one that most plots begin with, and others.
pub use plotters::style::{BLACK, BLUE, RED};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#1c2733}\
    h1{font-size:1.6em;margin-bottom:0}h2{font-size:1.15em;margin:1.8em 0 .3em}p{margin:.3em 0}\
    .lead{font-size:1.9em;font-weight:600;margin:.4em 0 0}table{border-collapse:collapse;width:100%}\
    td{padding:.25em .8em .25em 0;border-bottom:1px solid #e3e8ee;vertical-align:top}td:first-child{color:#5b6b7b;width:13em}\
    svg{max-width:100%;height:auto}";

/// A line of a plot: its name, colour and points.
pub struct Line {
    /// In the legend.
    pub name: &'static str,
    /// Its colour.
    pub color: RGBColor,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// What a page tells.
pub struct Page {
    /// Its heading.
    pub title: String,
    /// The figure that matters, with its unit.
    pub lead: String,
    /// Names and values.
    pub facts: Vec<(String, String)>,
    /// Headings, and plots as SVG.
    pub plots: Vec<(String, String)>,
}

impl Page {
    /// Writes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        std::fs::write(path, self.html())
            .map_err(|error| CliError::usage(format!("cannot write the report {}: {error}", path.display())))
    }

    /// The page as text.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n<table>\n",
            title = escaped(&self.title),
            lead = escaped(&self.lead)
        );
        for (name, value) in &self.facts {
            let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value));
        }
        page.push_str("</table>\n");
        for (heading, plot) in &self.plots {
            let _ = writeln!(page, "<h2>{}</h2>\n{plot}", escaped(heading));
        }
        page.push_str("</html>\n");
        page
    }
}

/// Throughput over time, latency over time, and the curve of percentiles, of a bench's JSON result.
///
/// # Errors
/// If a plot cannot be drawn.
pub fn plots_of(result: &Value) -> Result<Vec<(String, String)>, CliError> {
    let slices = result["slices"].as_array().cloned().unwrap_or_default();
    let series = |field: &str, scale: f64| -> Vec<(f64, f64)> {
        let point = |slice: &Value| Some((slice["from_ms"].as_f64()? / 1000.0, slice[field].as_f64()? * scale));
        slices.iter().filter_map(point).collect()
    };
    let throughput = [Line { name: "operations/s", color: BLUE, points: series("ops_per_second", 1.0) }];
    let latency = [
        Line { name: "p50", color: BLUE, points: series("p50_us", 1e-3) },
        Line { name: "p99", color: ORANGE, points: series("p99_us", 1e-3) },
        Line { name: "longest", color: RED, points: series("max_us", 1e-3) },
    ];
    let percentiles = result["percentiles"].as_array().cloned().unwrap_or_default();
    let curve = percentiles.iter().filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()? / 1000.0)));
    let curve = [Line { name: "latency", color: BLUE, points: curve.collect() }];
    Ok(vec![
        ("Operations a second, over time (s)".to_owned(), plot(&throughput, Axes::linear())?),
        ("Latency in ms, over time (s)".to_owned(), plot(&latency, Axes { log_y: true, ..Axes::linear() })?),
        (
            "Latency in ms, of all but one in so many operations".to_owned(),
            plot(&curve, Axes { log_x: true, log_y: true })?,
        ),
    ])
}

/// How a plot's axes run.
#[derive(Clone, Copy, Debug)]
pub struct Axes {
    /// The horizontal one by powers of ten.
    pub log_x: bool,
    /// The vertical one by powers of ten.
    pub log_y: bool,
}

impl Axes {
    /// Both evenly.
    #[must_use]
    pub const fn linear() -> Self {
        Self { log_x: false, log_y: false }
    }
}

/// Draws lines.
///
/// # Errors
/// If they cannot be drawn.
pub fn plot(lines: &[Line], axes: Axes) -> Result<String, CliError> {
    let ends = |pick: fn(&(f64, f64)) -> f64, log: bool| {
        let values = lines.iter().flat_map(|line| line.points.iter().map(pick)).filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        match (low <= high, log) {
            (false, _) => (1.0, 10.0),
            (true, true) => (low.max(1e-3) / 1.2, (high * 1.2).max(low.max(1e-3) * 2.0)),
            (true, false) => (low.min(0.0), if high > 0.0 { high * 1.08 } else { 1.0 }),
        }
    };
    let (x, y) = (ends(|point| point.0, axes.log_x), ends(|point| point.1, axes.log_y));
    let (even_x, even_y) = (x.0..x.1, y.0..y.1);
    match (axes.log_x, axes.log_y) {
        (false, false) => draw(lines, even_x, even_y),
        (false, true) => draw(lines, even_x, (y.0..y.1).log_scale()),
        (true, false) => draw(lines, (x.0..x.1).log_scale(), even_y),
        (true, true) => draw(lines, (x.0..x.1).log_scale(), (y.0..y.1).log_scale()),
    }
}

fn draw<X, Y>(lines: &[Line], x: X, y: Y) -> Result<String, CliError>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    fn wrong<E: std::fmt::Display>(error: E) -> CliError {
        CliError::failed(format!("cannot draw a plot: {error}"))
    }
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(76)
            .build_cartesian_2d(x, y)
            .map_err(wrong)?;
        let label = |value: &f64| short(*value);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.1))
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .label_style(("sans-serif", 13))
            .draw()
            .map_err(wrong)?;
        for line in lines {
            let color = line.color;
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)))
                .map_err(wrong)?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        if lines.len() > 1 {
            let mut legend = chart.configure_series_labels();
            legend
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.85))
                .label_font(("sans-serif", 13));
            legend.draw().map_err(wrong)?;
        }
        area.present().map_err(wrong)?;
    }
    Ok(svg)
}

/// A number as short as an axis wants it.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        big if big >= 1e6 => (value / 1e6, "M"),
        big if big >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if scaled.abs() >= 100.0 || scaled == 0.0 {
        0
    } else if scaled.abs() >= 1.0 {
        1
    } else {
        3
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.05, 1.0, 12.5, 999.0, 1_000.0, 250_000.0, 1_500_000.0].map(short);
        assert_eq!(shown, ["0", "0.05", "1", "12.5", "999", "1k", "250k", "1.5M"]);
    }

    #[test]
    fn a_page_has_its_plots_in_it_and_nothing_from_elsewhere() {
        let result = json!({
            "slices": [
                { "from_ms": 0, "ops_per_second": 1000.0, "p50_us": 100.0, "p99_us": 900.0, "max_us": 5000.0 },
                { "from_ms": 500, "ops_per_second": 2000.0, "p50_us": 110.0, "p99_us": 950.0, "max_us": 90000.0 },
            ],
            "percentiles": [[2.0, 100.0], [10.0, 300.0], [100.0, 900.0]],
        });
        let plots = plots_of(&result).expect("they can be drawn");
        let page = Page { title: "reserve <1>".to_owned(), lead: "2,000/s".to_owned(), facts: Vec::new(), plots };
        let html = page.html();
        assert_eq!(html.matches("<svg").count(), 3);
        assert!(html.contains("reserve &lt;1&gt;") && html.contains("p99"));
        let links = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("http") && !links.contains("src="), "it needs nothing but itself");
    }

    #[test]
    fn plots_of_nothing_can_be_drawn_too() {
        let plots = plots_of(&json!({ "slices": [], "percentiles": [] })).expect("they can be drawn");
        assert_eq!(plots.len(), 3);
    }
}
