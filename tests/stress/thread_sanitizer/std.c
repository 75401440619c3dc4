/* Tells the thread sanitizer how Rust's standard library orders threads. That library is compiled without
 * instrumentation. So the sanitizer would miss the slow paths of its locks and its fences, and report races on everything
 * they protect. Each function here replaces one that the module calls, by the linker's --wrap, with the names that
 * scripts/thread-sanitizer finds in the library. */
#include <stdint.h>
#include <string.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

/* Arguments and results in registers are passed on unchanged, whatever they mean. */
typedef uintptr_t word;
#define STAND_IN(name) STAND_IN_FOR(name)
#define STAND_IN_FOR(name)                                             \
  word __real_##name(word a, word b, word c, word d, word e, word f);  \
  word __wrap_##name(word a, word b, word c, word d, word e, word f)
#define ORIGINAL(name) ORIGINAL_OF(name)
#define ORIGINAL_OF(name) __real_##name(a, b, c, d, e, f)

/* `Mutex::lock_contended(&self)` takes the lock. Taking a free lock and releasing one is instrumented code. */
STAND_IN(LOCK_CONTENDED)
{
  word result = ORIGINAL(LOCK_CONTENDED);
  __tsan_acquire((void *)a);
  return result;
}

/* `Condvar::wait(&self, &Mutex)` releases the lock and takes it again. */
STAND_IN(WAIT)
{
  __tsan_release((void *)b);
  word result = ORIGINAL(WAIT);
  __tsan_acquire((void *)b);
  return result;
}

/* So does `Condvar::wait_timeout(&self, &Mutex, Duration)`. */
STAND_IN(WAIT_TIMEOUT)
{
  __tsan_release((void *)b);
  word result = ORIGINAL(WAIT_TIMEOUT);
  __tsan_acquire((void *)b);
  return result;
}

/* `Once::call(&self, bool, &mut dyn FnMut(&OnceState))`: a later caller, here or in instrumented code that reads `self`,
 * sees the effects of the closure. So the release comes after the closure and before `self` is marked as done, in a
 * closure around the closure: data, and a table of functions in which `call_mut` follows the destructor, size, alignment
 * and `call_once`. */
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

/* `Arc`: the thread that drops the last reference must see everything done through the others. It counts down to zero and
 * then uses a fence, but the sanitizer does not know fences. */
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
