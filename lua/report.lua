--- Shows a line of text to the user: in the engine's System Monitor or, without an engine, on standard error.

local _, modules = ...

return function(text)
  local echo = modules.engine.find("echo")
  if echo then
    echo(text)
  elseif io then
    io.stderr:write(text, "\n")
  else
    print(text)
  end
end
