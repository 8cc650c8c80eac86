// SPDX-License-Identifier: MIT
//
// Waits until this network namespace holds no TCP connection that nobody has opened yet (SYN-RECEIVED), and says when
// that was, by the machine's monotonic clock; or that it was not within MS milliseconds.
//
//   half-open MS   ->  {"noneAt": nanoseconds, "looks": how often it was asked} or {"noneAt": 0, ...}
#define _GNU_SOURCE
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_US = 500 };

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what) {
  perror(what);
  exit(1);
}

// How many the kernel tells of.
static uint64_t half_open(int fd) {
  struct {
    struct nlmsghdr head;
    struct inet_diag_req_v2 ask;
  } request = {
      .head = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .ask = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1 << TCP_SYN_RECV},
  };
  if (send(fd, &request, sizeof request, 0) < 0) die("send");
  static char buffer[1 << 16] __attribute__((aligned(NLMSG_ALIGNTO)));
  for (uint64_t found = 0;;) {
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0) die("recv");
    size_t left = (size_t)got;
    for (struct nlmsghdr *h = (struct nlmsghdr *)buffer; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
      if (h->nlmsg_type == NLMSG_DONE) return found;
      if (h->nlmsg_type == NLMSG_ERROR) {
        fputs("the kernel refuses to list its sockets\n", stderr);
        exit(1);
      }
      found++;
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const uint64_t until = now_ns() + strtoull(argv[1], NULL, 10) * 1000000;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) die("NETLINK_SOCK_DIAG");
  uint64_t looks = 0, none = 0;
  while (none == 0) {
    looks++;
    const bool empty = half_open(fd) == 0;
    const uint64_t now = now_ns();
    if (empty) none = now;
    else if (now > until) break;
    else usleep(PAUSE_US);
  }
  printf("{\"noneAt\":%lu,\"looks\":%lu}\n", none, looks);
  return 0;
}
