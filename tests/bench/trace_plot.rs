//! Draws a job's timeline: trace-plot JOB.json PICTURE.svg. It has a row for the host and one for each worker. A second
//! file, with `-dark` in its name, is for dark pages.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use serde::Deserialize;

mod theme;

use theme::{Area, Drawn, Theme, WIDTH, draw_themes};

#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
}

/// A row's title or a slice, as the option `trace` writes it.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    ph: String,
    #[serde(default)]
    tid: Option<usize>,
    /// Microseconds.
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    name: String,
    /// The number of a task.
    #[serde(default)]
    task: Option<usize>,
    #[serde(default)]
    success: bool,
}

const LEFT: i32 = 82;
const RIGHT: i32 = WIDTH - 24;
const TOP: i32 = 84;
const ROW: i32 = 46;
/// The host has no numbers to show, so its row is lower.
const HOST_ROW: i32 = 26;
/// The free space below a row.
const GAP: i32 = 8;
/// The upper part of a task's slice shows its number, the lower one its waits.
const NUMBER: i32 = 20;
const TEXT: f64 = 15.0;
/// A shorter slice would be a hairline, or not there at all.
const NARROWEST: i32 = 3;

const GOOD: RGBColor = RGBColor(37, 106, 191);
const FAILED: RGBColor = RGBColor(204, 62, 54);
const WAITING: RGBColor = RGBColor(233, 196, 106);
const OF_THE_HOST: RGBColor = RGBColor(63, 155, 80);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("trace-plot: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Drawn {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("write: trace-plot JOB.json PICTURE.svg".into());
    };
    let file = File::open(&from).map_err(|cause| format!("cannot read {from}: {cause}"))?;
    let trace: Trace = serde_json::from_reader(BufReader::new(file))
        .map_err(|cause| format!("{from} is no file that the option 'trace' has written: {cause}"))?;
    let rows = trace.events.iter().filter(|event| event.ph == "M" && event.tid.is_some()).count() as i32;
    let bottom = top_of(rows.max(1));
    draw_themes(Path::new(&to), bottom + 58, |area, theme| draw(&trace.events, bottom, area, theme))
        .map_err(|cause| format!("cannot draw {to}: {cause}").into())
}

/// Where a row begins; the host's is the first.
fn top_of(row: i32) -> i32 {
    if row == 0 { TOP } else { TOP + HOST_ROW + GAP + (ROW + GAP) * (row - 1) }
}

fn draw(events: &[Event], bottom: i32, area: &Area, theme: &Theme) -> Drawn {
    let titles = || events.iter().filter(|event| event.ph == "M");
    let slices = || events.iter().filter(|event| event.ph == "X");
    let end = slices().map(|event| event.ts + event.dur).fold(1.0, f64::max);
    let across = |time: f64| LEFT + (time / end * f64::from(RIGHT - LEFT)) as i32;

    let title = titles().find(|event| event.tid.is_none()).map_or("", |event| &event.args.name);
    theme.write(area, title, 18.0, (WIDTH / 2, 20), HPos::Center)?;
    let has_failed = slices().any(|event| event.cat == "task" && !event.args.success);
    let kinds = [("task", GOOD), ("waiting", WAITING), ("host", OF_THE_HOST), ("failed task", FAILED)];
    for (number, (kind, colour)) in kinds.into_iter().take(if has_failed { 4 } else { 3 }).enumerate() {
        let x = LEFT + 100 * number as i32;
        area.draw(&Rectangle::new([(x, 46), (x + 12, 58)], colour.filled()))?;
        theme.write(area, kind, TEXT, (x + 20, 52), HPos::Left)?;
    }

    // Some five lines, at round times.
    let rough = end / 1e3 / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|round| round * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    for line in 0..=(end / 1e3 / step) as i32 {
        let time = f64::from(line) * step;
        let x = across(time * 1e3);
        area.draw(&PathElement::new([(x, TOP), (x, bottom)], theme.ink.mix(0.25)))?;
        // 0.30000000000000004 is written as 0.3.
        let name = (time * 1e6).round() / 1e6;
        theme.write(area, &name.to_string(), TEXT, (x, bottom + 12), HPos::Center)?;
    }
    theme.write(area, "milliseconds", TEXT, ((LEFT + RIGHT) / 2, bottom + 38), HPos::Center)?;

    for event in titles() {
        let Some(row) = event.tid else { continue };
        let height = if row == 0 { HOST_ROW } else { ROW };
        theme.write(
            area,
            &event.args.name,
            TEXT,
            (LEFT - 8, top_of(row as i32) + height / 2),
            HPos::Right,
        )?;
    }
    // A wait begins after its task, so it is drawn on top.
    for event in slices() {
        let row = event.tid.unwrap_or(0) as i32;
        let (left, top) = (across(event.ts), top_of(row));
        let right = across(event.ts + event.dur).max(left + NARROWEST);
        let bottom = top + if row == 0 { HOST_ROW } else { ROW };
        let fill = |from, to, colour: RGBColor| {
            area.draw(&Rectangle::new([(from, top), (to, bottom)], colour.filled()))
        };
        match event.cat.as_str() {
            "task" => {
                // The gap between two tasks.
                fill(left - 1, left + 1, theme.background)?;
                fill(left + 1, right, if event.args.success { GOOD } else { FAILED })?;
                let number = event.args.task.map_or_else(String::new, |task| task.to_string());
                let fits = right - left > 9 * number.len() as i32 + 2;
                if fits {
                    let middle = ((left + right) / 2, top + NUMBER / 2 + 2);
                    theme.write_in(&WHITE, area, &number, TEXT, middle, HPos::Center)?;
                }
            }
            "waiting" => {
                let corners = [(left, top + NUMBER + 4), (right, bottom)];
                area.draw(&Rectangle::new(corners, WAITING.filled()))?;
            }
            _ => fill(left, right, OF_THE_HOST)?,
        }
    }
    Ok(())
}
