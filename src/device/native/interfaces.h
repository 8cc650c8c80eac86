// SPDX-License-Identifier: MIT
#pragma once
#include <node_api.h>

napi_value interface_set(napi_env env, napi_callback_info info);
napi_value interface_get(napi_env env, napi_callback_info info);
napi_value set_namespace(napi_env env, napi_callback_info info);
