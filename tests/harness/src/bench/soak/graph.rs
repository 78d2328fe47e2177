//! The samples of a soak as a picture: one curve above the other, each with a scale of its own from zero.

use plotters::prelude::*;

use super::{Sample, Value};
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (960, 720);

/// An SVG with a curve for memory, for file descriptors and for tasks.
pub(super) fn draw(samples: &[Sample]) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(Error::new)?;
        let panels = root.split_evenly((3, 1));
        let curves: [(&str, Value, RGBColor); 3] = [
            ("resident memory, MB", |sample| sample.megabytes, BLUE),
            ("file descriptors", |sample| sample.descriptors, RED),
            ("tasks", |sample| sample.tasks, GREEN),
        ];
        let end = samples.last().map_or(1.0, |sample| sample.minutes);
        for (panel, (title, value, color)) in panels.iter().zip(curves) {
            let most = samples.iter().map(value).fold(1.0, f64::max);
            let mut chart = ChartBuilder::on(panel)
                .caption(title, ("sans-serif", 16))
                .margin(8)
                .x_label_area_size(24)
                .y_label_area_size(48)
                .build_cartesian_2d(0.0..end, 0.0..most * 1.2)
                .map_err(Error::new)?;
            chart.configure_mesh().x_desc("minutes").light_line_style(TRANSPARENT).draw().map_err(Error::new)?;
            let line = samples.iter().map(|sample| (sample.minutes, value(sample)));
            chart.draw_series(LineSeries::new(line, &color)).map_err(Error::new)?;
        }
        root.present().map_err(Error::new)?;
    }
    Ok(svg)
}
