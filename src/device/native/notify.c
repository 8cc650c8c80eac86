// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static napi_value refuse(napi_env env, int error) {
  napi_throw_error(env, strerrorname_np(error), strerror(error));
  return NULL;
}

napi_value notify(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t count = 2, path, length;
  char text[1024];
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  if (napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok || count < 2 ||
      napi_get_value_string_utf8(env, args[0], to.sun_path, sizeof to.sun_path, &path) != napi_ok ||
      napi_get_value_string_utf8(env, args[1], text, sizeof text, &length) != napi_ok)
    return refuse(env, EINVAL);
  // The system call would truncate a longer path. sd_notify(3) allows only absolute paths and abstract names.
  if (path == 0 || path == sizeof to.sun_path - 1 || (to.sun_path[0] != '/' && to.sun_path[0] != '@'))
    return refuse(env, EINVAL);
  if (to.sun_path[0] == '@') to.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return refuse(env, errno);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path);
  ssize_t sent = sendto(fd, text, length, MSG_NOSIGNAL, (struct sockaddr *)&to, size);
  int error = errno;
  close(fd);
  return sent < 0 ? refuse(env, error) : NULL;
}
