---@meta

-- The console's own functions, `gma.*`, for editors that know LuaLS annotations. Nothing loads this file, and as code it is
-- refused. Where MA's manual, its examples, or a dump of a console's table don't say something, the text says how it is
-- known: "field" is seen in public plugins, "inferred" follows from other things, "not known" is what nobody has shown.
-- All of these run on the console's Lua thread; in a task, each is a host call.

if _VERSION then
  error("annotations_gma.lua is for editors: the engine gives every plugin its gma", 0)
end

---An object of the show. Large whole numbers; nothing is to be computed with them.
---@alias gma.handle integer

---What the engine gives every plugin.
---@class gma
gma = {}

---Lets the engine go on, and comes back after that time. The same as `coroutine.yield(seconds)`. In a task: sleeps in the worker, and holds up nobody. The smallest time of use is not known; plugins use 0.01 to 0.05.
---@param seconds number
function gma.sleep(seconds) end

---Writes one line to the System Monitor. In a task: does not wait for the console.
---@param ... any Several values of any types, joined.
function gma.echo(...) end

---Writes one line to the Command Line Feedback. In a task: does not wait for the console.
---@param value any
---@param colour? any MA's own tests pass one. Its form is not known.
function gma.feedback(value, colour) end

---When the software was built.
---@return string date `"Aug 25 2015"`
function gma.build_date() end

---When the software was built.
---@return string time `"18:18:44"`
function gma.build_time() end

---Of what the software was built.
---@return string hash
function gma.git_version() end

---@return string kind `"GMA2"`; `"GMA3"` on hardware of the next series.
function gma.gethardwaretype() end

---A clock with a fraction, for differences alone: sources differ on when it began.
---@return number seconds
function gma.gettime() end

---Runs a command line; `;` stands between several. Most are done when it returns, but what some do comes later (field: effects stored, files exported). `Plugin "name"` and `LUA "code"` start beside the caller. `$name` is put in by the command line itself. That `\"` works inside of quotes is not known: use the other kind of quote.
---@param command string
---@return string? problem nil, or the error as a text.
function gma.cmd(command) end

---Calls a function again and again, beside the caller. The first call comes at once, not after `seconds` (field); whether inside of this call or after it is not known. It can't be stopped but by the end of its plugin. A task can't use it: a function can't be passed to the host.
---@param func fun(time: number, count: number) Gets a time, and a count that begins at 1 (one of MA's tests allows for 0 as well). May sleep (field).
---@param seconds number Between two calls.
---@param max_count number How many calls; 0 for no end (field).
---@param cleanup? fun() Called after the last call.
function gma.timer(func, seconds, max_count, cleanup) end

---Asks for a text, and waits for it.
---@param title string
---@param default? string What stands in the field at first.
---@return string? text nil where it was cancelled (field).
function gma.textinput(title, default) end

---Writes a table to a file of XML in the folder that the variable `TEMPPATH` names. `gma.import` reads it.
---@param filename string With its ending.
---@param value table
function gma.export(filename, value) end

---Writes a table of rows, each a table, to a file of CSV in the folder that the variable `TEMPPATH` names.
---@param filename string With its ending.
---@param value table
function gma.export_csv(filename, value) end

---Writes a table to a file of JSON in the folder that the variable `TEMPPATH` names.
---@param filename string With its ending.
---@param value table
function gma.export_json(filename, value) end

---Reads a file that `gma.export` wrote, and no other.
---@param filename string With its ending.
---@param folder? string Inside of the folder gma2: `"plugins/my_plugin"`.
---@return table? value That it is nil for a file that can't be read is inferred.
function gma.import(filename, folder) end

---@class gma.gui
gma.gui = {}

---Asks for a yes, and waits for it. In version 3.1.2.5 it hangs (field).
---@param title string
---@param message string
---@return true? confirmed nil for Cancel.
function gma.gui.confirm(title, message) end

---Shows a message, and does not wait. Since version 3.2.1. What it gives is not known.
---@param title string
---@param message string
function gma.gui.msgbox(title, message) end

---@class gma.gui.progress
gma.gui.progress = {}

---Shows a progress bar. Nobody can close it by hand: stop it whatever happens, also in Cleanup.
---@param name string
---@return integer handle A number. That it is whole is inferred.
function gma.gui.progress.start(name) end

---Closes a progress bar.
---@param handle? integer MA's tests pass nil as well, where there is no bar.
function gma.gui.progress.stop(handle) end

---@param handle integer
---@param text string What stands beside the bar's name.
function gma.gui.progress.settext(handle, text) end

---@param handle integer
---@param from number The value of an empty bar.
---@param to number The value of a full one.
function gma.gui.progress.setrange(handle, from, to) end

---@param handle integer
---@param value number Out of its range the bar is only drawn wrong (field).
function gma.gui.progress.set(handle, value) end

---@class gma.show
gma.show = {}

---The output of a DMX address. Whether that is counted through all universes (`513`) or written with its universe (`2.001`) is not known: MA's example has `1`, the field `1.1`. It needs free parameters.
---@param address number
---@return number? value
---@overload fun(recycle: table, address: number, amount: integer): table That it fills `recycle` and returns it is inferred from the name.
function gma.show.getdmx(address) end

---A variable of the show, or one of the engine's own: `PATH`, `PLUGINPATH`, `TEMPPATH`, `VERSION`, `OS`, `HOSTTYPE`, `HOSTSUBTYPE`, `USER`, `SHOWFILE`, `TIME`, `DATE`, `SELECTEDEXEC`, `SELECTEDFIXTURESCOUNT` and others (field).
---@param name string In any letter case (field).
---@return string? value Always a text.
function gma.show.getvar(name) end

---Sets a variable of the show. What it gives is not known.
---@param name string
---@param value any
function gma.show.setvar(name, value) end

---@class gma.show.getobj
gma.show.getobj = {}

---Looks for an object by what one types for it: `"Group 1"`, `"Macro 1.5"`, `"Preset 4.1"`, `"FixtureType 3.2.1"`. Nothing is found for `"UserProfile"` and `"User"` (field).
---@param name string
---@return gma.handle? handle nil where there is none.
function gma.show.getobj.handle(name) end

---@param handle gma.handle
---@return string class `"CMD_SEQUENCE"`, `"CMD_FIXTURE"` and others.
function gma.show.getobj.class(handle) end

---@param handle gma.handle
---@return integer index Among its parent's children, from 0.
function gma.show.getobj.index(handle) end

---Its number, as a **text**: use `tonumber`.
---@param handle gma.handle
---@return string number
function gma.show.getobj.number(handle) end

---Its label and its number: `"Front 3"`.
---@param handle gma.handle
---@return string name
function gma.show.getobj.name(handle) end

---@param handle gma.handle
---@return string? label nil where it has none.
function gma.show.getobj.label(handle) end

---How many children it has. Cue zero is one of a sequence. For the pools under the root it does not say how full they are (field).
---@param handle gma.handle
---@return integer amount
function gma.show.getobj.amount(handle) end

---@param handle gma.handle
---@param index integer From 0. In a sequence, 0 is cue zero.
---@return gma.handle? child nil past the last.
function gma.show.getobj.child(handle, index) end

---@param handle gma.handle
---@return gma.handle? parent nil at the root (field), whose handle is 1.
function gma.show.getobj.parent(handle) end

---@param handle gma.handle
---@return boolean is_there Whether that is an object's handle.
function gma.show.getobj.verify(handle) end

---@param first gma.handle
---@param second gma.handle
---@return boolean is_same Whether both are of one object.
function gma.show.getobj.compare(first, second) end

-- A `set` is in lists that users made, but not in a console's table, nor in MA's own list: use gma.cmd("Assign ...").

---@class gma.show.property
gma.show.property = {}

---@param handle gma.handle
---@return integer amount How many properties it has.
function gma.show.property.amount(handle) end

---@param handle gma.handle
---@param index integer From 0.
---@return string? name nil past the last.
function gma.show.property.name(handle, index) end

---@param handle gma.handle
---@param key integer|string Its index, from 0, or its name.
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

---@return gma.handle destination Where the command line stands.
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

---What a host tells of itself. It has `version`; which other keys there are is not known: the field has a name, 32 or 64 bits, addresses, a type.
---@param address? string The host's; without it, this one's.
---@param recycle? table That it is filled and returned is inferred from the name.
---@return table data
function gma.network.gethostdata(address, recycle) end

---What is in a slot of the session. MA's tests use `host_name` and `parameter_count`.
---@param slot integer
---@param recycle? table That it is filled and returned is inferred from the name.
---@return table? data nil for an empty slot.
function gma.network.getmanetslot(slot, recycle) end

---A list of names and values in turn.
---@param slot integer
---@param recycle? table That it is filled and returned is inferred from the name.
---@return table? performance
function gma.network.getperformance(slot, recycle) end

-- From here on: seldom seen, and little is known.

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

---In a console's table; what it takes and gives is not known.
---@param ... any
---@return any ...
function gma.draw.getperformance(...) end

---Presses keys and turns wheels.
---@class gma.canbus
gma.canbus = {}

---@class gma.canbus.data
---@field hardkeys table<string, integer> The keys' codes, by their names.
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

---In a console's table; what it takes and gives is not known.
---@param ... any
---@return any ...
function gma.canbus.fader(...) end
