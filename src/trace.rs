//! A job's timeline: the activities of its workers and its host, as a file for Perfetto and chrome://tracing.
//!
//! Plain `Send` data. Without a trace, a job only checks a `None` for each task.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// A row of the picture: the host has the first, and each worker has one.
pub type Row = usize;

pub const HOST: Row = 0;

/// The activity that a slice of a row shows.
#[derive(Debug)]
enum Activity {
    /// A task, by index, from 0.
    Task(usize),
    /// Any other activity: its name and its category.
    Other(Cow<'static, str>, &'static str),
}

#[derive(Debug)]
struct Span {
    row: Row,
    activity: Activity,
    begun: Instant,
    /// None while the activity goes on, and for good if its worker was given up.
    ended: Option<Instant>,
    /// Whether a task succeeded.
    success: bool,
}

#[derive(Debug, Default)]
struct Spans {
    /// In the order in which they began.
    list: Vec<Span>,
    /// The open task or host call of each row.
    open: Vec<Option<usize>>,
}

use Activity::{Other, Task};

impl Spans {
    fn begin(&mut self, row: Row, activity: Activity) -> usize {
        self.list.push(Span { row, activity, begun: Instant::now(), ended: None, success: false });
        self.list.len() - 1
    }

    fn open(&mut self, row: Row, activity: Activity) {
        self.close(row, false);
        let span = self.begin(row, activity);
        if self.open.len() <= row {
            self.open.resize(row + 1, None);
        }
        self.open[row] = Some(span);
    }

    fn close(&mut self, row: Row, success: bool) {
        if let Some(span) = self.open.get_mut(row).and_then(Option::take) {
            self.list[span].ended = Some(Instant::now());
            self.list[span].success = success;
        }
    }
}

/// The timeline of one job.
#[derive(Debug)]
pub struct Trace {
    origin: Instant,
    spans: Mutex<Spans>,
    /// None after it was written.
    file: Mutex<Option<File>>,
}

/// A slice that ends when this is dropped.
pub struct OpenSpan<'a> {
    trace: &'a Trace,
    span: usize,
}

impl Drop for OpenSpan<'_> {
    fn drop(&mut self) {
        self.trace.lock().list[self.span].ended = Some(Instant::now());
    }
}

impl Trace {
    /// Creates the file at a path, and a timeline for it. Its times count from `origin`.
    pub fn create(path: &str, origin: Instant) -> io::Result<Trace> {
        Ok(Trace { origin, spans: Mutex::default(), file: Mutex::new(Some(File::create(path)?)) })
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a worker begins a task.
    pub fn begin_task(&self, worker: Row, index: usize) {
        self.lock().open(worker, Task(index));
    }

    /// Records that a worker's open task has its outcome.
    pub fn end_task(&self, worker: Row, success: bool) {
        self.lock().close(worker, success);
    }

    /// Records that the host takes a host call.
    pub fn begin_call(&self, name: &str) {
        self.lock().open(HOST, Other(name.to_owned().into(), "host call"));
    }

    /// Records that the host is done with its open host call, if it has one.
    pub fn end_call(&self) {
        self.lock().close(HOST, true);
    }

    /// Records an activity of the host until the guard is dropped.
    pub fn host(&self, name: &'static str) -> OpenSpan<'_> {
        OpenSpan { trace: self, span: self.lock().begin(HOST, Other(name.into(), "host")) }
    }

    /// Records an activity of the host from `origin` until now.
    pub fn host_did(&self, name: &'static str) {
        let activity = Other(name.into(), "host");
        let ended = Some(Instant::now());
        self.lock().list.push(Span { row: HOST, activity, begun: self.origin, ended, success: true });
    }

    /// Records that a worker's task waits until the guard is dropped. `name` says for what.
    pub fn wait(&self, worker: Row, name: String) -> OpenSpan<'_> {
        OpenSpan { trace: self, span: self.lock().begin(worker, Other(name.into(), "waiting")) }
    }

    /// Writes the file, once. Slices that are still open end now.
    pub fn write<'a>(&self, title: &str, name_of: impl Fn(usize) -> Option<&'a str>) -> io::Result<()> {
        let Some(file) = self.file.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let spans = self.lock();
        let now = Instant::now();
        let mut out = BufWriter::new(file);
        out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
        write_event(&mut out, &Event::title("process_name", None, title))?;
        let rows = spans.list.iter().map(|span| span.row).max().unwrap_or(HOST);
        for row in HOST..=rows {
            let title = if row == HOST { "host".into() } else { format!("worker {row}") };
            out.write_all(b",\n")?;
            write_event(&mut out, &Event::title("thread_name", Some(row), &title))?;
        }
        let waits = spans.waits(now);
        for (span, waited) in spans.list.iter().zip(waits) {
            out.write_all(b",\n")?;
            write_event(&mut out, &Event::slice(span, waited, self.origin, now, &name_of))?;
        }
        out.write_all(b"\n]}\n")?;
        out.flush()
    }
}

impl Spans {
    /// How long each slice of a task waited for the host, in seconds.
    fn waits(&self, now: Instant) -> Vec<f64> {
        let mut waits = vec![0.0; self.list.len()];
        let mut tasks = vec![None; self.list.iter().map(|span| span.row + 1).max().unwrap_or(0)];
        for (number, span) in self.list.iter().enumerate() {
            match span.activity {
                Task(_) => tasks[span.row] = Some(number),
                Other(..) => {
                    if let Some(task) = tasks[span.row] {
                        waits[task] += span.ended.unwrap_or(now).duration_since(span.begun).as_secs_f64();
                    }
                }
            }
        }
        waits
    }
}

/// The format of the trace viewers: see "Trace Event Format". Times are in microseconds.
#[derive(Serialize)]
struct Event<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'a str>,
    ph: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<Row>,
    args: Arguments<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Title { name: &'a str },
    Task { task: usize, success: bool, lua_ms: f64, host_ms: f64 },
    None {},
}

/// The viewers show one process for each file.
const PROCESS: u32 = 1;

impl<'a> Event<'a> {
    fn title(kind: &'a str, tid: Option<Row>, name: &'a str) -> Event<'a> {
        let args = Arguments::Title { name };
        Event { name: kind.into(), cat: None, ph: "M", ts: None, dur: None, pid: PROCESS, tid, args }
    }

    fn slice<'n: 'a>(
        span: &'a Span,
        waited: f64,
        origin: Instant,
        now: Instant,
        name_of: impl Fn(usize) -> Option<&'n str>,
    ) -> Event<'a> {
        let duration = span.ended.unwrap_or(now).duration_since(span.begun).as_secs_f64();
        let (name, cat, args) = match &span.activity {
            Task(index) => {
                let name = name_of(*index).map_or_else(|| format!("task {}", index + 1).into(), Cow::from);
                let lua_ms = (duration - waited).max(0.0) * 1e3;
                let success = span.success;
                (name, "task", Arguments::Task { task: index + 1, success, lua_ms, host_ms: waited * 1e3 })
            }
            Other(name, category) => (Cow::from(&**name), *category, Arguments::None {}),
        };
        let begun = span.begun.duration_since(origin).as_secs_f64();
        Event {
            name,
            cat: Some(cat),
            ph: "X",
            ts: Some(begun * 1e6),
            dur: Some(duration * 1e6),
            pid: PROCESS,
            tid: Some(span.row),
            args,
        }
    }
}

fn write_event(out: &mut impl Write, event: &Event) -> io::Result<()> {
    Ok(serde_json::to_writer(out, event)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_trace_has_rows_slices_and_open_slices() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("job.json");
        let trace = Trace::create(&path.display().to_string(), Instant::now()).expect("a file can be made");
        trace.host_did("encode");
        trace.begin_task(2, 0);
        {
            let _wait = trace.wait(2, "gma.cmd".into());
            trace.begin_call("gma.cmd");
            trace.end_call();
        }
        trace.end_task(2, true);
        trace.end_task(2, false);
        trace.begin_task(1, 7);
        for _ in 0..2 {
            trace.write("a \"job\"", |index| (index == 7).then_some("seven")).expect("a file can be written");
        }
        let text = std::fs::read_to_string(&path).expect("it was written");
        let read: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let events = read["traceEvents"].as_array().expect("a list");
        let seen: Vec<_> = events
            .iter()
            .map(|event| {
                (
                    event["ph"].as_str(),
                    event["tid"].as_u64(),
                    event["name"].as_str(),
                    event["args"]["success"].as_bool(),
                )
            })
            .collect();
        let row = |tid| ("M", tid, "thread_name", None);
        let expected = [
            ("M", None, "process_name", None),
            row(Some(0)),
            row(Some(1)),
            row(Some(2)),
            ("X", Some(0), "encode", None),
            ("X", Some(2), "task 1", Some(true)),
            ("X", Some(2), "gma.cmd", None),
            ("X", Some(0), "gma.cmd", None),
            ("X", Some(1), "seven", Some(false)),
        ];
        let expected = expected.map(|(kind, tid, name, success)| (Some(kind), tid, Some(name), success));
        assert_eq!(seen, expected);
        let (task, wait) = (&events[5], &events[6]);
        let (waited, wait) = (task["args"]["host_ms"].as_f64(), wait["dur"].as_f64());
        let difference = waited.zip(wait).map(|(ms, us)| (ms * 1e3 - us).abs());
        assert!(difference.is_some_and(|difference| difference < 1e-6), "{waited:?} ms, {wait:?} us");
    }
}
