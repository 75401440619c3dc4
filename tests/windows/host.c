/* A program with Lua in it, for the tests under Wine: host.exe SCRIPT [ARGUMENT...]. The Windows builds of Lua that people
   have come without sources here, and lua.c is in no crate. */
#include <stdio.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

static int with_traceback(lua_State *state) {
  luaL_traceback(state, state, luaL_tolstring(state, 1, NULL), 1);
  return 1;
}

int main(int count, char **arguments) {
  lua_State *state = luaL_newstate();
  int status;
  if (count < 2) {
    fprintf(stderr, "usage: %s SCRIPT [ARGUMENT...]\n", arguments[0]);
    return 2;
  }
  luaL_openlibs(state);
  lua_createtable(state, count, 0);
  for (int i = 0; i < count; i++) {
    lua_pushstring(state, arguments[i]);
    lua_rawseti(state, -2, i - 1);
  }
  lua_setglobal(state, "arg");
  lua_pushcfunction(state, with_traceback);
  status = luaL_loadfile(state, arguments[1]) || lua_pcall(state, 0, 0, -2);
  if (status) fprintf(stderr, "%s\n", lua_tostring(state, -1));
  lua_close(state);
  return status;
}
