// SPDX-License-Identifier: MIT
//
// Opens a TUN, and reads and writes it in batches.
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include "packets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "addon.h"
#include "segment.h"

// Bytes of a cache line.
enum { LINE = 64 };
enum { OPEN_VNET = 1, OPEN_CSUM = 2, OPEN_TSO = 4 };

static int set_offload(int fd, int32_t flags) {
  unsigned offload = 0;
  if (flags & OPEN_CSUM) offload |= TUN_F_CSUM;
  if (flags & OPEN_TSO) offload |= TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  return ioctl(fd, TUNSETOFFLOAD, offload);
}

// openTun(name, flags) -> fd. An existing, unowned, persistent device of that name is taken over.
napi_value open_tun(napi_env env, napi_callback_info info) {
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

napi_value close_fd(napi_env env, napi_callback_info info) {
  napi_value args[1];
  int32_t fd;
  if (!arguments(env, info, 1, args) || !int_argument(env, args[0], &fd)) return NULL;
  close(fd);
  return NULL;
}

// These are the plain system calls. In a process of many threads, the C library's read() and write() are cancellation
// points; their cost is measurable at half a million packets a second, and no thread is ever cancelled here.
static ssize_t read_fd(int fd, void *to, size_t length) { return syscall(SYS_read, fd, to, length); }

static ssize_t write_fd(int fd, const struct iovec *parts, int count) {
  return count == 1 ? syscall(SYS_write, fd, parts->iov_base, parts->iov_len) : syscall(SYS_writev, fd, parts, count);
}

// Reads again and again for `wait_us` while there is no packet; yields the processor to other threads in between.
static ssize_t await_fd(int fd, void *to, size_t length, int32_t wait_us) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t until = now.tv_sec * 1000000000LL + now.tv_nsec + wait_us * 1000LL;
  ssize_t got;
  do {
    sched_yield();
    got = read_fd(fd, to, length);
    if (got >= 0 || errno != EAGAIN) return got;
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec * 1000000000LL + now.tv_nsec < until);
  errno = EAGAIN;
  return -1;
}

// readBatch(fd, arena, at, lengths, limit, slot, header, bytes, gap, wait) -> packets read, or -errno when there was
// none.
// The first byte of packet i after the header goes to arena[at[i]]. at[0] is given; each further packet begins `gap`
// bytes after the one before, so that a batch of small packets covers few pages. The batch ends with the packet that
// reaches `bytes`, because packets are written faster while they are in the processor's cache. Waits `wait`
// microseconds for the first.
napi_value read_batch(napi_env env, napi_callback_info info) {
  napi_value args[10], result;
  int32_t fd, limit, slot, header, bytes, gap, wait;
  size_t arena_size, at_size, lengths_size;
  if (!arguments(env, info, 10, args) || !int_argument(env, args[0], &fd)) return NULL;
  uint8_t *arena = array_argument(env, args[1], napi_uint8_array, &arena_size);
  int32_t *at = arena ? array_argument(env, args[2], napi_int32_array, &at_size) : NULL;
  int32_t *lengths = at ? array_argument(env, args[3], napi_int32_array, &lengths_size) : NULL;
  if (!lengths || !int_argument(env, args[4], &limit) || !int_argument(env, args[5], &slot) ||
      !int_argument(env, args[6], &header) || !int_argument(env, args[7], &bytes) || !int_argument(env, args[8], &gap) ||
      !int_argument(env, args[9], &wait))
    return NULL;
  int32_t n = 0, error = 0;
  while (n < limit && bytes > 0 && (size_t)n < at_size && (size_t)n < lengths_size) {
    if (n > 0) at[n] = (at[n - 1] + lengths[n - 1] + gap + LINE - 1) & -LINE;
    int64_t start = (int64_t)at[n] - header;
    if (n > 0 && (size_t)(start + header + slot) > arena_size) break;
    if (start < 0 || (size_t)(start + header + slot) > arena_size) { error = EFAULT; break; }
    ssize_t got = read_fd(fd, arena + start, (size_t)(header + slot));
    if (got < 0 && errno == EAGAIN && n == 0 && wait > 0) got = await_fd(fd, arena + start, (size_t)(header + slot), wait);
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
  do put = write_fd(fd, parts, count);
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

// writeBatch(fd, arena, at, lengths, count, opened) -> packets written. Where the kernel refuses a packet, -errno
// replaces its length, so that the caller can count the reason. Encapsulated super-packets are segmented, and packets
// with opened[i] are coalesced (segment.h). `opened` may be shorter than `count`.
napi_value write_batch(napi_env env, napi_callback_info info) {
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

// writeMemory(out, outLengths, arena, at, lengths, count, opened) -> packets in `out`: the packets that writeBatch
// would write to the kernel, virtio headers included, one behind the other. For tests.
napi_value write_memory(napi_env env, napi_callback_info info) {
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
