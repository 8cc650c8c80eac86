// SPDX-License-Identifier: MIT
#pragma once
#include <node_api.h>

napi_value open_tun(napi_env env, napi_callback_info info);
napi_value close_fd(napi_env env, napi_callback_info info);
napi_value read_batch(napi_env env, napi_callback_info info);
napi_value write_batch(napi_env env, napi_callback_info info);
napi_value write_memory(napi_env env, napi_callback_info info);
