// SPDX-License-Identifier: MIT
//
// Functions that the addons share: reporting errors and reading arguments.
#pragma once
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline napi_value fail(napi_env env, int error, const char *what) {
  char message[512], code[32];
  const char *name = strerrorname_np(error);
  snprintf(code, sizeof code, "%s", name ? name : "UNKNOWN");
  snprintf(message, sizeof message, "%s: %s", what, strerror(error));
  napi_throw_error(env, code, message);
  return NULL;
}

static inline bool arguments(napi_env env, napi_callback_info info, size_t want, napi_value *out) {
  size_t count = want;
  if (napi_get_cb_info(env, info, &count, out, NULL, NULL) != napi_ok || count < want) {
    napi_throw_type_error(env, "ERR_MISSING_ARGS", "too few arguments");
    return false;
  }
  return true;
}

static inline bool int_argument(napi_env env, napi_value value, int32_t *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a number is expected");
  return false;
}

static inline bool text_argument(napi_env env, napi_value value, char *out, size_t size) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, out, size, &length) == napi_ok) return true;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a string is expected");
  return false;
}

// Returns the memory of a typed array of the given type, and sets `length` to its number of elements.
static inline void *array_argument(napi_env env, napi_value value, napi_typedarray_type want, size_t *length) {
  napi_typedarray_type type;
  void *memory;
  if (napi_get_typedarray_info(env, value, &type, length, &memory, NULL, NULL) == napi_ok && type == want)
    return memory;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a typed array is expected");
  return NULL;
}
