// SPDX-License-Identifier: MIT
//
// The interface ioctls, and the network namespace of the calling thread.
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include "interfaces.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"

// interfaceSet(name, what, value): mtu | up | queueLength as numbers; ipv4 | ipv6 as ADDRESS/PREFIX.
napi_value interface_set(napi_env env, napi_callback_info info) {
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
napi_value interface_get(napi_env env, napi_callback_info info) {
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

// setns(path): moves the calling thread to that network namespace. A socket stays in the namespace in which it was
// made.
napi_value set_namespace(napi_env env, napi_callback_info info) {
  napi_value args[1];
  char path[256];
  if (!arguments(env, info, 1, args) || !text_argument(env, args[0], path, sizeof path)) return NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(env, errno, path);
  int status = setns(fd, CLONE_NEWNET), error = errno;
  close(fd);
  return status < 0 ? fail(env, error, "setns") : NULL;
}
