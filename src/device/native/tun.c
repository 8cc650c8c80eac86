// SPDX-License-Identifier: MIT
//
// The native half of src/device. This file has readiness, a timerfd, the monotonic clock and the module. The others
// have a TUN in batches (packets.c), the interface ioctls (interfaces.c), segments (segment.c), connections of this
// host (sockets.c) and the service manager (notify.c). Every function is synchronous and non-blocking; readiness
// comes through uv_poll.
//
// The addon is context-aware: all state is in the environment's instance data, so that the main thread and any number
// of workers can load it. A worker that ends with an open uv_poll aborts the process, so an asynchronous cleanup hook
// closes every handle before the environment's loop is destroyed.
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <errno.h>
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "addon.h"
#include "interfaces.h"
#include "notify.h"
#include "packets.h"
#include "sockets.h"

typedef struct state state;

typedef struct watch {
  struct watch *next;
  state *owner;
  uv_poll_t poll;
  napi_ref callback;
  napi_async_context context;
  int fd;
  bool timer;    // the fd is a timerfd made here: drained here, closed with the watch
  bool closing;
  int32_t id;
} watch;

struct state {
  napi_env env;
  watch *watches;
  int32_t next_id;
  int open_handles;
  napi_async_cleanup_hook_handle hook;
  bool ending;
};

// ---- readiness and timers ------------------------------------------------------------------------------

static void finish_cleanup(state *s) {
  if (s->ending && s->open_handles == 0) {
    napi_async_cleanup_hook_handle hook = s->hook;
    free(s);
    napi_remove_async_cleanup_hook(hook);
  }
}

static void on_closed(uv_handle_t *handle) {
  watch *w = handle->data;
  state *s = w->owner;
  if (w->timer) close(w->fd);
  free(w);
  s->open_handles--;
  finish_cleanup(s);
}

static void begin_close(watch *w, bool release) {
  if (w->closing) return;
  w->closing = true;
  for (watch **at = &w->owner->watches; *at; at = &(*at)->next)
    if (*at == w) { *at = w->next; break; }
  uv_poll_stop(&w->poll);
  if (release) {
    napi_delete_reference(w->owner->env, w->callback);
    napi_async_destroy(w->owner->env, w->context);
  }
  uv_close((uv_handle_t *)&w->poll, on_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
  (void)events;
  watch *w = poll->data;
  napi_env env = w->owner->env;
  napi_handle_scope scope;
  if (w->timer) {
    uint64_t expirations;
    if (read(w->fd, &expirations, sizeof expirations) < 0) return;
  }
  napi_open_handle_scope(env, &scope);
  napi_value callback, receiver, argument;
  napi_get_reference_value(env, w->callback, &callback);
  napi_get_global(env, &receiver);
  napi_create_int32(env, status, &argument);
  if (napi_make_callback(env, w->context, receiver, callback, 1, &argument, NULL) == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static napi_value add_watch(napi_env env, int fd, bool timer, napi_value callback) {
  state *s;
  uv_loop_t *loop;
  napi_value result, label;
  napi_get_instance_data(env, (void **)&s);
  napi_get_uv_event_loop(env, &loop);
  watch *w = calloc(1, sizeof *w);
  if (!w) return fail(env, ENOMEM, "watch");
  w->owner = s;
  w->fd = fd;
  w->timer = timer;
  int status = uv_poll_init(loop, &w->poll, fd);
  if (status < 0) {
    free(w);
    return fail(env, -status, "uv_poll_init");
  }
  w->poll.data = w;
  s->open_handles++;
  w->id = ++s->next_id;
  w->next = s->watches;
  s->watches = w;
  napi_create_reference(env, callback, 1, &w->callback);
  napi_create_string_utf8(env, "firstack.device", NAPI_AUTO_LENGTH, &label);
  napi_async_init(env, NULL, label, &w->context);
  uv_poll_start(&w->poll, UV_READABLE, on_ready);
  napi_create_int32(env, w->id, &result);
  return result;
}

static watch *find_watch(napi_env env, int32_t id) {
  state *s;
  napi_get_instance_data(env, (void **)&s);
  for (watch *w = s->watches; w; w = w->next)
    if (w->id == id) return w;
  return NULL;
}

// watch(fd, callback(status)) -> id. The callback runs each time that the fd is readable.
static napi_value watch_fd(napi_env env, napi_callback_info info) {
  napi_value args[2];
  int32_t fd;
  if (!arguments(env, info, 2, args) || !int_argument(env, args[0], &fd)) return NULL;
  return add_watch(env, fd, false, args[1]);
}

// unwatch(id): stops a watch or a timer. Unknown ids are ignored, so that closing twice is harmless.
static napi_value unwatch(napi_env env, napi_callback_info info) {
  napi_value args[1];
  int32_t id;
  if (!arguments(env, info, 1, args) || !int_argument(env, args[0], &id)) return NULL;
  watch *w = find_watch(env, id);
  if (w) begin_close(w, true);
  return NULL;
}

// timer(callback) -> id. Disarmed until armTimer.
static napi_value timer(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!arguments(env, info, 1, args)) return NULL;
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0) return fail(env, errno, "timerfd_create");
  napi_value result = add_watch(env, fd, true, args[0]);
  if (!result) close(fd);
  return result;
}

// armTimer(id, atUs): fires once at that time of the monotonic clock, at once if it has passed; 0 disarms.
static napi_value arm_timer(napi_env env, napi_callback_info info) {
  napi_value args[2];
  int32_t id;
  double at;
  if (!arguments(env, info, 2, args) || !int_argument(env, args[0], &id)) return NULL;
  if (napi_get_value_double(env, args[1], &at) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a number is expected");
    return NULL;
  }
  watch *w = find_watch(env, id);
  if (!w || !w->timer) return fail(env, EBADF, "armTimer");
  struct itimerspec spec = {0};
  if (at > 0) {
    int64_t us = (int64_t)at;
    spec.it_value.tv_sec = us / 1000000;
    spec.it_value.tv_nsec = (us % 1000000) * 1000 + 1;
  }
  if (timerfd_settime(w->fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0) return fail(env, errno, "timerfd_settime");
  return NULL;
}

// clock(out): sets out[0] to the monotonic clock in microseconds. It returns no number, because that would make
// garbage.
static napi_value read_clock(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t length;
  struct timespec now;
  if (!arguments(env, info, 1, args)) return NULL;
  double *out = array_argument(env, args[0], napi_float64_array, &length);
  if (!out || length < 1) return NULL;
  clock_gettime(CLOCK_MONOTONIC, &now);
  out[0] = (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
  return NULL;
}

// ---- module ------------------------------------------------------------------------------------------------

static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
  state *s = data;
  s->ending = true;
  s->hook = hook;
  while (s->watches) begin_close(s->watches, false);
  finish_cleanup(s);
}

NAPI_MODULE_INIT() {
  static const struct { const char *name; napi_callback function; } table[] = {
      {"openTun", open_tun},     {"close", close_fd},         {"readBatch", read_batch},
      {"writeBatch", write_batch}, {"writeMemory", write_memory}, {"watch", watch_fd}, {"unwatch", unwatch},
      {"timer", timer},          {"armTimer", arm_timer},     {"clock", read_clock},
      {"interfaceSet", interface_set}, {"interfaceGet", interface_get}, {"setns", set_namespace},
      {"countSockets", count_sockets}, {"waitingClients", waiting_clients}, {"openNetlink", open_netlink}, {"notify", notify},
  };
  state *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->env = env;
  napi_set_instance_data(env, s, NULL, NULL);
  napi_add_async_cleanup_hook(env, on_environment_end, s, &s->hook);
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    napi_value function;
    napi_create_function(env, table[i].name, NAPI_AUTO_LENGTH, table[i].function, NULL, &function);
    napi_set_named_property(env, exports, table[i].name, function);
  }
  return exports;
}
