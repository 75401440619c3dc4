/* The native part of the engine stand-in on Windows. On other systems it is tests/console/native.rs, which cargo builds. */
#include <windows.h>

#include "lauxlib.h"
#include "lua.h"

/* clock(): wall seconds since some moment; never goes backwards. */
static int wall_clock(lua_State *state) {
  LARGE_INTEGER ticks, a_second;
  QueryPerformanceCounter(&ticks);
  QueryPerformanceFrequency(&a_second);
  lua_pushnumber(state, (lua_Number)ticks.QuadPart / (lua_Number)a_second.QuadPart);
  return 1;
}

/* sleep(seconds): sleeps without using the processor. */
static int sleep_for(lua_State *state) {
  lua_Number seconds = luaL_checknumber(state, 1);
  if (seconds > 0) Sleep((DWORD)(seconds * 1000));
  return 0;
}

static void end_slice(lua_State *state, lua_Debug *at) {
  (void)at;
  if (lua_isyieldable(state)) lua_yield(state, 0);
}

/* slice(coroutine, instructions): makes the coroutine yield after each run of that many; 0 ends that. */
static int slice(lua_State *state) {
  lua_State *coroutine = lua_tothread(state, 1);
  int instructions = (int)luaL_checkinteger(state, 2);
  luaL_argcheck(state, coroutine != NULL, 1, "coroutine expected");
  lua_sethook(coroutine, instructions ? end_slice : NULL, instructions ? LUA_MASKCOUNT : 0, instructions);
  return 0;
}

__declspec(dllexport) int luaopen_consolenative(lua_State *state) {
  static const luaL_Reg functions[] = {{"clock", wall_clock}, {"sleep", sleep_for}, {"slice", slice}, {NULL, NULL}};
  luaL_newlib(state, functions);
  return 1;
}
