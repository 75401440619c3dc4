//! Draws how much faster the rows of real work are than their plain loops, as bars.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::Row;
use crate::theme::{Area, Drawn, Theme, WIDTH, draw_themes};

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
const KEY: [(i32, i32); SIDES.len()] = [(20, 52), (20, 74), (220, 52), (220, 74), (20, 96)];

const LEFT: i32 = 20;
/// The longest bar has its figure at its right.
const RIGHT: i32 = WIDTH - 60;
const TOP: i32 = 116;
/// A row's name stands above its bars.
const NAME: i32 = 26;
const BAR: i32 = 18;
const GAP: i32 = 12;
const GROUP: i32 = NAME + BAR * SIDES.len() as i32 + GAP;
const TEXT: f64 = 15.0;

pub fn draw(rows: &[Row], folder: &Path) -> Drawn {
    let rows: Vec<&Row> = rows.iter().filter(|row| speed(row, SIDES[1].0).is_some()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let bottom = TOP + GROUP * rows.len() as i32;
    draw_themes(&folder.join("real-work.svg"), bottom + 32, |area, theme| {
        draw_one(&rows, bottom, area, theme)
    })
}

/// How many times as fast as the plain loop a side is.
fn speed(row: &Row, side: &str) -> Option<f64> {
    let is_its = |name: &str| name.strip_prefix(PREFIX) == Some(side);
    row.figures.iter().find(|figure| is_its(&figure.name)).map(|figure| figure.value)
}

fn draw_one(rows: &[&Row], bottom: i32, area: &Area, theme: &Theme) -> Drawn {
    let speeds = rows.iter().flat_map(|row| SIDES.iter().filter_map(|side| speed(row, side.0)));
    // Whole halves, since a line is drawn at each.
    let halves = (speeds.fold(1.0, f64::max) * 2.0).ceil().max(4.0) as i32;
    let across = |speed: f64| LEFT + (speed * 2.0 / f64::from(halves) * f64::from(RIGHT - LEFT)) as i32;

    theme.write(area, "Times as fast as the plain loop", 18.0, (WIDTH / 2, 20), HPos::Center)?;
    for ((_, label, colour), (x, y)) in SIDES.iter().zip(KEY) {
        area.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], colour.filled()))?;
        theme.write(area, label, TEXT, (x + 20, y), HPos::Left)?;
    }
    for half in 0..=halves {
        let speed = f64::from(half) / 2.0;
        let x = across(speed);
        let shade = theme.ink.mix(if half == 2 { 0.8 } else { 0.15 });
        area.draw(&PathElement::new([(x, TOP), (x, bottom)], shade))?;
        theme.write(area, &format!("{speed}"), TEXT, (x, bottom + 16), HPos::Center)?;
    }
    // No line crosses a text.
    let clear = |x, width, y, height| {
        area.draw(&Rectangle::new([(x, y + 1), (x + width, y + height - 1)], theme.background.filled()))
    };
    for (number, row) in rows.iter().enumerate() {
        let top = TOP + GROUP * number as i32;
        clear(LEFT - 2, 9 * row.name.len() as i32, top, NAME)?;
        theme.write(area, &row.name, TEXT, (LEFT, top + NAME / 2 + 2), HPos::Left)?;
        for (place, (side, _, colour)) in SIDES.iter().enumerate() {
            let Some(speed) = speed(row, side) else { continue };
            let y = top + NAME + BAR * place as i32;
            area.draw(&Rectangle::new([(LEFT, y + 1), (across(speed), y + BAR - 1)], colour.filled()))?;
            let x = across(speed) + 6;
            clear(x - 3, 36, y, BAR)?;
            theme.write(area, &format!("{speed:.2}"), 14.0, (x, y + BAR / 2), HPos::Left)?;
        }
    }
    Ok(())
}
