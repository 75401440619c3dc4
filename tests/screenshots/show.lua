-- The show of the screenshots: a rig of 24 spots, and a pool of 2,500 macros as after a long tour.

local fixtures = { name = "Fixture", class = "CMD_FIXTURE" }
for i = 1, 24 do
  fixtures[i] = { label = "Spot " .. i, properties = { { "Name", "Spot " .. i }, { "Patch", "1." .. (i - 1) * 20 + 1 } } }
end

local macros = { name = "Macro", class = "CMD_MACRO" }
for i = 1, 2500 do
  macros[i] = ("Look %d %s"):format(i, ({ "warm", "cold", "open", "dark" })[i % 4 + 1])
end
macros[12], macros[91], macros[700], macros[701], macros[2400] = "Go", nil, "GO", false, "Go#2"
macros[90], macros[1500] = "Blinder front", "Blinder front"

return {
  { name = "Group", class = "CMD_GROUP", "All Spots", "All Washes", false, "Front", [10] = "Back" },
  macros,
  fixtures,
  { name = "Sequence", class = "CMD_SEQUENCE" },
}
