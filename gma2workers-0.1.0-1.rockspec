rockspec_format = "3.0"
package = "gma2workers"
version = "0.1.0-1"
source = {
  url = "git+https://github.com/gma2workers/gma2workers.git",
  tag = "v0.1.0",
}
description = {
  summary = "Real parallelism for grandMA2 plugins: tasks in isolated Lua states on a thread pool",
  detailed = [[
    A native Lua 5.3 module. It dumps each task's function, runs it in a Lua state of its own on a pool
    of real threads, carries gma.* calls back to the engine's thread and merges the results.
    Building it needs a Rust toolchain (cargo).
  ]],
  license = "MIT",
}
dependencies = { "lua >= 5.3, < 5.4" }
build = {
  type = "command",
  build_command = "cargo build --release --locked --lib && cp target/release/libgma2workers.so target/release/gma2workers.so",
  install = {
    lib = { gma2workers = "target/release/gma2workers.so" },
    lua = {
      ["gma2-workers.arguments"] = "lua/arguments.lua",
      ["gma2-workers.async"] = "lua/async.lua",
      ["gma2-workers.cooperative"] = "lua/cooperative.lua",
      ["gma2-workers.cooperative_clock"] = "lua/cooperative_clock.lua",
      ["gma2-workers.cooperative_options"] = "lua/cooperative_options.lua",
      ["gma2-workers.cooperative_run"] = "lua/cooperative_run.lua",
      ["gma2-workers.cooperative_tasks"] = "lua/cooperative_tasks.lua",
      ["gma2-workers.cooperative_values"] = "lua/cooperative_values.lua",
      ["gma2-workers.drivers"] = "lua/drivers.lua",
      ["gma2-workers.gma2workers"] = "lua/gma2workers.lua",
      ["gma2-workers.hints"] = "lua/hints.lua",
      ["gma2-workers.init"] = "lua/init.lua",
      ["gma2-workers.job"] = "lua/job.lua",
      ["gma2-workers.pump"] = "lua/pump.lua",
    },
  },
}
