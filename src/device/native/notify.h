// SPDX-License-Identifier: MIT
// Sends one datagram to the service manager's socket (sd_notify(3)), because Node has no Unix datagram sockets.
#ifndef FIRSTACK_NOTIFY_H
#define FIRSTACK_NOTIFY_H

#include <node_api.h>

// notify(socket, text): the socket is given as in $NOTIFY_SOCKET, with a leading '@' for an abstract one. Never
// blocks.
napi_value notify(napi_env env, napi_callback_info info);

#endif
