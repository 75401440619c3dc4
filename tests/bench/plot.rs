//! Draws the plots over a scale, each into files of its own. The plot of a row that was not run stays as it is.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::Row;
use crate::theme::{Area, Drawn, Theme, WIDTH, draw_themes};

struct Plot {
    file: &'static str,
    title: &'static str,
    across: &'static str,
    /// The row, and the positions of its sides' points on the horizontal axis, with their names there.
    row: &'static str,
    at: &'static [(f64, &'static str)],
    /// The distance of two lines across.
    step: f64,
}

/// Each side of these rows has one value per point, not one per round.
const PLOTS: [Plot; 3] = [
    Plot {
        file: "speed-up",
        title: "Times as fast as a plain loop, on two cores",
        across: "workers, or processes",
        row: "speed-up over workers",
        at: &[(1.0, "1"), (2.0, "2"), (4.0, "4"), (10.0, "10"), (19.0, "19")],
        step: 0.5,
    },
    Plot {
        file: "cost-per-task",
        title: "A tiny task: microseconds a task",
        across: "tasks in the job",
        row: "growth in tasks",
        at: &[(1e3, "1,000"), (1e4, "10,000"), (1e5, "100,000"), (1e6, "1,000,000")],
        step: 0.2,
    },
    Plot {
        file: "transfer",
        title: "A table to a worker: microseconds a row",
        across: "rows",
        row: "growth of a table",
        at: &[(1e3, "1,000"), (1e4, "10,000"), (1e5, "100,000"), (4e5, "400,000")],
        step: 0.5,
    },
];

/// The sides' colours, which can be told apart on both backgrounds.
const COLOURS: [RGBColor; 2] = [RGBColor(47, 129, 247), RGBColor(219, 109, 40)];

const HEIGHT: i32 = 320;
const LEFT: i32 = 52;
/// The last points have their values at their right.
const RIGHT: i32 = WIDTH - 60;
const TOP: i32 = 76;
const BOTTOM: i32 = HEIGHT - 60;
const TEXT: f64 = 15.0;
/// The least distance of two values at the right.
const LINE: i32 = 17;

pub fn draw(rows: &[Row], folder: &Path) -> Drawn {
    for plot in &PLOTS {
        if let Some(row) = rows.iter().find(|row| row.name == plot.row) {
            let path = folder.join(format!("{}.svg", plot.file));
            draw_themes(&path, HEIGHT, |area, theme| draw_one(plot, row, area, theme))?;
        }
    }
    Ok(())
}

fn draw_one(plot: &Plot, row: &Row, area: &Area, theme: &Theme) -> Drawn {
    let highest = row.sides.values().flatten().copied().fold(0.0, f64::max);
    let lines = (highest / plot.step).ceil() as i32;
    let up = |value: f64| BOTTOM - (value / (plot.step * f64::from(lines)) * f64::from(BOTTOM - TOP)) as i32;
    let (first, last) = (plot.at[0].0, plot.at[plot.at.len() - 1].0);
    let across =
        |value: f64| LEFT + ((value / first).ln() / (last / first).ln() * f64::from(RIGHT - LEFT)) as i32;

    theme.write(area, plot.title, 18.0, (WIDTH / 2, 20), HPos::Center)?;
    for line in 0..=lines {
        let value = plot.step * f64::from(line);
        let shade = theme.ink.mix(if line == 0 { 0.8 } else { 0.2 });
        area.draw(&PathElement::new([(LEFT, up(value)), (RIGHT, up(value))], shade))?;
        theme.write(area, &format!("{value:.1}"), TEXT, (LEFT - 8, up(value)), HPos::Right)?;
    }
    for (value, name) in plot.at {
        area.draw(&PathElement::new(
            [(across(*value), BOTTOM), (across(*value), BOTTOM + 5)],
            theme.ink.mix(0.8),
        ))?;
        theme.write(area, name, TEXT, (across(*value), BOTTOM + 17), HPos::Center)?;
    }
    theme.write(area, plot.across, TEXT, ((LEFT + RIGHT) / 2, HEIGHT - 16), HPos::Center)?;

    // A key says which line is which, where there are several.
    let sides = || row.sides.iter().zip(COLOURS);
    if row.sides.len() > 1 {
        for (number, ((side, _), colour)) in sides().enumerate() {
            let x = LEFT + 150 * number as i32;
            area.draw(&Rectangle::new([(x, 45), (x + 22, 48)], colour.filled()))?;
            theme.write(area, side, TEXT, (x + 30, 47), HPos::Left)?;
        }
    }
    // The values of the last points, from the top down, so that none lies over another.
    let mut ends: Vec<(f64, RGBColor)> =
        sides().filter_map(|((_, values), colour)| Some((*values.last()?, colour))).collect();
    ends.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut free = TOP - LINE;
    for (value, colour) in ends {
        free = up(value).max(free + LINE);
        theme.write_in(&colour, area, &format!("{value:.2}"), TEXT, (RIGHT + 10, free), HPos::Left)?;
    }
    for ((_, values), colour) in sides() {
        let points: Vec<(i32, i32)> =
            plot.at.iter().zip(values).map(|((at, _), value)| (across(*at), up(*value))).collect();
        area.draw(&PathElement::new(points.clone(), colour.stroke_width(3)))?;
        for point in points {
            area.draw(&Circle::new(point, 4, colour.filled()))?;
        }
    }
    Ok(())
}
