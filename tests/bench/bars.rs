//! Draws how much faster the rows of real work are than their plain loops, as bars.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Row;
use crate::theme::{THEMES, Theme};

const PREFIX: &str = "times as fast: ";

/// The sides, with their names in the key and their colours.
const SIDES: [(&str, &str, RGBColor); 5] = [
    ("one worker", "1 worker", RGBColor(120, 170, 220)),
    ("two workers", "2 workers", RGBColor(47, 111, 187)),
    ("one worker in the engine", "1 worker, in the engine", RGBColor(130, 190, 130)),
    ("two workers in the engine", "2 workers, in the engine", RGBColor(56, 142, 60)),
    (
        "cooperative, two workers in the engine",
        "2 workers, cooperative, in the engine",
        RGBColor(150, 150, 150),
    ),
];

/// Where the key names each side.
const KEY: [(i32, i32); SIDES.len()] = [(60, 46), (60, 64), (190, 46), (190, 64), (440, 46)];

const WIDTH: i32 = 840;
/// Where the bars begin.
const LEFT: i32 = 290;
const RIGHT: i32 = WIDTH - 60;
const TOP: i32 = 84;
const BAR: i32 = 14;
const GAP: i32 = 14;
const GROUP: i32 = BAR * SIDES.len() as i32 + GAP;

pub fn draw(rows: &[Row], folder: &Path) -> Result<(), Box<dyn Error>> {
    let rows: Vec<&Row> = rows.iter().filter(|row| speed(row, SIDES[1].0).is_some()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    for theme in &THEMES {
        draw_one(&rows, theme, &folder.join(format!("real-work{}.svg", theme.ending)))?;
    }
    Ok(())
}

/// How many times as fast as the plain loop a side is.
fn speed(row: &Row, side: &str) -> Option<f64> {
    let is_its = |name: &str| name.strip_prefix(PREFIX) == Some(side);
    row.figures.iter().find(|figure| is_its(&figure.name)).map(|figure| figure.value)
}

fn draw_one(rows: &[&Row], theme: &Theme, path: &Path) -> Result<(), Box<dyn Error>> {
    let bottom = TOP + GROUP * rows.len() as i32;
    let size = (WIDTH.unsigned_abs(), (bottom + 32).unsigned_abs());
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&theme.background)?;
    let speeds = rows.iter().flat_map(|row| SIDES.iter().filter_map(|side| speed(row, side.0)));
    // Whole halves, since a line is drawn at each.
    let halves = (speeds.fold(1.0, f64::max) * 2.0).ceil().max(4.0) as i32;
    let across = |speed: f64| LEFT + (speed * 2.0 / f64::from(halves) * f64::from(RIGHT - LEFT)) as i32;
    let text = |words: &str, size, at, horizontal| {
        let style = theme.text(size).pos(Pos::new(horizontal, VPos::Center));
        area.draw(&Text::new(words.to_owned(), at, style))
    };

    text("Times as fast as the plain loop", 20, (WIDTH / 2, 18), HPos::Center)?;
    for ((_, label, colour), (x, y)) in SIDES.iter().zip(KEY) {
        area.draw(&Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()))?;
        text(label, 15, (x + 16, y), HPos::Left)?;
    }
    for half in 0..=halves {
        let speed = f64::from(half) / 2.0;
        let x = across(speed);
        let shade = theme.ink.mix(if half == 2 { 0.8 } else { 0.15 });
        area.draw(&PathElement::new([(x, TOP - 4), (x, bottom)], shade))?;
        text(&format!("{speed}"), 14, (x, bottom + 14), HPos::Center)?;
    }
    for (number, row) in rows.iter().enumerate() {
        let top = TOP + GROUP * number as i32 + GAP / 2;
        text(&row.name, 15, (LEFT - 10, top + (GROUP - GAP) / 2), HPos::Right)?;
        for (place, (side, _, colour)) in SIDES.iter().enumerate() {
            let Some(speed) = speed(row, side) else { continue };
            let y = top + BAR * place as i32;
            area.draw(&Rectangle::new([(LEFT, y + 1), (across(speed), y + BAR - 1)], colour.filled()))?;
            // No line crosses the figure.
            let x = across(speed) + 5;
            area.draw(&Rectangle::new([(x - 3, y + 1), (x + 26, y + BAR - 1)], theme.background.filled()))?;
            text(&format!("{speed:.2}"), 13, (x, y + BAR / 2), HPos::Left)?;
        }
    }
    area.present()?;
    Ok(())
}
