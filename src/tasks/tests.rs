//! Which arguments of tasks are encoded once.

use super::TaskReader;
use crate::codec::Common;
use crate::config;
use crate::executor::has_early_workers;
use crate::ffi::OwnState;
use crate::host::HostNames;
use crate::job::Tasks;
use crate::sync::usable_cores;

/// Reads the options of a job that Lua code returns.
fn read(code: &str) -> Tasks {
    let state = OwnState::new(usize::MAX).expect("a state");
    let stack = state.unprotected();
    stack.open_libraries();
    stack.set_top(0);
    stack.load(code.as_bytes(), c"=code").expect("it is Lua");
    stack.call(0, 1);
    let config = config::read(&stack, 1, false).expect("options");
    let names = HostNames::default();
    let mut reader = TaskReader::new(&names, &config, None);
    stack.push_value(config.tasks);
    reader.read(&stack).expect("tasks");
    reader.tasks
}

fn sizes(common: &Common) -> Vec<usize> {
    common.values().map(|(_, message)| message.len()).collect()
}

/// A table and a text of two thousand bytes and more, and their tasks.
const VALUES: &str = "local tasks, table, text = {}, {}, ('x'):rep(2000) for i = 1, 300 do table[i] = i end
    local short = ('y'):rep(500) local function run() end ";

#[test]
fn an_argument_of_many_tasks_is_encoded_once() {
    let code = "for i = 1, 100 do tasks[i] = { func = run, args = { i, table, text, short } } end
        return { tasks = tasks, workers = 2 }";
    let tasks = read(&format!("{VALUES}{code}"));
    assert!(matches!(sizes(&tasks.common)[..], [2700..=3000, 2000..=2100]), "{:?}", sizes(&tasks.common));
    assert!((50_000..60_000).contains(&tasks.arguments.len()), "{} bytes", tasks.arguments.len());
}

#[test]
fn the_callable_table_of_many_tasks_is_encoded_once() {
    let code = "setmetatable(table, { __call = function() end })
        for i = 1, 100 do tasks[i] = { func = table, args = { i } } end return { tasks = tasks, workers = 2 }";
    let tasks = read(&format!("{VALUES}{code}"));
    assert_eq!(tasks.common.values().count(), 1);
    assert!(tasks.arguments.len() < 3000, "{} bytes", tasks.arguments.len());
}

#[test]
fn an_argument_of_one_task_or_inside_of_arguments_is_not_looked_for() {
    for arguments in ["{ i, {}, 'text' }", "{ i, { table } }", "{ short, i }"] {
        let code = format!("for i = 1, 100 do tasks[i] = {{ func = run, args = {arguments} }} end");
        let tasks = read(&format!("{VALUES}{code} return {{ tasks = tasks, workers = 2 }}"));
        assert!(tasks.common.is_empty(), "{arguments}: {:?}", sizes(&tasks.common));
    }
}

#[test]
fn an_argument_that_cannot_cross_is_not_common() {
    let code = "table[7] = io.stdout
        for i = 1, 10 do tasks[i] = { func = run, args = { i, table, text } } end return { tasks = tasks }";
    let tasks = read(&format!("{VALUES}{code}"));
    assert!(matches!(sizes(&tasks.common)[..], [2000..=2100]), "{:?}", sizes(&tasks.common));
    assert!((0..10).all(|index| tasks.get(index).is_err()));
}

/// The task whose arguments leave in blocks, if one of these has.
fn streamed(tasks: &str) -> Option<usize> {
    let state = OwnState::new(usize::MAX).expect("a state");
    let stack = state.unprotected();
    stack.open_libraries();
    stack.set_top(0);
    let code = format!(
        "local long = {{}} for i = 1, 40000 do long[i] = {{ i }} end local again = {{ long, long[7] }}
        local bad = {{ long, io.stdout }} local function run() end return {{ tasks = {tasks}, workers = 3 }}"
    );
    stack.load(code.as_bytes(), c"=code").expect("it is Lua");
    stack.call(0, 1);
    while has_early_workers() {
        std::thread::yield_now();
    }
    state.stack().with_pins(|stack, pins| {
        let config = config::read(stack, 1, false).expect("options");
        let names = HostNames::default();
        let mut reader = TaskReader::new(&names, &config, Some(pins));
        stack.push_value(config.tasks);
        let read = reader.read(stack);
        assert_eq!(reader.early_worker.is_some(), read.is_ok() && reader.tasks.streamed.is_some());
        reader.tasks.streamed.map(|streamed| {
            assert!(streamed.blocks.len() > 1);
            streamed.task
        })
    })
}

#[test]
fn the_first_long_arguments_leave_in_blocks() {
    if usable_cores() == 1 {
        return;
    }
    let long = "{ func = run, args = { 1, long } }";
    let own = "{ func = run, args = { { long } } }";
    let short = "{ func = run, args = { 1, {} } }";
    assert_eq!(streamed(&format!("{{ {long}, {short} }}")), Some(0));
    assert_eq!(streamed(&format!("{{ {short}, {short}, {own}, {own} }}")), Some(2));
    assert_eq!(streamed(&format!("{{ {short}, {short} }}")), None);
    // Three tasks begin at once.
    assert_eq!(streamed(&format!("{{ {short}, {short}, {short}, {own} }}")), None);
    assert_eq!(streamed("{ { func = run, args = { again } } }"), None, "the message is whole");
    assert_eq!(streamed("{ { func = run, args = bad } }"), None, "the arguments can't cross");
}
