--- Runs busted over the specs named on the command line.
-- It differs from the plain command in two ways. busted gives each spec an environment of its own as `_ENV`; a plugin has
-- the real globals, and tasks are refused anything else, so here busted's own functions become globals. And with
-- GMA2WORKERS_CONSOLE set, the whole run is a plugin's coroutine in the engine stand-in, so that every spec runs twice: in
-- a stock interpreter, and on "the console".

local environment_of = require "busted.environment"

package.loaded["busted.environment"] = function(context)
  local environment = environment_of(context)
  return {
    wrap = function(func) return func end,
    set = function(name, value)
      environment.set(name, value)
      _G[name] = value
    end,
  }
end

local function run()
  require("busted.runner")({ standalone = false })
end

if os.getenv("GMA2WORKERS_CONSOLE") then
  local engine = require("console").new()
  engine:install()
  engine:run(run)
else
  run()
end
