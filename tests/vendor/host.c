/* An interpreter as a vendor may build it: host SCRIPT [ARGUMENT...]. It compiles as C and as C++.
   Its luaL_openlibs leaves out the libraries named in the environment variable WITHOUT ("io,os"), for all states, or in
   TASKS_WITHOUT, for all states but the first. The global `open_binary(path)` calls the module's entry point, since there
   may be no `package`. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

static int states;

static int is_left_out(const char *name) {
  const char *without = getenv(states > 0 && getenv("TASKS_WITHOUT") ? "TASKS_WITHOUT" : "WITHOUT");
  size_t length = strlen(name);
  while (without && *without) {
    size_t next = strcspn(without, ",");
    if (next == length && strncmp(without, name, length) == 0) return 1;
    without += next + (without[next] == ',');
  }
  return 0;
}

LUALIB_API void luaL_openlibs(lua_State *state) {
  static const luaL_Reg libraries[] = {
    {"_G", luaopen_base}, {LUA_LOADLIBNAME, luaopen_package}, {LUA_COLIBNAME, luaopen_coroutine},
    {LUA_TABLIBNAME, luaopen_table}, {LUA_IOLIBNAME, luaopen_io}, {LUA_OSLIBNAME, luaopen_os},
    {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},
    {LUA_DBLIBNAME, luaopen_debug},
#if defined(LUA_COMPAT_BITLIB)
    {LUA_BITLIBNAME, luaopen_bit32},
#endif
  };
  size_t i;
  for (i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    if (is_left_out(libraries[i].name)) continue;
    luaL_requiref(state, libraries[i].name, libraries[i].func, 1);
    lua_pop(state, 1);
  }
  states++;
  /* A careless vendor's function may leave values on the stack. */
  lua_pushliteral(state, "left on the stack");
}

static int open_binary(lua_State *state) {
  const char *path = luaL_checkstring(state, 1);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void *entry = library ? dlsym(library, "luaopen_gma2workers") : NULL;
  if (!entry) return luaL_error(state, "%s", dlerror());
  lua_pushcfunction(state, (lua_CFunction)entry);
  lua_pushstring(state, "gma2workers");
  lua_pushvalue(state, 1);
  lua_call(state, 2, 1);
  return 1;
}

static int add_traceback(lua_State *state) {
  luaL_traceback(state, state, luaL_tolstring(state, 1, NULL), 1);
  return 1;
}

int main(int count, char **arguments) {
  lua_State *state = luaL_newstate();
  int status, i;
  if (count < 2 || !state) return 2;
  luaL_openlibs(state);
  lua_createtable(state, count, 0);
  for (i = 0; i < count; i++) {
    lua_pushstring(state, arguments[i]);
    lua_rawseti(state, -2, i - 1);
  }
  lua_setglobal(state, "arg");
  lua_pushcfunction(state, open_binary);
  lua_setglobal(state, "open_binary");
  lua_pushcfunction(state, add_traceback);
  status = luaL_loadfile(state, arguments[1]) || lua_pcall(state, 0, 0, -2);
  if (status) fprintf(stderr, "%s\n", lua_tostring(state, -1));
  lua_close(state);
  return status;
}
