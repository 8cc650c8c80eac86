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
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"

enum { ROOM = 1 << 16 };

// What is found: the number of sockets; and, where there is room for it, of each whose client waits the low word of the
// kernel's name for it, and for how long, ms.
struct found {
  int32_t sockets, waiting, room;
  int32_t *waits;
};

static bool ask(int fd, uint8_t family, uint32_t states, bool with_info) {
  struct {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
  } request = {
      .head = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .body = {.sdiag_family = family,
               .sdiag_protocol = IPPROTO_TCP,
               .idiag_ext = with_info ? 1 << (INET_DIAG_INFO - 1) : 0,
               .idiag_states = states},
  };
  return send(fd, &request, sizeof request, 0) == sizeof request;
}

// Since when the client of a connection waits for the first byte that answers it, ms; -1 where it does not.
static int64_t waiting_ms(const struct nlmsghdr *h) {
  const char *at = (const char *)NLMSG_DATA(h) + NLMSG_ALIGN(sizeof(struct inet_diag_msg));
  const char *end = (const char *)h + h->nlmsg_len;
  while (at + sizeof(struct nlattr) <= end) {
    const struct nlattr *attribute = (const void *)at;
    if (attribute->nla_len < sizeof *attribute) return -1;
    if (attribute->nla_type == INET_DIAG_INFO) {
      struct tcp_info i = {};
      size_t length = attribute->nla_len - NLA_HDRLEN;
      memcpy(&i, at + NLA_HDRLEN, length < sizeof i ? length : sizeof i);
      // The last time that data was sent is the connection's beginning while none was.
      bool waits = i.tcpi_bytes_received > 0 && (i.tcpi_bytes_sent == 0 || i.tcpi_last_data_recv < i.tcpi_last_data_sent);
      return waits ? (int64_t)i.tcpi_last_data_recv : -1;
    }
    at += NLMSG_ALIGN(attribute->nla_len);
  }
  return -1;
}

// Reads the answer to its end. Returns 0 or an errno.
static int count_answer(int fd, void *buffer, const uint16_t *ports, size_t port_count, struct found *found) {
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
          found->sockets++;
          int64_t waited = found->waiting < found->room ? waiting_ms(h) : -1;
          if (waited >= 0) {
            found->waits[2 * found->waiting] = (int32_t)m->id.idiag_cookie[0];
            found->waits[2 * found->waiting++ + 1] = waited > INT32_MAX ? INT32_MAX : (int32_t)waited;
          }
          break;
        }
    }
  }
}

// Counts the TCP sockets, IPv4 and IPv6, in one of these states (one bit each, numbered as the kernel does) on one of these
// local ports. Returns 0 or an errno.
static int count_all(uint32_t states, const uint16_t *ports, size_t port_count, struct found *found) {
  static const uint8_t families[] = {AF_INET, AF_INET6};
  void *buffer = malloc(ROOM);
  if (!buffer) return ENOMEM;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), error = fd < 0 ? errno : 0;
  for (size_t k = 0; k < sizeof families && error == 0; k++)
    error = ask(fd, families[k], states, found->room > 0) ? count_answer(fd, buffer, ports, port_count, found) : errno;
  if (fd >= 0) close(fd);
  free(buffer);
  return error;
}

// countSockets(states, ports) -> their number.
napi_value count_sockets(napi_env env, napi_callback_info info) {
  napi_value args[2], result;
  int32_t states;
  struct found found = {};
  size_t port_count;
  if (!arguments(env, info, 2, args) || !int_argument(env, args[0], &states)) return NULL;
  const uint16_t *ports = array_argument(env, args[1], napi_uint16_array, &port_count);
  if (!ports && port_count > 0) return NULL;
  int error = count_all((uint32_t)states, ports, port_count, &found);
  if (error != 0) return fail(env, error, "NETLINK_SOCK_DIAG");
  napi_create_int32(env, found.sockets, &result);
  return result;
}

// waitingClients(states, ports, out) -> how many of these sockets' clients wait; of each `out` gets two words.
napi_value waiting_clients(napi_env env, napi_callback_info info) {
  napi_value args[3], result;
  int32_t states;
  size_t port_count, out_count;
  if (!arguments(env, info, 3, args) || !int_argument(env, args[0], &states)) return NULL;
  const uint16_t *ports = array_argument(env, args[1], napi_uint16_array, &port_count);
  int32_t *out = array_argument(env, args[2], napi_int32_array, &out_count);
  if ((!ports && port_count > 0) || !out) return NULL;
  struct found found = {.room = (int32_t)(out_count / 2), .waits = out};
  int error = count_all((uint32_t)states, ports, port_count, &found);
  if (error != 0) return fail(env, error, "NETLINK_SOCK_DIAG");
  napi_create_int32(env, found.waiting, &result);
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
