/* A program whose Lua is hidden from other libraries, for tests: hidden LIBRARY CHUNK. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <lua.h>

static void *library;

static void *find(const char *name)
{
  void *found = library ? dlsym(library, name) : NULL;
  if (!found) {
    fprintf(stderr, "hidden: %s\n", dlerror());
    exit(1);
  }
  return found;
}

int main(int count, char **words)
{
  /* RTLD_LOCAL: no library that is loaded later finds these symbols. */
  library = count == 3 ? dlopen(words[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  lua_State *(*new_state)(void) = find("luaL_newstate");
  void (*open_libraries)(lua_State *) = find("luaL_openlibs");
  int (*load)(lua_State *, const char *) = find("luaL_loadstring");
  int (*call)(lua_State *, int, int, int, lua_KContext, lua_KFunction) = find("lua_pcallk");
  const char *(*text)(lua_State *, int, size_t *) = find("lua_tolstring");
  void (*close)(lua_State *) = find("lua_close");

  lua_State *state = new_state();
  open_libraries(state);
  if (load(state, words[2]) != LUA_OK || call(state, 0, 0, 0, 0, NULL) != LUA_OK) {
    fprintf(stderr, "hidden: %s\n", text(state, -1, NULL));
    return 1;
  }
  close(state);
  return 0;
}
