---@meta

-- The console's own functions, `gma.*`, for editors that support LuaLS annotations. This file is never loaded, and refuses to
-- run. The sources are MA's manual and examples, and a dump of a console's table. Other statements are marked: "field" means seen
-- in public plugins, "inferred" means concluded from other facts, and "not known" means that no source shows it.
-- All of these functions run on the console's Lua thread; in a task, each is a host call.

if _VERSION then
  error("annotations_gma.lua is for editors: the engine gives every plugin its gma", 0)
end

---An object of the show: a large whole number, not meant for arithmetic.
---@alias gma.handle integer

---The table that the engine gives to every plugin.
---@class gma
gma = {}

---Lets the engine run, and returns after this time. The same as `coroutine.yield(seconds)`. In a task: sleeps on the worker, without delaying the console. The smallest useful time is not known; plugins use 0.01 to 0.05.
---@param seconds number
function gma.sleep(seconds) end

---Writes one line to the System Monitor. In a task: does not wait for the console.
---@param ... any Values of any types, joined.
function gma.echo(...) end

---Writes one line to the Command Line Feedback. In a task: does not wait for the console.
---@param value any
---@param colour? any MA's own tests pass one. Its form is not known.
function gma.feedback(value, colour) end

---The date on which the software was built.
---@return string date `"Aug 25 2015"`
function gma.build_date() end

---The time at which the software was built.
---@return string time `"18:18:44"`
function gma.build_time() end

---The commit from which the software was built.
---@return string hash
function gma.git_version() end

---@return string kind `"GMA2"`; `"GMA3"` on hardware of the next series.
function gma.gethardwaretype() end

---A clock with fractions of a second. Use only differences: sources disagree on its starting point.
---@return number seconds
function gma.gettime() end

---Runs a command line, which may hold several commands, separated by `;`. Most have finished when it returns, but some take effect later (field: storing effects, exporting files). `Plugin "name"` and `LUA "code"` run concurrently with the caller. The command line itself replaces `$name`. Whether `\"` works inside quotes is not known: use the other kind of quote.
---@param command string
---@return string? problem nil, or the text of the error.
function gma.cmd(command) end

---Calls a function repeatedly, concurrently with the caller. The first call comes at once, not after `seconds` (field); whether before or after `gma.timer` returns is not known. Only the end of its plugin stops it early. A task can't use it, because a function can't be passed to the host.
---@param func fun(time: number, count: number) Gets a time, and a count that begins at 1 (one of MA's tests allows for 0 as well). May sleep (field).
---@param seconds number The time between two calls.
---@param max_count number The number of calls; 0 for no limit (field).
---@param cleanup? fun() Called after the last call.
function gma.timer(func, seconds, max_count, cleanup) end

---Asks the user for a text, and waits for it.
---@param title string
---@param default? string The initial text of the field.
---@return string? text nil if the user cancelled (field).
function gma.textinput(title, default) end

---Writes a table to an XML file in the folder that the variable `TEMPPATH` names. `gma.import` reads it.
---@param filename string The name with its extension.
---@param value table
function gma.export(filename, value) end

---Writes a table of rows, which are tables, to a CSV file in the folder that the variable `TEMPPATH` names.
---@param filename string The name with its extension.
---@param value table
function gma.export_csv(filename, value) end

---Writes a table to a JSON file in the folder that the variable `TEMPPATH` names.
---@param filename string The name with its extension.
---@param value table
function gma.export_json(filename, value) end

---Reads a file that `gma.export` wrote. It reads no other files.
---@param filename string The name with its extension.
---@param folder? string A folder inside the folder gma2: `"plugins/my_plugin"`.
---@return table? value nil if the file can't be read (inferred).
function gma.import(filename, folder) end

---@class gma.gui
gma.gui = {}

---Asks the user to confirm, and waits for the answer. In version 3.1.2.5 it hangs (field).
---@param title string
---@param message string
---@return true? confirmed nil for Cancel.
function gma.gui.confirm(title, message) end

---Shows a message, without waiting. Since version 3.2.1. Its results are not known.
---@param title string
---@param message string
function gma.gui.msgbox(title, message) end

---@class gma.gui.progress
gma.gui.progress = {}

---Shows a progress bar. The user can't close it, so always stop it, also in Cleanup.
---@param name string
---@return integer handle A number, which is whole (inferred).
function gma.gui.progress.start(name) end

---Closes a progress bar.
---@param handle? integer MA's tests also pass nil if there is no bar.
function gma.gui.progress.stop(handle) end

---@param handle integer
---@param text string The text beside the bar's name.
function gma.gui.progress.settext(handle, text) end

---@param handle integer
---@param from number The value of an empty bar.
---@param to number The value of a full bar.
function gma.gui.progress.setrange(handle, from, to) end

---@param handle integer
---@param value number Outside the range, the bar is drawn wrong, with no other effect (field).
function gma.gui.progress.set(handle, value) end

---@class gma.show
gma.show = {}

---The output of a DMX address. Whether addresses are counted through all universes (`513`) or written with the universe (`2.001`) is not known: MA's example uses `1`, plugins use `1.1` (field). It needs free parameters.
---@param address number
---@return number? value
---@overload fun(recycle: table, address: number, amount: integer): table It fills and returns `recycle` (inferred from the name).
function gma.show.getdmx(address) end

---A variable of the show or of the engine: `PATH`, `PLUGINPATH`, `TEMPPATH`, `VERSION`, `OS`, `HOSTTYPE`, `HOSTSUBTYPE`, `USER`, `SHOWFILE`, `TIME`, `DATE`, `SELECTEDEXEC`, `SELECTEDFIXTURESCOUNT` and others (field).
---@param name string In any letter case (field).
---@return string? value Always a text.
function gma.show.getvar(name) end

---Sets a variable of the show. Its results are not known.
---@param name string
---@param value any
function gma.show.setvar(name, value) end

---@class gma.show.getobj
gma.show.getobj = {}

---Finds an object by its name on the command line: `"Group 1"`, `"Macro 1.5"`, `"Preset 4.1"`, `"FixtureType 3.2.1"`. It does not find `"UserProfile"` and `"User"` (field).
---@param name string
---@return gma.handle? handle nil if there is none.
function gma.show.getobj.handle(name) end

---@param handle gma.handle
---@return string class `"CMD_SEQUENCE"`, `"CMD_FIXTURE"` and others.
function gma.show.getobj.class(handle) end

---@param handle gma.handle
---@return integer index Its position among its parent's children, from 0.
function gma.show.getobj.index(handle) end

---The object's number, as a **text**: use `tonumber`.
---@param handle gma.handle
---@return string number
function gma.show.getobj.number(handle) end

---The object's label and number: `"Front 3"`.
---@param handle gma.handle
---@return string name
function gma.show.getobj.name(handle) end

---@param handle gma.handle
---@return string? label nil if it has none.
function gma.show.getobj.label(handle) end

---The number of its children. In a sequence, cue zero counts. For the pools under the root, this is not the number of used objects (field).
---@param handle gma.handle
---@return integer amount
function gma.show.getobj.amount(handle) end

---@param handle gma.handle
---@param index integer From 0. In a sequence, 0 is cue zero.
---@return gma.handle? child nil after the last.
function gma.show.getobj.child(handle, index) end

---@param handle gma.handle
---@return gma.handle? parent nil at the root (field), whose handle is 1.
function gma.show.getobj.parent(handle) end

---@param handle gma.handle
---@return boolean is_there Whether this is the handle of an object.
function gma.show.getobj.verify(handle) end

---@param first gma.handle
---@param second gma.handle
---@return boolean is_same Whether both are handles of the same object.
function gma.show.getobj.compare(first, second) end

-- Lists made by users have a `set`, but neither a console's table nor MA's own list has it: use gma.cmd("Assign ...").

---@class gma.show.property
gma.show.property = {}

---@param handle gma.handle
---@return integer amount The number of its properties.
function gma.show.property.amount(handle) end

---@param handle gma.handle
---@param index integer From 0.
---@return string? name nil after the last.
function gma.show.property.name(handle, index) end

---@param handle gma.handle
---@param key integer|string The index, from 0, or the name.
---@return string? value Always a text: `"None"`, `"Off"`, `"12.5"`.
function gma.show.property.get(handle, key) end

---@class gma.user
gma.user = {}

---A variable of the user.
---@param name string
---@return string? value Always a text.
function gma.user.getvar(name) end

---@param name string
---@param value any
function gma.user.setvar(name, value) end

---@return gma.handle destination The current destination of the command line.
function gma.user.getcmddest() end

---@return gma.handle? executor
function gma.user.getselectedexec() end

---@class gma.network
gma.network = {}

---@return string kind `"Console"`
function gma.network.gethosttype() end

---@return string kind `"onPC"`
function gma.network.gethostsubtype() end

---@return string address
function gma.network.getprimaryip() end

---@return string address
function gma.network.getsecondaryip() end

---@return string status `"Standalone"`, `"Master"` and others.
function gma.network.getstatus() end

---@return integer number 255 without a session (field).
function gma.network.getsessionnumber() end

---@return string name
function gma.network.getsessionname() end

---@return integer slot 255 without a session (field).
function gma.network.getslot() end

---The data of a host. It has `version`. The other keys are not known; plugins use a name, 32 or 64 bits, addresses and a type (field).
---@param address? string The host's address. Default: this host.
---@param recycle? table It is filled and returned (inferred from the name).
---@return table data
function gma.network.gethostdata(address, recycle) end

---The data of a slot of the session. MA's tests use `host_name` and `parameter_count`.
---@param slot integer
---@param recycle? table It is filled and returned (inferred from the name).
---@return table? data nil for an empty slot.
function gma.network.getmanetslot(slot, recycle) end

---A list of alternating names and values.
---@param slot integer
---@param recycle? table It is filled and returned (inferred from the name).
---@return table? performance
function gma.network.getperformance(slot, recycle) end

-- The functions below are rare, and little is known about them.

---@class gma.timestamp
gma.timestamp = {}

---@param number integer
---@return string name
function gma.timestamp.name(number) end

---@param number integer
---@return number? time
function gma.timestamp.time(number) end

---@return integer amount
function gma.timestamp.amount() end

---@class gma.draw
gma.draw = {}

---Exists in a console's table. Its parameters and results are not known.
---@param ... any
---@return any ...
function gma.draw.getperformance(...) end

---Presses keys and turns wheels.
---@class gma.canbus
gma.canbus = {}

---@class gma.canbus.data
---@field hardkeys table<string, integer> The codes of the keys, by name.
gma.canbus.data = {}

---@param code integer One of `gma.canbus.data.hardkeys`.
---@param pressed boolean
---@param hold boolean
---@return boolean done
function gma.canbus.hardkey(code, pressed, hold) end

---@param number integer
---@param steps? integer
---@param pressed? boolean
---@return boolean done
function gma.canbus.encoder(number, steps, pressed) end

---@param steps integer
---@return boolean done
function gma.canbus.wheel(steps) end

---@param x integer
---@param y integer
---@return boolean done
function gma.canbus.ball(x, y) end

---Exists in a console's table. Its parameters and results are not known.
---@param ... any
---@return any ...
function gma.canbus.fader(...) end
