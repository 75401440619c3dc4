--- Shows a line of text to the user: in the engine's System Monitor or, without an engine, on standard error.

return function(text)
  local engine = rawget(_G, "gma")
  if type(engine) == "table" and type(engine.echo) == "function" then
    engine.echo(text)
  elseif io then
    io.stderr:write(text, "\n")
  else
    print(text)
  end
end
