//! Draws a job's timeline: trace-plot JOB.json PICTURE.svg. It has a row for the host and one for each
//! worker.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use plotters::prelude::*;
use serde::Deserialize;

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
    #[serde(default)]
    success: bool,
}

const WIDTH: u32 = 960;
const ROW_HEIGHT: u32 = 28;
const KEY_HEIGHT: u32 = 28;
/// The part of a row's height that stays free above and below a slice.
const GAP: f64 = 0.12;

const GOOD: RGBColor = RGBColor(66, 133, 190);
const FAILED: RGBColor = RGBColor(204, 62, 54);
const WAITING: RGBColor = RGBColor(233, 196, 106);
const OF_THE_HOST: RGBColor = RGBColor(120, 170, 120);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("trace-plot: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("write: trace-plot JOB.json PICTURE.svg".into());
    };
    let file = File::open(&from).map_err(|cause| format!("cannot read {from}: {cause}"))?;
    let trace: Trace = serde_json::from_reader(BufReader::new(file))
        .map_err(|cause| format!("{from} is no file that the option 'trace' has written: {cause}"))?;
    draw(&trace.events, &to).map_err(|cause| format!("cannot draw {to}: {cause}").into())
}

fn draw(events: &[Event], path: &str) -> Result<(), Box<dyn Error>> {
    let titles = events.iter().filter(|event| event.ph == "M");
    let title = titles.clone().find(|event| event.tid.is_none()).map_or("", |event| &event.args.name);
    let rows: Vec<&str> =
        titles.filter(|event| event.tid.is_some()).map(|event| event.args.name.as_str()).collect();
    let slices = || events.iter().filter(|event| event.ph == "X");
    let end = slices().map(|event| event.ts + event.dur).fold(0.0, f64::max) / 1e3;

    let height = ROW_HEIGHT * rows.len() as u32 + 110 + KEY_HEIGHT;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let (picture, key) = area.split_vertically(height - KEY_HEIGHT);
    let mut chart = ChartBuilder::on(&picture)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..end.max(f64::MIN_POSITIVE), rows.len() as f64..0.0)?;
    let row_title = |row: &f64| {
        let is_middle = (row.fract() - 0.5).abs() < 0.01;
        let title = rows.get(*row as usize).filter(|_| is_middle);
        title.map_or_else(String::new, |title| (*title).to_owned())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc("ms")
        .y_labels(rows.len() * 2 + 1)
        .y_label_formatter(&row_title)
        .light_line_style(TRANSPARENT)
        .draw()?;
    // A wait begins after its task, so it is drawn on top.
    chart.draw_series(slices().map(|event| {
        let color = match event.cat.as_str() {
            "task" if event.args.success => GOOD,
            "task" => FAILED,
            "waiting" => WAITING,
            _ => OF_THE_HOST,
        };
        let row = event.tid.unwrap_or(0) as f64;
        let (left, right) = (event.ts / 1e3, (event.ts + event.dur) / 1e3);
        Rectangle::new([(left, row + GAP), (right, row + 1.0 - GAP)], color.filled())
    }))?;
    let kinds = [("task", GOOD), ("failed task", FAILED), ("waiting", WAITING), ("host", OF_THE_HOST)];
    for (number, (kind, color)) in kinds.into_iter().enumerate() {
        let x = 96 + 130 * number as i32;
        key.draw(&Rectangle::new([(x, 6), (x + 12, 18)], color.filled()))?;
        key.draw(&Text::new(kind, (x + 18, 5), ("sans-serif", 14)))?;
    }
    Ok(area.present()?)
}
