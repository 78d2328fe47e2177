//! The panels as a picture, placed as Grafana places them.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::panels::{Kind, Panel, Query};
use crate::error::{Error, Result};
use crate::prometheus::Series;

/// Grafana's grid: 24 columns, and rows of 30 pixels.
const COLUMN: u32 = 60;
const ROW: u32 = 30;
const WIDTH: u32 = 24 * COLUMN;
const GAP: u32 = 4;
const BACKGROUND: RGBColor = RGBColor(244, 245, 245);
const INK: RGBColor = RGBColor(36, 41, 46);
/// Minutes between two samples that belong together.
const LONGEST_STEP: f64 = 2.5 / 60.0;
/// Series that a legend has room for.
const LEGEND: usize = 8;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A named line.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// An SVG of all panels, whose curves go from one time to another.
pub(super) fn draw(panels: &[Panel], time: (f64, f64)) -> Result<String> {
    let height = panels.iter().map(|Panel { place: (_, y, _, h), .. }| y + h).max().unwrap_or_default() * ROW;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&BACKGROUND).map_err(Error::new)?;
        for panel in panels {
            let (x, y, w, h) = panel.place;
            let area =
                root.clone().shrink((x * COLUMN + GAP, y * ROW + GAP), (w * COLUMN - 2 * GAP, h * ROW - 2 * GAP));
            if panel.kind != Kind::Row {
                area.fill(&WHITE).map_err(Error::new)?;
            }
            write(&area, &panel.title, 15, INK, (8, 6))?;
            match panel.kind {
                Kind::Row => {}
                Kind::Stat => stat(&area, panel)?,
                Kind::Table => table(&area, panel)?,
                Kind::Curves { stacked } => curves(&area, panel, stacked, time)?,
            }
        }
        root.present().map_err(Error::new)?;
    }
    Ok(svg)
}

fn write(area: &Area<'_>, text: &str, size: i32, color: RGBColor, at: (i32, i32)) -> Result<()> {
    area.draw_text(text, &("sans-serif", size).into_font().color(&color), at).map_err(Error::new)
}

fn answers(panel: &Panel) -> impl Iterator<Item = (&Query, &Series)> {
    panel.queries.iter().flat_map(|query| query.answer.iter().map(move |series| (query, series)))
}

fn stat(area: &Area<'_>, panel: &Panel) -> Result<()> {
    let words = answers(panel).map(|(query, series)| {
        let value = series.samples.last().map_or(f64::NAN, |(_, value)| *value);
        if panel.shows_name { query.name(series) } else { shown(value, &panel.unit) }
    });
    let text = words.collect::<Vec<_>>().join(", ");
    let size = if text.len() > 12 { 15 } else { 40 };
    write(area, &text, size, RGBColor(31, 96, 196), (12, 48))
}

fn table(area: &Area<'_>, panel: &Panel) -> Result<()> {
    let columns = ["namespace", "name", "reason"];
    let mut rows = vec![columns.map(str::to_owned)];
    rows.extend(answers(panel).map(|(_, series)| {
        columns.map(|label| series.labels.get(label).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
    }));
    for (cells, y) in rows.iter().zip((34..).step_by(20)).take(10) {
        for (cell, x) in cells.iter().zip((12..).step_by(220)) {
            write(area, cell, 13, INK, (x, y))?;
        }
    }
    Ok(())
}

fn curves(area: &Area<'_>, panel: &Panel, stacked: bool, (begin, end): (f64, f64)) -> Result<()> {
    let curves = layers(panel, stacked, (begin, end));
    let most = curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value).fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.1 } else { 1.0 };
    let (_, height) = area.dim_in_pixel();
    let plot = area.clone().shrink((0, 26), (area.dim_in_pixel().0, height.saturating_sub(26 + 22)));
    let mut chart = ChartBuilder::on(&plot)
        .margin(6)
        .x_label_area_size(20)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..(end - begin) / 60.0, 0.0..most)
        .map_err(Error::new)?;
    chart
        .configure_mesh()
        .x_labels(6)
        .y_labels(5)
        .y_label_formatter(&|value| shown(*value, &panel.unit))
        .x_label_formatter(&|minutes| format!("{minutes:.0} min"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.1))
        .draw()
        .map_err(Error::new)?;
    // The upper layers first, so that the lower ones lie on top of them.
    for (number, curve) in curves.iter().enumerate().rev() {
        let color = Palette99::pick(number).to_rgba();
        if stacked {
            let ends = [curve.points.last(), curve.points.first()].into_iter().flatten().map(|(at, _)| (*at, 0.0));
            let outline: Vec<(f64, f64)> = curve.points.iter().copied().chain(ends).collect();
            for fill in [WHITE.to_rgba(), color.mix(0.4)] {
                let area = Polygon::new(outline.clone(), fill.filled());
                chart.draw_series(std::iter::once(area)).map_err(Error::new)?;
            }
        }
        // Where nothing was scraped there is no line.
        for line in curve.points.chunk_by(|(at, _), (next, _)| next - at < LONGEST_STEP) {
            chart.draw_series(LineSeries::new(line.iter().copied(), &color)).map_err(Error::new)?;
        }
    }
    legend(area, &curves)
}

/// The lines of a panel; in a stack each has those below it added.
fn layers(panel: &Panel, stacked: bool, (begin, end): (f64, f64)) -> Vec<Curve> {
    let mut curves: Vec<Curve> = answers(panel)
        .map(|(query, series)| {
            let points = series.samples.iter().filter(|(_, value)| value.is_finite());
            Curve {
                name: query.name(series),
                points: points.map(|(at, value)| ((at - begin) / 60.0, *value)).collect(),
            }
        })
        .collect();
    curves.sort_by(|one, other| one.name.cmp(&other.name));
    if stacked {
        // The steps of the query, so that what is missing somewhere counts as nothing there.
        let steps = std::iter::successors(Some(begin), |at| Some(at + 1.0)).take_while(|at| *at <= end);
        let times: Vec<f64> = steps.map(|at| (at - begin) / 60.0).collect();
        let mut below = vec![0.0; times.len()];
        for curve in &mut curves {
            let mut points = curve.points.iter().peekable();
            for (at, sum) in times.iter().zip(&mut below) {
                if let Some((_, value)) = points.next_if(|(time, _)| (time - at).abs() < LONGEST_STEP / 5.0) {
                    *sum += value;
                }
            }
            curve.points = times.iter().copied().zip(below.iter().copied()).collect();
        }
    }
    curves
}

fn legend(area: &Area<'_>, curves: &[Curve]) -> Result<()> {
    let (width, height) = area.dim_in_pixel();
    let y = i32::try_from(height)? - 20;
    let mut x = 12;
    for (number, curve) in curves.iter().enumerate().take(LEGEND) {
        let room = i32::try_from(curve.name.chars().count())? * 7 + 24;
        if x + room > i32::try_from(width)? {
            return write(area, "…", 12, INK, (x, y));
        }
        let color = Palette99::pick(number).to_rgba();
        area.draw(&Rectangle::new([(x, y + 5), (x + 10, y + 8)], color.filled())).map_err(Error::new)?;
        write(area, &curve.name, 12, INK, (x + 14, y))?;
        x += room;
    }
    Ok(())
}

/// A value as short as Grafana shows it.
fn shown(value: f64, unit: &str) -> String {
    match unit {
        "percentunit" => format!("{:.0} %", value * 100.0),
        "s" if value.abs() < 1.0 => format!("{:.0} ms", value * 1000.0),
        "s" => format!("{value:.1} s"),
        "reqps" | "ops" | "cps" => format!("{value:.1} /s"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}
