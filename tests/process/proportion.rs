//! Crossing takes time in proportion to the size of the values. The tests count instructions, which do not
//! depend on load.

use std::os::unix::fs::symlink;

use crate::support::{Case, empty_folder, is_installed, project};

/// Sends the value of `make(n)` to a task, which returns it.
const VALUES: [(&str, &str); 7] = [
    ("items", "for i = 1, n do value[i] = i end"),
    ("fields", "for i = 1, n do value['field ' .. i] = i + 0.5 end"),
    ("small tables", "for i = 1, n do value[i] = { x = i, y = -i } end"),
    ("shared tables", "for i = 1, n, 2 do value[i] = {} value[i + 1] = value[i] end"),
    ("tables as keys", "for i = 1, n do value[{}] = i end"),
    ("nested tables", "for _ = 1, n do value = { value } end"),
    ("functions", "for i = 1, n // 4 do value[i] = load('return 1') end"),
];

const SEND: &str = r#"
    local entry = gma2workers.RunSync({ tasks = { { func = function(v) return v end, args = { value } } } }).result[1]
    assert(entry.success, entry.data)
"#;

const MANY_TASKS: &str = r#"
    local big = load(("return function(n) local text = %q return n + #text end"):format(("x"):rep(1 << 16)))()
    local tasks = {}
    for i = 1, n do tasks[i] = { func = big, args = { i } } end
    for i, entry in ipairs(gma2workers.RunSync({ tasks = tasks }).result) do assert(entry.data == i + (1 << 16)) end
"#;

/// The instructions that a script takes on all threads together.
fn instructions(make_case: &dyn Fn(&str) -> Case, script: &str) -> u64 {
    let outcome = make_case(script)
        .under(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--fair-sched=yes"])
        .run()
        .expect_code(0);
    let total = outcome.stderr.lines().find_map(|line| line.split_once("Collected : "));
    let (_, total) = total.unwrap_or_else(|| panic!("valgrind tells no count: {outcome}"));
    total.trim().parse().expect("a count is a number")
}

/// Four times the size must take four times the instructions, not sixteen times as in quadratic time.
#[track_caller]
fn grows_in_proportion(name: &str, make_case: &dyn Fn(&str) -> Case, amount: u32, script: &str) {
    let count = |n: u32| {
        let begin = "local gma2workers = require 'gma2workers' collectgarbage('stop')";
        instructions(make_case, &format!("{begin} local n = {n} local value = {{}} {script}"))
    };
    let (none, once, four_times) = (count(0), count(amount), count(4 * amount));
    let growth = four_times.saturating_sub(none) as f64 / once.saturating_sub(none).max(1) as f64;
    assert!(
        growth < 8.0,
        "{name}: {once} instructions of {amount}, {growth:.2} times as many of four times that"
    );
}

fn values_grow_in_proportion(make_case: &dyn Fn(&str) -> Case) {
    if !is_installed("valgrind") {
        panic!("valgrind is missing: scripts/test-more installs it");
    }
    for (name, make) in VALUES {
        grows_in_proportion(name, make_case, 5000, &format!("{make} {SEND}"));
    }
}

/// V9.
#[test]
#[ignore = "long"]
fn values_cross_in_linear_time() {
    values_grow_in_proportion(&Case::new);
}

/// V9.
#[test]
#[ignore = "long"]
fn values_cross_in_linear_time_on_the_cooperative_backend() {
    let folder = empty_folder();
    symlink(project().join("lua"), folder.path().join("gma2workers")).expect("a link can be made");
    values_grow_in_proportion(&|script| Case::new(script).path(folder.path()).without_cpath());
}

/// F8.
#[test]
#[ignore = "long"]
fn many_tasks_of_a_large_function_run_in_linear_time() {
    grows_in_proportion("tasks", &Case::new, 200, MANY_TASKS);
}
