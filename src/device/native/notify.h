// SPDX-License-Identifier: MIT
// One datagram to the service manager's socket (sd_notify(3)); Node has no Unix datagram sockets.
#ifndef FIRSTACK_NOTIFY_H
#define FIRSTACK_NOTIFY_H

#include <node_api.h>

// notify(socket, text): the socket as $NOTIFY_SOCKET has it, '@' first for an abstract one. Never blocks.
napi_value notify(napi_env env, napi_callback_info info);

#endif
