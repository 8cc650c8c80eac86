// SPDX-License-Identifier: MIT
#pragma once
#include <node_api.h>

napi_value count_sockets(napi_env env, napi_callback_info info);
napi_value waiting_clients(napi_env env, napi_callback_info info);
napi_value open_netlink(napi_env env, napi_callback_info info);
