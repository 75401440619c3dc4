//! Tests of `writes`.

use super::dump::{self, dump_of};
use super::find_writes;
use super::samples::{check_purity, check_writes, has_stock_opcodes, written_names};
use super::version::test::{LAST, OPCODE, TOLD_APART, are_alike};
use super::writes::{Carried, Held, Written, find};
use crate::ffi::OwnState;

/// The names of the captured variables that a function writes to. The function has captured `found`, `rows`, `total`,
/// `labels`, `insert` (`table.insert`) and `lib` (`table`); `body` is its body.
fn judge(body: &str) -> String {
    let code =
        format!("local found, rows, total, labels, insert, lib return function(i, mine, ...) {body} end");
    let state = OwnState::new(usize::MAX).expect("a state");
    let dump = dump_of(&state.stack(), &code).unwrap_or_else(|error| panic!("{error}: {body}"));
    written_names(&dump).expect("a judgement")
}

#[test]
fn writes_to_captured_variables_are_found() {
    for (expected, body) in [
        // Assignments.
        ("total", "total = total + i"),
        ("total", "total = 1 return total"),
        ("found total", "total, found[1] = 1"),
        ("found", "found = {}"),
        ("found", "found = nil"),
        ("total", "if i > 3 then total = i end"),
        ("total", "for n = 1, 3 do total = n end"),
        ("total", "local function count() total = total + 1 end count()"),
        ("total", "return function() return function() total = 1 end end"),
        // Fields.
        ("found", "found.x = 1"),
        ("found", "found[#found + 1] = labels[i]"),
        ("found", "found[labels[i]] = true"),
        ("found", "found.count = (found.count or 0) + 1"),
        ("rows", "rows[i].x = 1"),
        ("rows", "rows[i][1].x.y.z = 1"),
        ("rows", "local row = rows[i] row.x = 1"),
        ("rows", "local row = rows.first local cell = row[i] cell.x = 1"),
        ("found", "local t = found local u = t u.x = 1"),
        ("found", "do local t = found do local u = t u.x = 1 end end"),
        ("found rows", "local t if i then t = found else t = rows end t.x = 1"),
        ("found", "local t = found or {} t.x = 1"),
        ("found", "local t = mine or found t.x = 1"),
        ("found", "mine = mine or found mine.x = 1"),
        ("found", "(i and found or mine).x = 1"),
        ("rows", "local row = rows[i] or {} row.x = 1"),
        ("found", "local t while true do if t then t.x = 1 end t = found end"),
        ("found", "local t repeat if t then t.x = 1 end t = found until i"),
        ("found", "local t ::top:: if t then t.x = 1 return end t = found goto top"),
        ("rows", "local row = rows while row do row.seen = true row = row.next end"),
        // Loops over a table.
        ("rows", "for _, row in ipairs(rows) do row.x = 1 end"),
        ("rows", "for _, row in pairs(rows) do row.x = 1 end"),
        ("rows", "for _, row in next, rows do row.x = 1 end"),
        ("rows", "for row in pairs(rows) do row.x = 1 end"),
        ("rows", "for _, row in ipairs(rows[i].cells) do row[1] = 1 end"),
        ("rows", "for n = 1, #rows do rows[n].x = n end"),
        ("rows", "for _, row in ipairs(rows) do for _, cell in ipairs(row) do cell.x = 1 end end"),
        ("found", "for n, label in ipairs(labels) do found[n] = label end"),
        ("rows", "local _, row = next(rows) row.x = 1"),
        // Functions of the library.
        ("found", "table.insert(found, labels[i])"),
        ("found", "table.insert(found, 1, labels[i])"),
        ("found", "return table.insert(found, labels[i])"),
        ("found", "table.insert(found, labels[i]:rep(2))"),
        ("found", "table.insert(found, (...))"),
        ("found", "table.insert(found, ...)"),
        ("found", "table.remove(found)"),
        ("found", "table.sort(found)"),
        ("found", "table.sort(found, function(a, b) return a > b end)"),
        ("found", "table.move(labels, 1, 3, 1, found)"),
        ("labels", "table.move(labels, 1, 3, 2)"),
        ("found", "rawset(found, i, 1)"),
        ("found", "setmetatable(found, {})"),
        ("found", "setmetatable(found, {}).x = 1"),
        ("rows", "table.insert(rows[i], 1)"),
        ("rows", "table.insert(rows[i].cells, 1)"),
        ("found", "insert(found, 1)"),
        ("found", "lib.insert(found, 1)"),
        ("found", "local add = table.insert add(found, 1)"),
        ("found", "local t = table t.insert(found, 1)"),
        ("found", "local t = lib local add = t.insert add(found, 1)"),
        ("found", "local add = i and table.insert or print add(found, 1)"),
        ("found", "_G.table.insert(found, 1)"),
        ("found", "_ENV.table.insert(found, 1)"),
        ("found", "local name = 'x' _G.rawset(found, name, 1)"),
        ("found", "pcall(table.insert, found, 1)"),
        ("found", "pcall(pcall, table.insert, found, 1)"),
        ("found", "xpcall(insert, print, found, 1)"),
        ("found", "local ok, t = pcall(rawset, found, 1, 2) t.x = 1"),
        ("rows", "table.unpack(rows).x = 1"),
        ("rows", "local a, b = table.unpack(rows) b.x = 1"),
        ("rows", "table.remove(rows).x = 1"),
        ("rows", "rawget(rows, i).x = 1"),
        ("found", "assert(found, 'text').x = 1"),
        ("found", "local t = select(2, i, found) t.x = 1"),
        ("found", "table.insert(assert(found), 1)"),
        // Functions inside.
        ("found", "labels[i]:gsub('.', function(c) found[#found + 1] = c end)"),
        ("found", "local t = found local function add(x) t[#t + 1] = x end add(1)"),
        ("found", "local t = found return function() return function() t.x = 1 end end"),
        ("rows", "for _, row in ipairs(rows) do mine(function() row.x = 1 end) end"),
        ("found", "local function add(list, x) list[#list + 1] = x end add(found, i)"),
        ("found", "local function add(list, x) table.insert(list, x) end add(found, i)"),
        ("found", "local function one(t) t.x = 1 end local function two(t) one(t) end two(found)"),
        (
            "rows",
            "local function visit(node) node.seen = true for _, n in ipairs(node) do visit(n) end end visit(rows[1])",
        ),
        (
            "rows",
            "local function visit(node) if node.next then visit(node.next) else node.last = true end end visit(rows)",
        ),
        ("found", "pcall(function(t) t.x = 1 end, found)"),
        ("found", "pcall(function() insert(found, 1) end)"),
    ] {
        assert_eq!(judge(body), expected, "{body}");
    }
}

#[test]
fn reading_a_captured_variable_is_not_a_write() {
    for body in [
        "return total + i, labels[i], #rows, rows[i].x, found == rows",
        "local t = {} for n, label in ipairs(labels) do t[n] = label end t.x = 1 return t",
        "local t = {} t.labels = labels t.x = total return t",
        "local t = { labels, found = found, rows } t.x = 1 t[1] = 2",
        "mine.x = labels mine[labels[i]] = rows",
        "local t = found t = {} t.x = 1",
        "local t = found t = nil t = mine t.x = 1",
        "do local t = found i = t.x end do local t = {} t.x = 1 end",
        "local a = rows[i] local b = {} b.x = a local c = b c.y = 1",
        "i = found mine.x = i",
        "i, mine = mine, found i.x = 1",
        "if labels[i] then mine = {} else mine = { x = labels } end mine.x = 1",
        "while mine do mine.x = found mine = mine.next end",
        "table.insert(mine, labels[i])",
        "table.insert(mine, labels) table.insert(mine, 1, rows)",
        "table.concat(labels) table.unpack(labels) table.pack(rows).x = 1",
        "table.move(labels, 1, 3, 1, {})",
        "table.move(labels, 1, 3, 1, mine)",
        "table.move(labels, ...)",
        "local copy = table.move(labels, 1, #labels, 1, {}) copy[1] = 2 table.sort(copy)",
        "local copy = { table.unpack(labels) } table.sort(copy)",
        "table.sort(mine, function(a, b) return labels[a] < labels[b] end)",
        "rawset(mine, 1, found) rawequal(found, rows) rawlen(found) next(found) type(found)",
        "setmetatable({}, found).x = 1",
        "setmetatable({}, { __index = found }).x = 1",
        "insert(mine, found) lib.insert(mine, found)",
        "local add = table.concat add(found, ',')",
        "string.insert(found, 1) mine.insert(found, 1) insert.x(found)",
        "local table = mine table.insert(found, 1)",
        "mine(found) mine:insert(found) print(found)",
        "found:insert(1)",
        "found.__index = found return setmetatable({}, found)",
        "labels[i]:gsub('.', function(c) mine[#mine + 1] = c end)",
        "local function add(list, x) list[#list + 1] = x end add(mine, found) add({}, rows)",
        "local function read(t) t = { t } t.x = 1 end read(found)",
        "local function set() local total = 1 total = 2 return total end set()",
        "local total = total total = total + 1 return total",
        "local found = { table.unpack(found) } found.x = 1",
        "for found = 1, 3 do mine[found] = total end",
        "for _, row in ipairs(mine) do row.x = found end",
        "for _, row in pairs(rows) do local copy = {} for k, v in pairs(row) do copy[k] = v end copy.x = 1 end",
        "for _, label in ipairs(labels) do label = {} label.x = 1 end",
        "x = found string.x = rows _G.y = labels _ENV.z = total",
        "return function(t) t.x = found return function() return rows end end",
        "local ok, t = pcall(mine, found) t.x = 1",
        "pcall(function(a, b) b.x = a end, found, mine)",
        "xpcall(insert, print, mine, found)",
        "assert(mine, found).x = 1 select(1, mine).x = found",
        "local t = mine and mine.x or {} t.x = found",
        "mine = mine == found mine.x = 1",
        "local t = ... t.x = found",
        "local t = #found t = -total t = not rows t = labels .. i t.x = 1",
    ] {
        assert_eq!(judge(body), "", "{body}");
    }
}

/// Judges functions that cross together. `held` has the captured variables by name.
fn judge_together(functions: &[&str], held: &[(&str, Held)]) -> Vec<Written> {
    let state = OwnState::new(usize::MAX).expect("a state");
    let dump = |code: &&str| dump_of(&state.stack(), code).unwrap_or_else(|error| panic!("{error}: {code}"));
    let dumps: Vec<_> = functions.iter().map(dump).collect();
    let carried = |dump| {
        let function = dump::read(dump).expect("a dump");
        let number = |upvalue: &dump::Upvalue| {
            let name = held.iter().position(|(name, _)| upvalue.name == Some(name.as_bytes()));
            name.expect("a known variable") as u32
        };
        let variables = function.upvalues.iter().map(number).collect();
        Carried { dump, variables }
    };
    let carried: Vec<_> = dumps.iter().map(|dump| carried(dump)).collect();
    let held: Vec<_> = held.iter().map(|(_, held)| held.clone()).collect();
    find_writes(&carried, &held)
}

const DATA: Held = Held::Other(Vec::new());
const UNTOUCHED: Written = Written { variable: false, table: false };
const ASSIGNED: Written = Written { variable: true, table: false };
const FILLED: Written = Written { variable: false, table: true };

#[test]
fn a_variable_is_written_to_if_any_function_that_has_captured_it_does() {
    let functions = ["local a, b return function() return a, b end", "local b return function() b = 1 end"];
    assert_eq!(judge_together(&functions, &[("a", DATA), ("b", DATA)]), [UNTOUCHED, ASSIGNED]);
}

#[test]
fn a_function_may_write_to_what_another_hands_it() {
    let add = "return function(list, x) list[#list + 1] = x end";
    let held = [("a", DATA), ("b", DATA), ("add", Held::Function(1)), ("_ENV", Held::Globals)];
    for (body, expected) in [
        ("add(a, b)", [FILLED, UNTOUCHED]),
        ("add(b.x, a)", [UNTOUCHED, FILLED]),
        ("add({}, a, b)", [UNTOUCHED; 2]),
        ("local f = add pcall(f, a, b)", [FILLED, UNTOUCHED]),
        ("return function() return add(b, a) end", [UNTOUCHED, FILLED]),
    ] {
        let task = format!("local add, a, b return function() {body} end");
        assert_eq!(judge_together(&[&task, add], &held)[..2], expected, "{body}");
    }
}

#[test]
fn a_method_may_write_to_its_object() {
    let add = "return function(self, x) self.n = self.n + x end";
    let read = "return function(self) return self.n end";
    let held = [("counter", Held::Other(vec![(&b"add"[..], 1), (&b"read"[..], 2)]))];
    for (body, expected) in [
        ("counter:add(1)", FILLED),
        ("counter.add(counter, 1)", FILLED),
        ("counter:read()", UNTOUCHED),
        ("counter.add({}, counter)", UNTOUCHED),
    ] {
        let task = format!("local counter return function() {body} end");
        assert_eq!(judge_together(&[&task, add, read], &held), [expected], "{body}");
    }
}

#[test]
fn functions_that_call_each_other_are_judged() {
    let held = [("a", DATA), ("f", Held::Function(0)), ("g", Held::Function(1))];
    let functions = [
        "local f, g, a return function(t) g(t, a) end",
        "local f, g return function(t, u) f(u) if t then t.x = 1 end end",
    ];
    assert_eq!(judge_together(&functions, &held)[0], FILLED);
}

#[test]
fn a_lua_with_other_opcodes_is_noticed() {
    assert!(has_stock_opcodes());
    for &one in TOLD_APART {
        for other in 0..=LAST {
            let change = &mut |dump: &mut [u8]| swap_opcodes(dump, one, other);
            let is_stock = check_purity(change).and_then(|is_right| Ok(is_right && check_writes(change)?));
            let is_stock = is_stock.expect("enough memory");
            assert_eq!(is_stock, are_alike(one, other), "{one} and {other} swapped");
        }
    }
}

/// Changes a dump to one of a Lua that has these two opcodes swapped.
fn swap_opcodes(dump: &mut [u8], one: u32, other: u32) {
    fn all<'a>(function: &'a dump::Function<'a>, code: &mut Vec<Vec<u32>>) {
        code.push(function.code.iter().map(|instruction| instruction.0).collect());
        function.functions.iter().for_each(|inner| all(inner, code));
    }
    let mut functions = Vec::new();
    all(&dump::read(dump).expect("a dump"), &mut functions);
    for code in functions {
        let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = dump.windows(bytes.len()).position(|window| window == bytes).expect("the code");
        for (n, word) in code.iter().enumerate() {
            let opcode = match word & OPCODE {
                opcode if opcode == one => other,
                opcode if opcode == other => one,
                opcode => opcode,
            };
            dump[at + 4 * n] = (*word & !OPCODE | opcode) as u8;
        }
    }
}

#[test]
fn any_bytes_are_judged_or_refused_and_never_panic() {
    let code = "local a, b, insert return function(x, ...) for _, t in ipairs(a) do t.x = insert(b, ...) end \
        return function() local c = x or b pcall(insert, c, a) return c:f() end end";
    let state = OwnState::new(usize::MAX).expect("a state");
    let whole = dump_of(&state.stack(), code).expect("a dump");
    let held =
        [Held::Globals, Held::Other(Vec::new()), Held::Other(Vec::new()), Held::Library("table.insert")];
    let judge = |dump: &[u8]| find(&[Carried { dump, variables: vec![0, 1, 2, 3] }], &held);
    assert!(judge(&whole).is_some());
    for at in 0..whole.len() {
        drop(judge(&whole[..at]));
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            drop(judge(&changed));
        }
    }
}
