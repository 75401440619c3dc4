//! Draws the plots over a scale, each into files of its own. The plot of a row that was not run stays as it is.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::Row;
use crate::theme::{THEMES, Theme};

struct Plot {
    file: &'static str,
    title: &'static str,
    across: &'static str,
    up: &'static str,
    /// The row, and the positions of its sides' points on the horizontal axis.
    row: &'static str,
    at: &'static [f64],
}

/// Each side of these rows has one value per point, not one per round.
const PLOTS: [Plot; 3] = [
    Plot {
        file: "speed-up",
        title: "Speed-up over a plain loop, two cores",
        across: "workers",
        up: "times",
        row: "speed-up over workers",
        at: &[1.0, 2.0, 4.0, 10.0, 19.0],
    },
    Plot {
        file: "cost-per-task",
        title: "Cost of a tiny task",
        across: "tasks in the job",
        up: "µs a task",
        row: "growth in tasks",
        at: &[1e3, 1e4, 1e5, 1e6],
    },
    Plot {
        file: "transfer",
        title: "A table of rows to a worker",
        across: "rows",
        up: "µs a row",
        row: "growth of a table",
        at: &[1e3, 1e4, 1e5, 4e5],
    },
];

pub fn draw(rows: &[Row], folder: &Path) -> Result<(), Box<dyn Error>> {
    for plot in &PLOTS {
        if let Some(row) = rows.iter().find(|row| row.name == plot.row) {
            for theme in &THEMES {
                draw_one(plot, row, theme, &folder.join(format!("{}{}.svg", plot.file, theme.ending)))?;
            }
        }
    }
    Ok(())
}

fn draw_one(plot: &Plot, row: &Row, theme: &Theme, path: &Path) -> Result<(), Box<dyn Error>> {
    let highest = row.sides.values().flatten().copied().fold(0.0, f64::max);
    let (first, last) = (plot.at[0], plot.at[plot.at.len() - 1]);
    let area = SVGBackend::new(path, (640, 360)).into_drawing_area();
    area.fill(&theme.background)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, theme.text(18))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((first..last).log_scale(), 0.0..highest * 1.15)?;
    chart
        .configure_mesh()
        .max_light_lines(2)
        .axis_style(theme.ink)
        .bold_line_style(theme.ink.mix(0.2))
        .light_line_style(theme.ink.mix(0.1))
        .label_style(theme.text(12))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc(plot.across)
        .y_desc(plot.up)
        .draw()?;
    for (number, (side, values)) in row.sides.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let points: Vec<(f64, f64)> = plot.at.iter().copied().zip(values.iter().copied()).collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(side.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(theme.background.mix(0.8))
        .border_style(theme.ink)
        .label_font(theme.text(12))
        .draw()?;
    area.present()?;
    Ok(())
}
