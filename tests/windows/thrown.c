/* Throws and catches as code of Microsoft's compiler does: structured exceptions with the code of C++. */
#include <setjmp.h>
#include <windows.h>

#include "thrown.h"

#define CODE 0xE06D7363
#define MAGIC 0x19930520

void throw_error(void *error) {
  ULONG_PTR information[3] = { MAGIC, (ULONG_PTR)error, 0 };
  RaiseException(CODE, EXCEPTION_NONCONTINUABLE, 3, information);
  abort();
}

#ifdef _WIN64
long filter(EXCEPTION_POINTERS *found, void *frame) {
  (void)frame;
  return found->ExceptionRecord->ExceptionCode == CODE ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH;
}

/* The compiler has no `__try`; this is the table that it would emit. */
__attribute__((noinline)) void call_and_catch(void (*function)(struct lua_State *, void *), struct lua_State *state,
                                              void *data) {
  __asm__ __volatile__(
    ".l_begin:\n\t.seh_handler __C_specific_handler, @except\n\t.seh_handlerdata\n\t.long 1\n\t"
    ".rva .l_begin, .l_end, filter, .l_end\n\t.text");
  function(state, data);
  __asm__ __volatile__("nop\n.l_end: nop");
}
#else
struct registration {
  struct registration *previous;
  void *handler;
  jmp_buf target;
};

static EXCEPTION_DISPOSITION __cdecl handle(EXCEPTION_RECORD *record, void *frame, CONTEXT *context, void *dispatcher) {
  const DWORD unwinding = 2 | 4;
  (void)context;
  (void)dispatcher;
  if (record->ExceptionCode == CODE && !(record->ExceptionFlags & unwinding)) {
    RtlUnwind(frame, NULL, record, 0);
    longjmp(((struct registration *)frame)->target, 1);
  }
  return ExceptionContinueSearch;
}

__attribute__((noinline)) void call_and_catch(void (*function)(struct lua_State *, void *), struct lua_State *state,
                                              void *data) {
  struct registration own;
  own.previous = (struct registration *)__readfsdword(0);
  own.handler = (void *)handle;
  __writefsdword(0, (unsigned long)&own);
  if (setjmp(own.target) == 0) function(state, data);
  __writefsdword(0, (unsigned long)own.previous);
}
#endif
