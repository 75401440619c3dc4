#!/bin/sh
# The part of scripts/test-windows that runs on a system with Wine: run.sh WORD
set -eu
word=$1
programs=target/windows/$word
export WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml= WINEPREFIX="$PWD/target/windows/prefix-$word"
export HOME="${HOME:-/root}" PATH="$PATH:/usr/lib/wine"

cases=$programs/cases
rm -rf "$cases"
mkdir -p "$cases"
trap 'wineserver -k || true' EXIT
[ -e "$WINEPREFIX/system.reg" ] || wine wineboot --init >/dev/null 2>&1

passed=0
failed=0
# expect NAME PROGRAM CODE TEXT: runs the script on standard input; its output must match the pattern TEXT.
expect() {
  script=$cases/case.lua
  printf 'package.path = [[%s/?/init.lua]]\n' target/windows/plugins >"$script"
  cat >>"$script"
  code=0
  timeout 60 wine "$programs/$2.exe" "$script" >"$cases/output" 2>&1 || code=$?
  output=$(tr -d '\r' <"$cases/output" | tr '\n' ' ')
  if [ "$code" -eq "$3" ] && printf '%s\n' "$output" | grep -Eq -e "$4"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'failed: %s: expected code %s and "%s", got code %s and:\n' "$1" "$3" "$4" "$code"
    cat "$cases/output"
  fi
}

QUICK_START='
  local function add(a, b) return a + b end
  local response = gma2workers.RunSync { tasks = { { func = add, args = { 1, 2 } } } }
  print(response.result[1].data, gma2workers.info.backend)
'
for host in lua named exporting lua5.4/lua; do
  expect "the bare binary in $host.exe" $host 0 '^3	native $' <<EOF
    local gma2workers = require "gma2workers"
    $QUICK_START
EOF
  expect "the folder in $host.exe" $host 0 '^3	native $' <<EOF
    package.cpath = ""
    local gma2workers = require "gma2-workers"
    $QUICK_START
EOF
done
# Windows refuses it, since it looks for functions that the host's Lua lacks.
for pair in "lua lua5.4/" "lua5.4/lua /"; do
  other=${pair#* }
  expect "the bare binary for the other Lua in ${pair% *}.exe" "${pair% *}" 1 "error loading module 'gma2workers'" <<EOF
    package.cpath = "$programs/${other#/}?.dll"
    require "gma2workers"
EOF
done
expect "the bare binary where no Lua is shown" hidden 1 "error loading module 'gma2workers'" <<EOF
  require "gma2workers"
EOF
expect "the folder where no Lua is shown" hidden 0 '(the program may hide its Lua from binaries.*3	cooperative|3	cooperative.*the program may hide its Lua from binaries)' <<EOF
  package.cpath = ""
  local gma2workers = require "gma2-workers"
  $QUICK_START
EOF

# Errors of every kind leave the library's code: by a jump that unwinds, and by an exception.
for host in lua thrown lua5.4/lua; do
  expect "the smoke test in $host.exe" $host 0 ' [0-9]+ steps $' <<'EOF'
    function open_binary() return require "gma2workers" end
    dofile("tests/vendor/smoke.lua")
EOF
done
expect "the bare binary where Lua was compiled as C++" cxx 1 '^gma2workers needs a Lua that raises errors by longjmp, .* throws exceptions stack traceback:' <<EOF
  require "gma2workers"
EOF
expect "the folder where Lua was compiled as C++" cxx 0 '(needs a Lua that raises errors by longjmp.*3	cooperative|3	cooperative.*needs a Lua that raises errors by longjmp)' <<EOF
  package.cpath = ""
  local gma2workers = require "gma2-workers"
  $QUICK_START
EOF

SPINNING='
  local gma2workers = require "gma2workers"
  local begun = 0
  gma = { begun = function() begun = begun + 1 end }
  local function spin() gma.begun() while true do end end
  local tasks = { { func = spin }, { func = spin }, { func = spin } }
  gma2workers.RunAsync { tasks = tasks, workers = 3, onComplete = print }
  repeat gma2workers.Poll() until begun == 3
'
for host in lua lua5.4/lua; do
  expect "a script that ends while tasks run in $host.exe" $host 0 '^$' <<EOF
    $SPINNING
EOF
  expect "os.exit while tasks run in $host.exe" $host 5 '^$' <<EOF
    $SPINNING
    os.exit(5)
EOF
done
expect "os.exit that closes the state while tasks run" lua 6 '^$' <<EOF
  $SPINNING
  os.exit(6, true)
EOF
expect "an error while tasks run" lua 1 'case.lua:[0-9]+: over stack traceback' <<EOF
  $SPINNING
  error("over")
EOF
expect "a script that ends while a task is where nothing stops it" lua 0 '^$' <<'EOF'
  local gma2workers = require "gma2workers"
  local begun = 0
  gma = { begun = function() begun = begun + 1 end }
  local function find() gma.begun() return ("a"):rep(400):find((".-"):rep(20) .. "b") end
  gma2workers.RunAsync { tasks = { { func = find } }, onComplete = print }
  repeat gma2workers.Poll() until begun == 1
EOF
expect "os.exit in a task" lua 0 '^Error: .*case.lua:[0-9]+: .*os.exit' <<'EOF'
  local gma2workers = require "gma2workers"
  print(gma2workers.RunSync { tasks = { { func = function() os.exit(1) end } } }.result[1].data)
EOF
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]

# The specs.
export LUA_CPATH="Z:$PWD/$programs/?.dll"
shared="Z:/usr/share/lua"
own="tests/?.lua;tests/?/init.lua;tests/examples/?.lua"
busted="$shared/5.3/?.lua;$shared/5.3/?/init.lua;$shared/5.1/?.lua;$shared/5.1/?/init.lua"
# specs PROGRAM FILE...
specs() {
  program=$1
  shift
  timeout 600 wine "$programs/$program.exe" tests/windows/run.lua --output=plainTerminal --exclude-tags=cooperative,long,posix "$@"
}
export LUA_PATH="$own;$busted"
specs lua tests/spec/*_spec.lua
# For Lua 5.4, those of what differs on Windows: how tasks are stopped, and what a state and its memory are. The others run for
# Lua 5.4 on Linux.
if [ "$word" = x86_64 ]; then
  export LUA_CPATH="Z:$PWD/$programs/lua5.4/?.dll"
  set --
  for topic in lua54 cancelling stopping stop_on_error grace isolation state memory values collector hostcalls running errors modules; do
    set -- "$@" "tests/spec/${topic}_spec.lua"
  done
  specs lua5.4/lua "$@"
fi
