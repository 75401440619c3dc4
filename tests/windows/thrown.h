/* A Lua whose errors are exceptions as Microsoft's compiler throws them, for the tests under Wine: ldo.c uses these definitions. */
struct lua_State;
void throw_error(void *error) __attribute__((noreturn));
void call_and_catch(void (*function)(struct lua_State *, void *), struct lua_State *state, void *data);

#define LUAI_THROW(L, c) throw_error(c)
/* `f` and `ud` are variables in ldo.c where this is used. */
#define LUAI_TRY(L, c, a) call_and_catch(f, L, ud);
#define luai_jmpbuf int
