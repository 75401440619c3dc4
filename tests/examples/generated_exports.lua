-- Export files as grandMA2 writes them, for any number of fixtures. The same number gives the same bytes.
--
--   preset(n), patch(n), layout(n)   the text of one file
--   write(folder, n)                 all three as files; returns the list of their names
--
-- A preset of 3,750 fixtures has 20 MB:
--   lua5.3 -e 'require("generated_exports").write("/tmp", 3750)'
--
-- Every fixture is a head with 40 attributes and a ring, its second subfixture, with 5 more: 45 preset values,
-- 2 addresses (14 and 3 channels apart, the last tenth of the fixtures not patched), 2 positions in the layout.

local HEAD_ATTRIBUTES = {
  "DIM", "FOCUSDISTANCE", "COLORRGB1", "COLORRGB2", "COLORRGB3", "CTO", "COLOR1", "SHUTTER", "IRIS", "ANIMATIONWHEEL",
  "ANIMATIONINDEXROTATE", "GOBO1", "GOBO1_POS", "GOBO2", "GOBO2_POS", "EFFECTWHEEL", "EFFECTINDEXROTATE", "FROST",
  "BLADE1A", "BLADE1B", "BLADE2A", "BLADE2B", "BLADE3A", "BLADE3B", "BLADE4A", "BLADE4B", "SHAPER ROT", "FOCUS",
  "ZOOM", "FOCUSADJUST", "PAN", "TILT", "DIMMERCURVE", "FIXTUREGLOBALRESET", "PWMFREQUENCY", "POSITIONMSPEED",
  "COLORMIXMSPEED", "ZOOMMSPEED", "EFFECTWHEEL2", "GOBO1WHEELSELECTMSPEED",
}
local RING_ATTRIBUTES = { "DIM", "COLORRGB1", "COLORRGB2", "COLORRGB3", "SHUTTER" }

local function document(lines)
  table.insert(lines, 1, "\xEF\xBB\xBF" .. [[
<?xml version="1.0" encoding="utf-8"?>
<?xml-stylesheet type="text/xsl" href="styles/export@html@default.xsl"?>
<MA xmlns="http://schemas.malighting.de/grandma2/xml/MA" major_vers="3" minor_vers="9" stream_vers="60">
	<Info datetime="2022-06-10T16:24:55" showfile="generated" />]])
  lines[#lines + 1] = "</MA>"
  return table.concat(lines, "\n")
end

-- A level between -10 and 110 that depends on fixture and attribute; every fourth is whole.
local function level(fixture, attribute)
  local thousandths = (fixture * 7919 + attribute * 104729) % 120001 - 10000
  return attribute % 4 == 0 and ("%d"):format(thousandths // 1000) or ("%.8g"):format(thousandths / 1000)
end

local function preset(n)
  local lines = { '\t<Preset index="0" name="All &amp; nothing" SpecialUse="Normal">' }
  local function value(text, channel, ...)
    lines[#lines + 1] = ('\t\t\t\t<PresetValue Value="%s">'):format(text)
    lines[#lines + 1] = ('\t\t\t\t\t<Channel ' .. channel .. ' />'):format(...)
    lines[#lines + 1] = '\t\t\t\t</PresetValue>'
  end

  lines[#lines + 1] = "\t\t<Values>\n\t\t\t<Channels>"
  for fixture = 1, n do
    for i, attribute in ipairs(HEAD_ATTRIBUTES) do
      value(level(fixture, i), 'fixture_id="%d" attribute_name="%s"', fixture, attribute)
    end
    for i, attribute in ipairs(RING_ATTRIBUTES) do
      value(level(fixture, 100 + i), 'fixture_id="%d" subfixture_id="2" attribute_name="%s"', fixture, attribute)
    end
  end
  lines[#lines + 1] = "\t\t\t</Channels>\n\t\t</Values>\n\t\t<Fades>\n\t\t\t<Channels>"
  for fixture = 1, n do
    value("2.5", 'fixture_id="%d" attribute_name="PAN"', fixture)
  end
  lines[#lines + 1] = "\t\t\t</Channels>\n\t\t</Fades>\n\t</Preset>"
  return document(lines)
end

local function patch(n)
  local lines = { '\t<Layer index="1" name="Spots &lt;front&gt;">' }
  for fixture = 1, n do
    lines[#lines + 1] = ([[
		<Fixture index="%d" name="Spot &quot;%d&quot;" fixture_id="%d">
			<FixtureType name="2 Spot &amp; ring">
				<No>2</No>
			</FixtureType>]]):format(fixture - 1, fixture, fixture)
    local patched = fixture <= n - n // 10
    for index, channels in ipairs { 40, 5 } do
      local address = patched and (fixture - 1) * 17 + (index == 1 and 1 or 15) or 0
      lines[#lines + 1] = ([[
			<SubFixture index="%d" react_to_grandmaster="true" color="ffffff">
				<Patch>
					<Address>%d</Address>
				</Patch>]]):format(index - 1, address)
      for channel = 0, channels - 1 do
        lines[#lines + 1] = ('\t\t\t\t<Channel index="%d" />'):format(channel)
      end
      lines[#lines + 1] = "\t\t\t</SubFixture>"
    end
    lines[#lines + 1] = "\t\t</Fixture>"
  end
  lines[#lines + 1] = "\t</Layer>"
  return document(lines)
end

-- Heads in rows of 20 with their rings below; then a macro, a rectangle and a text.
local function layout(n)
  local lines = { '\t<Group index="1" name="Stage">\n\t\t<LayoutData index="0">\n\t\t\t<SubFixtures>' }
  for fixture = 1, n do
    for sub = 1, 2 do
      lines[#lines + 1] = ([[
				<LayoutSubFix center_x="%d" center_y="%.8g" size_h="1" size_w="1" icon="None">
					<image />
					<Subfixture fix_id="%d" sub_index="%d" />
				</LayoutSubFix>]]):format((fixture - 1) % 20, (fixture - 1) // 20 * 3 + (sub - 1) * 1.25, fixture, sub)
    end
  end
  lines[#lines + 1] = [[
			</SubFixtures>
			<CObjects>
				<LayoutCObject center_x="-2.5" center_y="1" size_h="1" size_w="2" icon="None">
					<image name="">
						<No>8</No>
						<No>3</No>
					</image>
					<CObject name="All &amp; on">
						<No>13</No>
						<No>1</No>
						<No>5</No>
					</CObject>
				</LayoutCObject>
			</CObjects>
			<Rectangles>
				<LayoutElement center_x="9.5" center_y="4" size_h="12" size_w="24" text="Stage"><image /></LayoutElement>
			</Rectangles>
			<Texts>
				<LayoutElement center_x="9.5" center_y="-3" size_h="1" size_w="6" text="&#8593; Up &#x2191;">
					<image />
				</LayoutElement>
			</Texts>
		</LayoutData>
	</Group>]]
  return document(lines)
end

local function write(folder, n)
  local names = {}
  for i, export in ipairs { { "patch.xml", patch }, { "layout.xml", layout }, { "preset_0.1.xml", preset } } do
    names[i] = export[1]
    local file = assert(io.open(folder .. "/" .. export[1], "wb"))
    file:write(export[2](n))
    file:close()
  end
  return names
end

return { preset = preset, patch = patch, layout = layout, write = write }
