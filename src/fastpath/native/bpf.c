// SPDX-License-Identifier: MIT
//
// The bpf(2) calls of src/fastpath: maps by path, elements in batches, and test runs of hooks. Every function is
// synchronous. A failing call throws an Error with the kernel's code.
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <errno.h>
#include <linux/bpf.h>
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../device/native/addon.h"

static int bpf(int command, union bpf_attr *attr) {
  return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

enum { MOST = 8 };

// The call's arguments by the letters of `types`: i is a number, s a string, b a Uint8Array.
typedef struct {
  int32_t number[MOST];
  char text[2][256];
  uint8_t *bytes[MOST];
  size_t length[MOST];
} taken;

static bool take(napi_env env, napi_callback_info info, const char *types, taken *out) {
  napi_value args[MOST];
  size_t count = MOST, want = strlen(types), texts = 0;
  if (napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok || count < want) {
    napi_throw_type_error(env, "ERR_MISSING_ARGS", "too few arguments");
    return false;
  }
  for (size_t i = 0; i < want; i++) {
    napi_typedarray_type type;
    size_t length;
    bool good = false;
    if (types[i] == 'i') good = napi_get_value_int32(env, args[i], &out->number[i]) == napi_ok;
    else if (types[i] == 's')
      good = napi_get_value_string_utf8(env, args[i], out->text[texts++], sizeof out->text[0], &length) == napi_ok;
    else
      good = napi_get_typedarray_info(env, args[i], &type, &out->length[i], (void **)&out->bytes[i], NULL, NULL) ==
                 napi_ok &&
             type == napi_uint8_array;
    if (good) continue;
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", types[i] == 'i' ? "a number is expected"
                                                       : types[i] == 's' ? "a string is expected"
                                                                         : "a Uint8Array is expected");
    return false;
  }
  return true;
}

static napi_value number(napi_env env, int32_t value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

// createMap(type, keyBytes, valueBytes, entries, flags, name) -> fd
static napi_value create_map(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "iiiiis", &a)) return NULL;
  union bpf_attr attr = {.map_type = (uint32_t)a.number[0],
                         .key_size = (uint32_t)a.number[1],
                         .value_size = (uint32_t)a.number[2],
                         .max_entries = (uint32_t)a.number[3],
                         .map_flags = (uint32_t)a.number[4]};
  memcpy(attr.map_name, a.text[0], strnlen(a.text[0], sizeof attr.map_name - 1));
  int fd = bpf(BPF_MAP_CREATE, &attr);
  return fd < 0 ? fail(env, errno, "BPF_MAP_CREATE") : number(env, fd);
}

// pin(fd, path)
static napi_value pin(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "is", &a)) return NULL;
  union bpf_attr attr = {.bpf_fd = (uint32_t)a.number[0], .pathname = (uint64_t)(uintptr_t)a.text[0]};
  return bpf(BPF_OBJ_PIN, &attr) < 0 ? fail(env, errno, a.text[0]) : NULL;
}

// get(path) -> fd of the object that is pinned there
static napi_value get(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "s", &a)) return NULL;
  union bpf_attr attr = {.pathname = (uint64_t)(uintptr_t)a.text[0]};
  int fd = bpf(BPF_OBJ_GET, &attr);
  return fd < 0 ? fail(env, errno, a.text[0]) : number(env, fd);
}

static napi_value close_fd(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "i", &a)) return NULL;
  close(a.number[0]);
  return NULL;
}

// mapShape(fd, out): out is four 32-bit words, type, key bytes, value bytes, entries.
static napi_value map_shape(napi_env env, napi_callback_info info) {
  taken a;
  struct bpf_map_info shape = {0};
  if (!take(env, info, "ib", &a)) return NULL;
  union bpf_attr attr = {.info = {.bpf_fd = (uint32_t)a.number[0],
                                  .info_len = sizeof shape,
                                  .info = (uint64_t)(uintptr_t)&shape}};
  if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) < 0) return fail(env, errno, "BPF_OBJ_GET_INFO_BY_FD");
  uint32_t words[] = {shape.type, shape.key_size, shape.value_size, shape.max_entries};
  if (a.length[1] < sizeof words) return fail(env, EFAULT, "mapShape");
  memcpy(a.bytes[1], words, sizeof words);
  return NULL;
}

// update(fd, keys, keyBytes, values, valueBytes, count) -> the number written before one failed
static napi_value update(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "ibibii", &a)) return NULL;
  size_t key = (size_t)a.number[2], value = (size_t)a.number[4], count = (size_t)a.number[5];
  if (count * key > a.length[1] || count * value > a.length[3]) return fail(env, EFAULT, "update");
  size_t done = 0;
  for (; done < count; done++) {
    union bpf_attr attr = {.map_fd = (uint32_t)a.number[0],
                           .key = (uint64_t)(uintptr_t)(a.bytes[1] + done * key),
                           .value = (uint64_t)(uintptr_t)(a.bytes[3] + done * value)};
    if (bpf(BPF_MAP_UPDATE_ELEM, &attr) < 0) break;
  }
  return number(env, (int32_t)done);
}

// remove(fd, keys, keyBytes, count) -> the number that existed
static napi_value remove_keys(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "ibii", &a)) return NULL;
  size_t key = (size_t)a.number[2], count = (size_t)a.number[3];
  if (count * key > a.length[1]) return fail(env, EFAULT, "remove");
  int32_t gone = 0;
  for (size_t i = 0; i < count; i++) {
    union bpf_attr attr = {.map_fd = (uint32_t)a.number[0], .key = (uint64_t)(uintptr_t)(a.bytes[1] + i * key)};
    gone += bpf(BPF_MAP_DELETE_ELEM, &attr) == 0;
  }
  return number(env, gone);
}

// lookup(fd, key, value) -> 1 or 0. The caller must pass arrays of the map's sizes; a per-CPU map writes one value
// per CPU.
static napi_value lookup(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "ibb", &a)) return NULL;
  union bpf_attr attr = {.map_fd = (uint32_t)a.number[0],
                         .key = (uint64_t)(uintptr_t)a.bytes[1],
                         .value = (uint64_t)(uintptr_t)a.bytes[2]};
  return number(env, bpf(BPF_MAP_LOOKUP_ELEM, &attr) == 0);
}

// scan(fd, cursor, first, keys, values, limit) -> entries read; -1 - entries when those were the last.
// The cursor is bytes that only the kernel interprets (four of a hash, a key of an LPM trie); it is ignored when `first`
// is not 0.
static napi_value scan(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "ibibbi", &a)) return NULL;
  if (a.length[1] < 4) return fail(env, EFAULT, "scan");
  uint8_t next[64] = {0};
  size_t length = a.length[1] < sizeof next ? a.length[1] : sizeof next;
  union bpf_attr attr = {.batch = {.in_batch = a.number[2] ? 0 : (uint64_t)(uintptr_t)a.bytes[1],
                                   .out_batch = (uint64_t)(uintptr_t)next,
                                   .keys = (uint64_t)(uintptr_t)a.bytes[3],
                                   .values = (uint64_t)(uintptr_t)a.bytes[4],
                                   .count = (uint32_t)a.number[5],
                                   .map_fd = (uint32_t)a.number[0]}};
  int status = bpf(BPF_MAP_LOOKUP_BATCH, &attr);
  if (status < 0 && errno != ENOENT) return fail(env, errno, "BPF_MAP_LOOKUP_BATCH");
  if (status == 0) memcpy(a.bytes[1], next, length);
  int32_t count = (int32_t)attr.batch.count;
  return number(env, status < 0 ? -1 - count : count);
}

static void unmap(napi_env env, void *memory, void *length) {
  (void)env;
  munmap(memory, (size_t)(uintptr_t)length);
}

// map(fd, bytes) -> Uint8Array over the memory of an array map, which the kernel shares.
static napi_value map_memory(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "ii", &a)) return NULL;
  size_t length = (size_t)a.number[1];
  void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, a.number[0], 0);
  if (memory == MAP_FAILED) return fail(env, errno, "mmap");
  napi_value buffer, result;
  if (napi_create_external_arraybuffer(env, memory, length, unmap, (void *)(uintptr_t)length, &buffer) != napi_ok) {
    munmap(memory, length);
    return fail(env, ENOMEM, "mmap");
  }
  napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result);
  return result;
}

// testRun(fd, in, out, context, repeat) -> the hook's verdict. `context` is a struct __sk_buff, changed in place; its
// first 8 bytes return the length of the packet in `out` and the nanoseconds of a run.
static napi_value test_run(napi_env env, napi_callback_info info) {
  taken a;
  if (!take(env, info, "ibbbi", &a)) return NULL;
  if (a.length[3] < sizeof(struct __sk_buff)) return fail(env, EFAULT, "testRun");
  struct __sk_buff context;
  memcpy(&context, a.bytes[3], sizeof context);
  union bpf_attr attr = {.test = {.prog_fd = (uint32_t)a.number[0],
                                  .data_in = (uint64_t)(uintptr_t)a.bytes[1],
                                  .data_size_in = (uint32_t)a.length[1],
                                  .data_out = (uint64_t)(uintptr_t)a.bytes[2],
                                  .data_size_out = (uint32_t)a.length[2],
                                  .ctx_in = (uint64_t)(uintptr_t)&context,
                                  .ctx_size_in = sizeof context,
                                  .repeat = (uint32_t)a.number[4]}};
  if (bpf(BPF_PROG_TEST_RUN, &attr) < 0) return fail(env, errno, "BPF_PROG_TEST_RUN");
  uint32_t words[] = {attr.test.data_size_out, attr.test.duration};
  memcpy(a.bytes[3], words, sizeof words);
  return number(env, (int32_t)attr.test.retval);
}

NAPI_MODULE_INIT() {
  static const struct { const char *name; napi_callback function; } table[] = {
      {"createMap", create_map}, {"pin", pin},       {"get", get},       {"close", close_fd}, {"mapShape", map_shape},
      {"update", update},        {"remove", remove_keys}, {"lookup", lookup}, {"scan", scan}, {"testRun", test_run}, {"map", map_memory},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    napi_value function;
    napi_create_function(env, table[i].name, NAPI_AUTO_LENGTH, table[i].function, NULL, &function);
    napi_set_named_property(env, exports, table[i].name, function);
  }
  return exports;
}
