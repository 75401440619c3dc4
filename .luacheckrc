std = "lua53"
cache = false
max_line_length = 140
exclude_files = { "target" }

-- What the engine gives every plugin.
read_globals = { "gma" }

-- The library's own files have globals of their own, and no gma among them.
files["lua/*.lua"] = { not_globals = { "gma" } }
files["lua/cooperative"] = { not_globals = { "gma" } }

-- Declarations for editors: no bodies, and a field's text stands in one line.
files["lua/annotations.lua"] = { globals = { "host" }, unused_args = false, max_line_length = false, ignore = { "241" } }
files["lua/annotations_gma.lua"] = { globals = { "gma" }, unused_args = false, max_line_length = false }
files["tests/spec"] = { std = "+busted", globals = { "gma" } }
files["tests/console"] = { globals = { "gma" }, ignore = { "211/_ENV" } }
files["tests/vendor"] = { globals = { "gma", "leak" }, read_globals = { "open_binary" } }
files["tests/bench"] = { globals = { "gma" } }
