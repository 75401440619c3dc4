/* Tells the thread sanitizer how Rust's standard library orders threads. That library comes compiled and is not
 * instrumented, so the slow paths of its locks and its fences would go unseen, and all that they protect would look
 * like races. Each function here stands in for one that the module calls: the linker's --wrap, with the names that
 * scripts/thread-sanitizer finds in the library. */
#include <stdint.h>
#include <string.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

/* What a function takes and gives in registers is passed on as it is, whatever it means. */
typedef uintptr_t word;
#define STAND_IN(name) STAND_IN_FOR(name)
#define STAND_IN_FOR(name)                                             \
  word __real_##name(word a, word b, word c, word d, word e, word f);  \
  word __wrap_##name(word a, word b, word c, word d, word e, word f)
#define ORIGINAL(name) ORIGINAL_OF(name)
#define ORIGINAL_OF(name) __real_##name(a, b, c, d, e, f)

/* `Mutex::lock_contended(&self)` takes the lock. Taking a free one, and giving one back, is instrumented code. */
STAND_IN(LOCK_CONTENDED)
{
  word result = ORIGINAL(LOCK_CONTENDED);
  __tsan_acquire((void *)a);
  return result;
}

/* `Condvar::wait(&self, &Mutex)` gives the lock back and takes it again. */
STAND_IN(WAIT)
{
  __tsan_release((void *)b);
  word result = ORIGINAL(WAIT);
  __tsan_acquire((void *)b);
  return result;
}

/* `Condvar::wait_timeout(&self, &Mutex, Duration)`, too. */
STAND_IN(WAIT_TIMEOUT)
{
  __tsan_release((void *)b);
  word result = ORIGINAL(WAIT_TIMEOUT);
  __tsan_acquire((void *)b);
  return result;
}

/* `Once::call(&self, bool, &mut dyn FnMut(&OnceState))`: who comes later, here or by a look at `self` in instrumented
 * code, sees what was done. So that is said once it is done and before `self` says so, by a closure around the closure:
 * data, and a table of functions in which `call_mut` stands behind the destructor, size, alignment and `call_once`. */
enum { CALL_MUT = 4 };

struct closure {
  word data;
  const word *table;
  word once;
};

static void call_and_release(struct closure *closure, word state)
{
  ((void (*)(word, word))closure->table[CALL_MUT])(closure->data, state);
  __tsan_release((void *)closure->once);
}

STAND_IN(ONCE_CALL)
{
  struct closure closure = { c, (const word *)d, a };
  word table[CALL_MUT + 1];
  memcpy(table, closure.table, sizeof table);
  table[CALL_MUT] = (word)call_and_release;
  c = (word)&closure;
  d = (word)table;
  word result = ORIGINAL(ONCE_CALL);
  __tsan_acquire((void *)a);
  return result;
}

/* `Arc`: who gives up the last reference is to see what was done through all others. It has counted down to none, and
 * a fence says the rest; the sanitizer knows no fences. */
static __thread void *count_at_none;

uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order)
{
  uint64_t before = __real___tsan_atomic64_fetch_sub(count, by, order);
  count_at_none = before == by ? (void *)count : NULL;
  return before;
}

void __real___tsan_atomic_thread_fence(int order);
void __wrap___tsan_atomic_thread_fence(int order)
{
  if (order == __ATOMIC_ACQUIRE && count_at_none != NULL) {
    __tsan_acquire(count_at_none);
  }
  count_at_none = NULL;
  __real___tsan_atomic_thread_fence(order);
}
