/* A program with Lua in it, for tests. Its arguments are the steps it takes; a state is a letter:
 *
 *   open S                          opens a state with the standard library
 *   run S CHUNK                     runs a chunk in it
 *   elsewhere S CHUNK               runs a chunk in it on a thread of its own, and waits for that thread
 *   together S CHUNK S CHUNK        runs two chunks in two states at the same time
 *   close S                         closes it
 *   handle                          handles SIGURG from now on: writes a line and ends the program, with code 1
 *   fork STEP... parent             forks: the child takes these steps and exits, the parent waits for it
 *
 * A chunk that fails ends the program, with code 1. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

struct errand {
  lua_State *state;
  const char *chunk;
};

static lua_State *states[26];

static lua_State **state(const char *name)
{
  return &states[(name[0] - 'a') % 26];
}

static void fail(const char *what)
{
  fprintf(stderr, "host: %s\n", what);
  exit(1);
}

static void run(lua_State *state, const char *chunk)
{
  if (luaL_dostring(state, chunk)) {
    fail(lua_tostring(state, -1));
  }
  lua_settop(state, 0);
}

static void *do_errand(void *of)
{
  struct errand *errand = of;
  run(errand->state, errand->chunk);
  return NULL;
}

/* Runs a chunk on each of that many new threads, all at the same time. */
static void run_on_threads(char **words, int count)
{
  struct errand errands[2];
  pthread_t threads[2];
  for (int i = 0; i < count; i++) {
    errands[i].state = *state(words[2 * i]);
    errands[i].chunk = words[2 * i + 1];
    if (pthread_create(&threads[i], NULL, do_errand, &errands[i]) != 0) {
      fail("no thread");
    }
  }
  for (int i = 0; i < count; i++) {
    pthread_join(threads[i], NULL);
  }
}

static void on_urgent(int number)
{
  static const char line[] = "host: its handler ran\n";
  (void)number;
  (void)!write(STDERR_FILENO, line, sizeof line - 1);
  _exit(1);
}

static void wait_for(pid_t child)
{
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    fail("no child");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fail("the child has failed");
  }
}

int main(int count, char **words)
{
  for (char **at = words + 1; at < words + count; at++) {
    const char *step = *at;
    if (strcmp(step, "open") == 0) {
      lua_State *new = luaL_newstate();
      luaL_openlibs(new);
      *state(*++at) = new;
    } else if (strcmp(step, "run") == 0) {
      run(*state(at[1]), at[2]);
      at += 2;
    } else if (strcmp(step, "elsewhere") == 0) {
      run_on_threads(at + 1, 1);
      at += 2;
    } else if (strcmp(step, "together") == 0) {
      run_on_threads(at + 1, 2);
      at += 4;
    } else if (strcmp(step, "close") == 0) {
      lua_close(*state(*++at));
    } else if (strcmp(step, "handle") == 0) {
      signal(SIGURG, on_urgent);
    } else if (strcmp(step, "fork") == 0) {
      fflush(NULL);
      pid_t child = fork();
      if (child != 0) {
        wait_for(child);
        while (strcmp(*at, "parent") != 0) {
          at++;
        }
      }
    } else if (strcmp(step, "parent") == 0) {
      exit(0);
    } else {
      fail(step);
    }
  }
  return 0;
}
