// SPDX-License-Identifier: MIT
//
// Load for the bench, server and clients. Streams use one thread and epoll, so that more flows do not need more
// threads; bytes are counted where they arrive.
//
//   load serve ADDRESS PORT
//   load down|up ADDRESS PORT FLOWS WARM_MS MEASURE_MS
//   load crr ADDRESS PORT CLIENTS WARM_MS MEASURE_MS       connect, one byte in each direction, close
//   load many ADDRESS PORT COUNT BYTES RATE DEADLINE_MS    both directions at once, content checked by position;
//                                                          odd transfers are twice as long
//   load hold ADDRESS PORT                                 one connection, until it is ended
//
// A client prints one JSON object per line. Times are in milliseconds, RATE in bytes a second (0: no limit).
#define _GNU_SOURCE
#include "load-clients.h"
#include "load-server.h"
#include "load-transfers.h"

static _Noreturn void hold(const address *to) {
  int fd = socket(to->any.sa_family, SOCK_STREAM, 0), on = 1, off = -1;
  if (connect(fd, &to->any, size_of(to)) < 0) die("connect");
  address own;
  socklen_t size = sizeof own, word = sizeof(uint32_t);
  getsockname(fd, &own.any, &size);
  // The sequence numbers, so that connection tracking accepts a packet that the bench makes.
  uint32_t queue, next[2];
  if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) < 0) die("TCP_REPAIR");
  for (int k = 0; k < 2; k++) {
    queue = k == 0 ? 2 : 1;  // TCP_SEND_QUEUE, TCP_RECV_QUEUE
    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue);
    if (getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &next[k], &word) < 0) die("TCP_QUEUE_SEQ");
  }
  setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off);
  printf("{\"port\":%u,\"seq\":%u,\"ack\":%u}\n", ntohs(own.v4.sin_port), next[0], next[1]);
  fflush(stdout);
  for (;;) pause();
}

int main(int argc, char **argv) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGPIPE, SIG_IGN);
  if (argc < 4) return 2;
  const char *what = argv[1];
  if (strcmp(what, "serve") == 0) serve(argv + 2);
  address to = address_of(argv + 2);
  if (strcmp(what, "hold") == 0) hold(&to);
  if (argc < 7) return 2;
  int count = atoi(argv[4]);
  uint64_t first = strtoull(argv[5], NULL, 10), second = strtoull(argv[6], NULL, 10);
  if (strcmp(what, "down") == 0) return down(&to, count, first, second);
  if (strcmp(what, "up") == 0) return up(&to, count, first, second);
  if (strcmp(what, "crr") == 0) return crr(&to, count, first, second);
  if (strcmp(what, "many") == 0 && argc == 8) return many(&to, count, first, (uint32_t)second, strtoull(argv[7], NULL, 10));
  return 2;
}
