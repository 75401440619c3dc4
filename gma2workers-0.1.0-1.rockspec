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
    A native module for Lua 5.3 and Lua 5.4. It dumps each task's function, runs it in a Lua state of its own on a pool
    of real threads, carries gma.* calls back to the engine's thread and merges the results.
    Building it needs a Rust toolchain (cargo).
  ]],
  homepage = "https://github.com/gma2workers/gma2workers",
  license = "MIT",
  labels = { "parallel", "threads" },
}
-- macOS is untested.
supported_platforms = { "linux", "macosx" }
dependencies = { "lua >= 5.3, < 5.5" }
build = {
  type = "command",
  -- The feature is that of the Lua which LuaRocks builds for: lua53 or lua54. Cargo's own name for the binary has a "lib" before
  -- it, and another ending on macOS. CARGO_TARGET_DIR may keep what was built for the next time.
  build_command = [[feature=$("$(LUA)" -e 'io.write("lua", (_VERSION:gsub("%D", "")))') \
    && cargo build --release --locked --lib --no-default-features --features "module $feature" \
      --target-dir "${CARGO_TARGET_DIR:-target}" \
    && mkdir -p target/rock \
    && built="${CARGO_TARGET_DIR:-target}/release/libgma2workers" \
    && if [ -e "$built.dylib" ]; then ending=dylib; else ending=so; fi \
    && cp "$built.$ending" target/rock/gma2workers.so]],
  install = {
    lib = { gma2workers = "target/rock/gma2workers.so" },
    lua = {
      ["gma2_workers"] = "lua/alias.lua",
      ["gma2-workers.alias"] = "lua/alias.lua",
      ["gma2-workers.annotations"] = "lua/annotations.lua",
      ["gma2-workers.annotations_gma"] = "lua/annotations_gma.lua",
      ["gma2-workers.arguments"] = "lua/arguments.lua",
      ["gma2-workers.async"] = "lua/async.lua",
      ["gma2-workers.calls"] = "lua/calls.lua",
      ["gma2-workers.cooperative.clock"] = "lua/cooperative/clock.lua",
      ["gma2-workers.cooperative.globals"] = "lua/cooperative/globals.lua",
      ["gma2-workers.cooperative.exit"] = "lua/cooperative/exit.lua",
      ["gma2-workers.cooperative.host"] = "lua/cooperative/host.lua",
      ["gma2-workers.cooperative.init"] = "lua/cooperative/init.lua",
      ["gma2-workers.cooperative.modules"] = "lua/cooperative/modules.lua",
      ["gma2-workers.cooperative.options"] = "lua/cooperative/options.lua",
      ["gma2-workers.cooperative.run"] = "lua/cooperative/run.lua",
      ["gma2-workers.cooperative.tasks"] = "lua/cooperative/tasks.lua",
      ["gma2-workers.cooperative.fields"] = "lua/cooperative/fields.lua",
      ["gma2-workers.cooperative.trace"] = "lua/cooperative/trace.lua",
      ["gma2-workers.cooperative.values"] = "lua/cooperative/values.lua",
      ["gma2-workers.cooperative.workers"] = "lua/cooperative/workers.lua",
      ["gma2-workers.drivers"] = "lua/drivers.lua",
      ["gma2-workers.engine"] = "lua/engine.lua",
      ["gma2-workers.failures"] = "lua/failures.lua",
      ["gma2-workers.gma2workers"] = "lua/gma2workers.lua",
      ["gma2-workers.hints"] = "lua/hints.lua",
      ["gma2-workers.init"] = "lua/init.lua",
      ["gma2-workers.items"] = "lua/items.lua",
      ["gma2-workers.job"] = "lua/job.lua",
      ["gma2-workers.map"] = "lua/map.lua",
      ["gma2-workers.map_results"] = "lua/map_results.lua",
      ["gma2-workers.mapper"] = "lua/mapper.lua",
      ["gma2-workers.module_data"] = "lua/module_data.lua",
      ["gma2-workers.pace"] = "lua/pace.lua",
      ["gma2-workers.plugins.duplicate_finder"] = "lua/plugins/duplicate_finder.lua",
      ["gma2-workers.plugins.export_reader"] = "lua/plugins/export_reader.lua",
      ["gma2-workers.plugins.fixture_json"] = "lua/plugins/fixture_json.lua",
      ["gma2-workers.plugins.plugin"] = "lua/plugins/plugin.lua",
      ["gma2-workers.plugins.pool_report"] = "lua/plugins/pool_report.lua",
      ["gma2-workers.plugins.probe"] = "lua/plugins/probe.lua",
      ["gma2-workers.plugins.template"] = "lua/plugins/template.lua",
      -- What is no Lua keeps its own name: of these names, only the folder counts.
      ["gma2-workers.plugins.duplicate_finder_xml"] = "lua/plugins/duplicate_finder.xml",
      ["gma2-workers.plugins.export_reader_xml"] = "lua/plugins/export_reader.xml",
      ["gma2-workers.plugins.fixture_json_xml"] = "lua/plugins/fixture_json.xml",
      ["gma2-workers.plugins.pool_report_xml"] = "lua/plugins/pool_report.xml",
      ["gma2-workers.engines_md"] = "lua/ENGINES.md",
      ["gma2-workers.from_the_original_md"] = "lua/FROM_THE_ORIGINAL.md",
      ["gma2-workers.guide_md"] = "lua/GUIDE.md",
      ["gma2-workers.messages_md"] = "lua/MESSAGES.md",
      ["gma2-workers.readme_md"] = "lua/README.md",
      ["gma2-workers.reference_md"] = "lua/REFERENCE.md",
      ["gma2-workers.without_a_console_md"] = "lua/WITHOUT_A_CONSOLE.md",
      ["gma2-workers.pictures.duplicate_finder_svg"] = "lua/pictures/duplicate_finder.svg",
      ["gma2-workers.pictures.export_reader_svg"] = "lua/pictures/export_reader.svg",
      ["gma2-workers.pictures.fixture_json_svg"] = "lua/pictures/fixture_json.svg",
      ["gma2-workers.pictures.pool_report_svg"] = "lua/pictures/pool_report.svg",
      ["gma2-workers.pictures.timeline_dark_svg"] = "lua/pictures/timeline-dark.svg",
      ["gma2-workers.pictures.timeline_svg"] = "lua/pictures/timeline.svg",
      ["gma2-workers.plugins.readme_md"] = "lua/plugins/README.md",
      ["gma2-workers.plugins.probe_xml"] = "lua/plugins/probe.xml",
      ["gma2-workers.plugins.template_xml"] = "lua/plugins/template.xml",
      ["gma2-workers.progress"] = "lua/progress.lua",
      ["gma2-workers.pump"] = "lua/pump.lua",
      ["gma2-workers.report"] = "lua/report.lua",
      ["gma2-workers.results"] = "lua/results.lua",
    },
  },
}
test = {
  type = "command",
  command = "scripts/build release && scripts/spec release stock",
}
