// SPDX-License-Identifier: MIT
//
// Asks the kernel for the TCP connections of this network namespace by state (sock_diag(7)). /proc/net/tcp would list
// those in TIME-WAIT too, which are tens of thousands. And hears what changes in it (netlink(7)).
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"

enum { ROOM = 1 << 16 };

static bool ask(int fd, uint8_t family, uint32_t states) {
  struct {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
  } request = {
      .head = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .body = {.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states},
  };
  return send(fd, &request, sizeof request, 0) == sizeof request;
}

// Reads the answer to its end. Returns 0 or an errno.
static int count_answer(int fd, void *buffer, const uint16_t *ports, size_t port_count, int32_t *count) {
  for (;;) {
    ssize_t got = recv(fd, buffer, ROOM, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    size_t left = (size_t)got;
    for (struct nlmsghdr *h = buffer; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
      if (h->nlmsg_type == NLMSG_DONE) return 0;
      if (h->nlmsg_type == NLMSG_ERROR) return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
      const struct inet_diag_msg *m = NLMSG_DATA(h);
      for (size_t k = 0; k < port_count; k++)
        if (ports[k] == ntohs(m->id.idiag_sport)) {
          ++*count;
          break;
        }
    }
  }
}

// countSockets(states, ports) -> the number of TCP sockets, IPv4 and IPv6, in one of these states (one bit each,
// numbered as the kernel does) on one of these local ports.
napi_value count_sockets(napi_env env, napi_callback_info info) {
  static const uint8_t families[] = {AF_INET, AF_INET6};
  napi_value args[2], result;
  int32_t states, count = 0;
  size_t port_count;
  if (!arguments(env, info, 2, args) || !int_argument(env, args[0], &states)) return NULL;
  const uint16_t *ports = array_argument(env, args[1], napi_uint16_array, &port_count);
  if (!ports && port_count > 0) return NULL;
  void *buffer = malloc(ROOM);
  if (!buffer) return fail(env, ENOMEM, "countSockets");
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), error = fd < 0 ? errno : 0;
  for (size_t k = 0; k < sizeof families && error == 0; k++)
    error = ask(fd, families[k], (uint32_t)states) ? count_answer(fd, buffer, ports, port_count, &count) : errno;
  if (fd >= 0) close(fd);
  free(buffer);
  if (error != 0) return fail(env, error, "NETLINK_SOCK_DIAG");
  napi_create_int32(env, count, &result);
  return result;
}

// openNetlink(protocol, groups) -> fd: a non-blocking socket that hears these multicast groups (one bit each).
napi_value open_netlink(napi_env env, napi_callback_info info) {
  napi_value args[2], result;
  int32_t protocol, groups;
  if (!arguments(env, info, 2, args) || !int_argument(env, args[0], &protocol) || !int_argument(env, args[1], &groups))
    return NULL;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (fd < 0) return fail(env, errno, "netlink");
  struct sockaddr_nl here = {.nl_family = AF_NETLINK, .nl_groups = (uint32_t)groups};
  if (bind(fd, (struct sockaddr *)&here, sizeof here) < 0) {
    int error = errno;
    close(fd);
    return fail(env, error, "netlink groups");
  }
  napi_create_int32(env, fd, &result);
  return result;
}
