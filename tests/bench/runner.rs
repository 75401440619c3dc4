//! Runs the benchmarks in Lua, prints the results beside their targets, keeps a dated record, and draws the
//! plots for the README.
//!
//! ```text
//! bench DATE FOLDER FILE...    lua5.3 runs each FILE, which prints one row per line, as JSON
//! bench --draw RECORD          draws the plots of a record anew, beside it
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};

mod bars;
mod plot;
mod theme;

/// One measured row.
#[derive(Debug, Deserialize, Serialize)]
pub struct Row {
    pub name: String,
    pub unit: String,
    /// The values of all rounds, in the row's unit, by side.
    pub sides: BTreeMap<String, Vec<f64>>,
    pub figures: Vec<Figure>,
}

/// A summary of a row, and its target.
#[derive(Debug, Deserialize, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
}

impl Figure {
    /// The target as people write it, and whether it is met.
    fn target(&self) -> (String, &'static str) {
        let word = |is_met| if is_met { "yes" } else { "no" };
        match (self.least, self.most) {
            (Some(least), _) => (format!("≥ {least}"), word(self.value >= least)),
            (_, Some(most)) => (format!("≤ {most}"), word(self.value <= most)),
            _ => (String::new(), ""),
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Record {
    date: String,
    machine: String,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [option, record] if option == "--draw" => draw_record(Path::new(record)),
        [date, folder, files @ ..] => run(date, Path::new(folder), files),
        _ => {
            eprintln!("bench: write bench DATE FOLDER FILE... or bench --draw RECORD");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(date: &str, folder: &Path, files: &[String]) -> Result<(), Box<dyn Error>> {
    println!("| what | figure | measured | target | met |\n|---|---|---:|---:|---|");
    let machine = machine();
    let mut rows = Vec::new();
    for file in files {
        let output = Command::new("lua5.3").arg(file).stderr(Stdio::inherit()).output()?;
        for line in String::from_utf8(output.stdout)?.lines() {
            let row: Row =
                serde_json::from_str(line).map_err(|cause| format!("{file} printed {line:?}: {cause}"))?;
            for figure in &row.figures {
                let (target, is_met) = figure.target();
                println!("| {} | {} | {:.3} | {target} | {is_met} |", row.name, figure.name, figure.value);
            }
            rows.push(row);
        }
        if !output.status.success() {
            return Err(format!("{file} failed: {}", output.status).into());
        }
    }
    fs::create_dir_all(folder)?;
    let record = Record { date: date.to_owned(), machine, rows };
    fs::write(folder.join(format!("{date}.json")), serde_json::to_string_pretty(&record)? + "\n")?;
    draw(&record, folder)
}

fn draw_record(path: &Path) -> Result<(), Box<dyn Error>> {
    let record: Record = serde_json::from_str(&fs::read_to_string(path)?)?;
    draw(&record, path.parent().unwrap_or(Path::new("")))
}

fn draw(record: &Record, folder: &Path) -> Result<(), Box<dyn Error>> {
    plot::draw(&record.rows, folder)?;
    bars::draw(&record.rows, folder)
}

/// The processor, the number of its cores, and how busy it is.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{}, {cores} cores, load {load} at the start", name.trim_start_matches(['\t', ' ', ':']))
}
