// SPDX-License-Identifier: MIT
//
// The small native half of src/device: a TUN in batches, a timerfd, the monotonic clock, and the
// interface ioctls. Every function is synchronous and non-blocking; readiness comes through uv_poll.
//
// Context-aware: all state hangs off the environment's instance data, so that the main thread and any
// number of workers load it side by side. A worker that ends with an open uv_poll aborts the process,
// so an asynchronous cleanup hook closes every handle before the environment's loop goes away.
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <node_api.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "notify.h"
#include "segment.h"

enum { OPEN_VNET = 1, OPEN_CSUM = 2, OPEN_TSO = 4 };

typedef struct state state;

typedef struct watch {
  struct watch *next;
  state *owner;
  uv_poll_t poll;
  napi_ref callback;
  napi_async_context context;
  int fd;
  bool timer;    // the fd is a timerfd of ours: drained here, closed with the watch
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

static napi_value fail(napi_env env, int error, const char *what) {
  char message[160], code[32];
  const char *name = strerrorname_np(error);
  snprintf(code, sizeof code, "%s", name ? name : "UNKNOWN");
  snprintf(message, sizeof message, "%s: %s", what, strerror(error));
  napi_throw_error(env, code, message);
  return NULL;
}

static bool arguments(napi_env env, napi_callback_info info, size_t want, napi_value *out) {
  size_t count = want;
  if (napi_get_cb_info(env, info, &count, out, NULL, NULL) != napi_ok || count < want) {
    napi_throw_type_error(env, "ERR_MISSING_ARGS", "too few arguments");
    return false;
  }
  return true;
}

static bool int_argument(napi_env env, napi_value value, int32_t *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a number is expected");
  return false;
}

static bool text_argument(napi_env env, napi_value value, char *out, size_t size) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, out, size, &length) == napi_ok) return true;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a string is expected");
  return false;
}

// The memory of a typed array of the given type; its length in elements.
static void *array_argument(napi_env env, napi_value value, napi_typedarray_type want, size_t *length) {
  napi_typedarray_type type;
  void *memory;
  if (napi_get_typedarray_info(env, value, &type, length, &memory, NULL, NULL) == napi_ok && type == want)
    return memory;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a typed array is expected");
  return NULL;
}

// ---- TUN -------------------------------------------------------------------------------------------

static int set_offload(int fd, int32_t flags) {
  unsigned offload = 0;
  if (flags & OPEN_CSUM) offload |= TUN_F_CSUM;
  if (flags & OPEN_TSO) offload |= TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  return ioctl(fd, TUNSETOFFLOAD, offload);
}

// openTun(name, flags) -> fd. An existing, unowned, persistent device of that name is taken over.
static napi_value open_tun(napi_env env, napi_callback_info info) {
  napi_value args[2], result;
  int32_t flags;
  struct ifreq request = {0};
  if (!arguments(env, info, 2, args)) return NULL;
  if (!text_argument(env, args[0], request.ifr_name, IFNAMSIZ)) return NULL;
  if (!int_argument(env, args[1], &flags)) return NULL;
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fail(env, errno, "/dev/net/tun");
  request.ifr_flags = IFF_TUN | IFF_NO_PI | ((flags & OPEN_VNET) ? IFF_VNET_HDR : 0);
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    int error = errno;
    close(fd);
    return fail(env, error, "TUNSETIFF");
  }
  int size = VNET_HEADER;
  if ((flags & OPEN_VNET) && (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || set_offload(fd, flags) < 0)) {
    int error = errno;
    close(fd);
    return fail(env, error, "TUNSETOFFLOAD");
  }
  napi_create_int32(env, fd, &result);
  return result;
}

static napi_value close_fd(napi_env env, napi_callback_info info) {
  napi_value args[1];
  int32_t fd;
  if (!arguments(env, info, 1, args) || !int_argument(env, args[0], &fd)) return NULL;
  close(fd);
  return NULL;
}

// readBatch(fd, arena, at, lengths, limit, slot, header, bytes) -> packets read, or -errno when none was.
// Packet i is read so that its first byte after the header lands on arena[at[i]]. Ends with the packet that reaches
// `bytes`: what is written again while it is in the processor's cache is written sooner.
static napi_value read_batch(napi_env env, napi_callback_info info) {
  napi_value args[8], result;
  int32_t fd, limit, slot, header, bytes;
  size_t arena_size, at_size, lengths_size;
  if (!arguments(env, info, 8, args) || !int_argument(env, args[0], &fd)) return NULL;
  uint8_t *arena = array_argument(env, args[1], napi_uint8_array, &arena_size);
  int32_t *at = arena ? array_argument(env, args[2], napi_int32_array, &at_size) : NULL;
  int32_t *lengths = at ? array_argument(env, args[3], napi_int32_array, &lengths_size) : NULL;
  if (!lengths || !int_argument(env, args[4], &limit) || !int_argument(env, args[5], &slot) ||
      !int_argument(env, args[6], &header) || !int_argument(env, args[7], &bytes))
    return NULL;
  int32_t n = 0, error = 0;
  while (n < limit && bytes > 0 && (size_t)n < at_size && (size_t)n < lengths_size) {
    int64_t start = (int64_t)at[n] - header;
    if (start < 0 || (size_t)(start + header + slot) > arena_size) { error = EFAULT; break; }
    ssize_t got = read(fd, arena + start, (size_t)(header + slot));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) { error = errno; break; }
    if (got <= header) continue;
    lengths[n++] = (int32_t)got - header;
    bytes -= (int32_t)got;
  }
  napi_create_int32(env, n > 0 || error == EAGAIN ? n : -error, &result);
  return result;
}

static int write_to_fd(void *context, const struct iovec *parts, int count) {
  const int fd = *(const int32_t *)context;
  ssize_t put;
  do put = count == 1 ? write(fd, parts->iov_base, parts->iov_len) : writev(fd, parts, count);
  while (put < 0 && errno == EINTR);
  return put < 0 ? errno : 0;
}

typedef struct {
  uint8_t *arena;
  int32_t *at, *lengths;
  const uint8_t *opened;
  size_t arena_size, count, opened_size;
} packets;

// The arguments (arena, at, lengths, count, opened).
static bool packets_argument(napi_env env, const napi_value *args, packets *out) {
  int32_t count;
  size_t at_size, lengths_size;
  out->arena = array_argument(env, args[0], napi_uint8_array, &out->arena_size);
  out->at = out->arena ? array_argument(env, args[1], napi_int32_array, &at_size) : NULL;
  out->lengths = out->at ? array_argument(env, args[2], napi_int32_array, &lengths_size) : NULL;
  if (!out->lengths || !int_argument(env, args[3], &count)) return false;
  napi_typedarray_type type;
  void *opened;
  if (napi_get_typedarray_info(env, args[4], &type, &out->opened_size, &opened, NULL, NULL) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a typed array is expected");
    return false;
  }
  out->opened = opened;
  const size_t limit = at_size < lengths_size ? at_size : lengths_size;
  out->count = count < 0 ? 0 : (size_t)count < limit ? (size_t)count : limit;
  return true;
}

// writeBatch(fd, arena, at, lengths, count, opened) -> packets written. A packet that the kernel refused
// has its length replaced by -errno, so that the caller can count why. Encapsulated super-packets are
// segmented, and packets with opened[i] coalesced (segment.h). `opened` may be shorter.
static napi_value write_batch(napi_env env, napi_callback_info info) {
  napi_value args[6], result;
  int32_t fd;
  packets p;
  if (!arguments(env, info, 6, args) || !int_argument(env, args[0], &fd) || !packets_argument(env, args + 1, &p))
    return NULL;
  const int32_t written =
      write_packets(p.arena, p.arena_size, p.at, p.lengths, p.count, p.opened, p.opened_size, write_to_fd, &fd);
  napi_create_int32(env, written, &result);
  return result;
}

typedef struct {
  uint8_t *memory;
  int32_t *lengths;
  size_t room, lengths_size, used, count;
} memory_sink;

static int write_to_memory(void *context, const struct iovec *parts, int count) {
  memory_sink *m = context;
  size_t length = 0;
  for (int k = 0; k < count; k++) length += parts[k].iov_len;
  if (m->count == m->lengths_size || length > m->room - m->used) return ENOBUFS;
  for (int k = 0; k < count; k++) {
    memcpy(m->memory + m->used, parts[k].iov_base, parts[k].iov_len);
    m->used += parts[k].iov_len;
  }
  m->lengths[m->count++] = (int32_t)length;
  return 0;
}

// writeMemory(out, outLengths, arena, at, lengths, count, opened) -> packets in `out`: what writeBatch would
// hand to the kernel, virtio headers included, one behind the other. For tests.
static napi_value write_memory(napi_env env, napi_callback_info info) {
  napi_value args[7], result;
  packets p;
  memory_sink m = {0};
  if (!arguments(env, info, 7, args)) return NULL;
  m.memory = array_argument(env, args[0], napi_uint8_array, &m.room);
  m.lengths = m.memory ? array_argument(env, args[1], napi_int32_array, &m.lengths_size) : NULL;
  if (!m.lengths || !packets_argument(env, args + 2, &p)) return NULL;
  write_packets(p.arena, p.arena_size, p.at, p.lengths, p.count, p.opened, p.opened_size, write_to_memory, &m);
  napi_create_int32(env, (int32_t)m.count, &result);
  return result;
}

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

// clock(out): out[0] = the monotonic clock in microseconds. Writes instead of returning: no garbage.
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

// ---- interfaces and namespaces --------------------------------------------------------------------------

// interfaceSet(name, what, value): mtu | up | queueLength as numbers; ipv4 | ipv6 as ADDRESS/PREFIX.
static napi_value interface_set(napi_env env, napi_callback_info info) {
  napi_value args[3];
  char what[16], text[80];
  int32_t number = 0, status = -1;
  struct ifreq request = {0};
  if (!arguments(env, info, 3, args) || !text_argument(env, args[0], request.ifr_name, IFNAMSIZ) ||
      !text_argument(env, args[1], what, sizeof what))
    return NULL;
  bool address = strncmp(what, "ipv", 3) == 0;
  if (address ? !text_argument(env, args[2], text, sizeof text) : !int_argument(env, args[2], &number)) return NULL;
  int fd = socket(strcmp(what, "ipv6") == 0 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(env, errno, "socket");
  errno = EINVAL;
  if (strcmp(what, "mtu") == 0) {
    request.ifr_mtu = number;
    status = ioctl(fd, SIOCSIFMTU, &request);
  } else if (strcmp(what, "queueLength") == 0) {
    request.ifr_qlen = number;
    status = ioctl(fd, SIOCSIFTXQLEN, &request);
  } else if (strcmp(what, "up") == 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
    if (number) request.ifr_flags |= IFF_UP;
    else request.ifr_flags &= ~IFF_UP;
    status = ioctl(fd, SIOCSIFFLAGS, &request);
  } else if (address) {
    char *slash = strchr(text, '/');
    int prefix = slash ? atoi(slash + 1) : -1;
    if (slash) *slash = 0;
    if (strcmp(what, "ipv4") == 0 && prefix >= 0 && prefix <= 32) {
      struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
      in->sin_family = AF_INET;
      if (inet_pton(AF_INET, text, &in->sin_addr) == 1) status = ioctl(fd, SIOCSIFADDR, &request);
      if (status == 0) {
        in->sin_addr.s_addr = prefix ? htonl(~0u << (32 - prefix)) : 0;
        status = ioctl(fd, SIOCSIFNETMASK, &request);
      }
    } else if (strcmp(what, "ipv6") == 0 && prefix >= 0 && prefix <= 128) {
      struct in6_ifreq in6 = {.ifr6_prefixlen = (uint32_t)prefix};
      if (inet_pton(AF_INET6, text, &in6.ifr6_addr) == 1 && ioctl(fd, SIOCGIFINDEX, &request) == 0) {
        in6.ifr6_ifindex = request.ifr_ifindex;
        status = ioctl(fd, SIOCSIFADDR, &in6);
      }
    }
  }
  int error = errno;
  close(fd);
  return status < 0 ? fail(env, error, what) : NULL;
}

// interfaceGet(name, what) -> number: mtu | up | queueLength.
static napi_value interface_get(napi_env env, napi_callback_info info) {
  napi_value args[2], result;
  char what[16];
  struct ifreq request = {0};
  if (!arguments(env, info, 2, args) || !text_argument(env, args[0], request.ifr_name, IFNAMSIZ) ||
      !text_argument(env, args[1], what, sizeof what))
    return NULL;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(env, errno, "socket");
  int32_t number = 0;
  int status = -1;
  errno = EINVAL;
  if (strcmp(what, "mtu") == 0) {
    status = ioctl(fd, SIOCGIFMTU, &request);
    number = request.ifr_mtu;
  } else if (strcmp(what, "queueLength") == 0) {
    status = ioctl(fd, SIOCGIFTXQLEN, &request);
    number = request.ifr_qlen;
  } else if (strcmp(what, "up") == 0) {
    status = ioctl(fd, SIOCGIFFLAGS, &request);
    number = (request.ifr_flags & IFF_UP) != 0;
  }
  int error = errno;
  close(fd);
  if (status < 0) return fail(env, error, what);
  napi_create_int32(env, number, &result);
  return result;
}

// setns(path): moves the calling thread to that network namespace. Sockets keep the one they were made in.
static napi_value set_namespace(napi_env env, napi_callback_info info) {
  napi_value args[1];
  char path[256];
  if (!arguments(env, info, 1, args) || !text_argument(env, args[0], path, sizeof path)) return NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(env, errno, path);
  int status = setns(fd, CLONE_NEWNET), error = errno;
  close(fd);
  return status < 0 ? fail(env, error, "setns") : NULL;
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
      {"notify", notify},
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
