std = "lua53"
cache = false
max_line_length = 140
exclude_files = { "target" }

-- What the engine gives every plugin.
read_globals = { "gma" }

files["tests/spec"] = { std = "+busted", globals = { "gma" } }
files["tests/console"] = { globals = { "gma" } }
files["tests/bench"] = { globals = { "gma" } }
