// SPDX-License-Identifier: MIT
//
// Clients for streams in one direction, and for short connections: as many as possible in a window of time.
#pragma once
#include "load-stream.h"

static stream *open_streams(int epoll, const address *to, int count, const request *ask) {
  stream *all = calloc((size_t)count, sizeof *all);
  for (int i = 0; i < count; i++) {
    stream *s = &all[i];
    s->fd = socket(to->any.sa_family, SOCK_STREAM, 0);
    if (connect(s->fd, &to->any, size_of(to)) < 0) die("connect");
    if (send(s->fd, ask, sizeof *ask, MSG_NOSIGNAL) != sizeof *ask) die("send");
    s->ask = *ask;
    struct epoll_event e = {.events = ask->op == 'D' ? EPOLLIN : EPOLLOUT, .data.ptr = s};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e) < 0) die("epoll_ctl");
  }
  return all;
}

static int down(const address *to, int flows, uint64_t warm, uint64_t measure) {
  int epoll = epoll_create1(0), left = flows;
  // A little longer than the window, so that the stream that began last still fills the window's end.
  request ask = {.op = 'D', .a = (uint32_t)(warm + measure + 30)};
  open_streams(epoll, to, flows, &ask);
  uint64_t began = now_ns(), from = began + warm * MS, until = from + measure * MS, bytes = 0, total = 0;
  while (left > 0) {
    struct epoll_event events[64];
    int n = epoll_wait(epoll, events, 64, 10000);
    if (n == 0) die("no more bytes");
    for (int i = 0; i < n; i++) {
      stream *s = events[i].data.ptr;
      ssize_t got = recv(s->fd, buffer, sizeof buffer, MSG_DONTWAIT);
      uint64_t now = now_ns();
      if (got < 0 && errno == EAGAIN) continue;
      if (got < 0) die("recv");
      if (got == 0) {
        close(s->fd);
        left--;
        continue;
      }
      total += (uint64_t)got;
      if (now >= from && now < until) bytes += (uint64_t)got;
    }
  }
  printf("{\"bytes\":%lu,\"seconds\":%.6f,\"total\":%lu}\n", bytes, (double)measure / 1e3, total);
  return 0;
}

static int up(const address *to, int flows, uint64_t warm, uint64_t measure) {
  int epoll = epoll_create1(0), left = flows;
  request ask = {.op = 'U', .a = (uint32_t)warm, .b = measure};
  open_streams(epoll, to, flows, &ask);
  uint64_t until = now_ns() + (warm + measure + 30) * MS, bytes = 0, total = 0;
  while (left > 0) {
    struct epoll_event events[64];
    int n = epoll_wait(epoll, events, 64, 10000);
    if (n == 0) die("nothing moves");
    for (int i = 0; i < n; i++) {
      stream *s = events[i].data.ptr;
      if (!s->shut) {
        for (int k = 0; k < 4; k++)
          if (send(s->fd, buffer, sizeof buffer, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (errno == EAGAIN) break;
            die("send");
          }
        if (now_ns() < until) continue;
        shutdown(s->fd, SHUT_WR);
        s->shut = true;
        watch(epoll, s, EPOLLIN, EPOLL_CTL_MOD);
        continue;
      }
      ssize_t got = recv(s->fd, s->answer + s->answered, sizeof s->answer - s->answered, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) die("recv");
      if ((s->answered += (size_t)got) < sizeof s->answer) continue;
      uint64_t words[3];
      memcpy(words, s->answer, sizeof words);
      bytes += words[0];
      total += words[2];
      close(s->fd);
      left--;
    }
  }
  printf("{\"bytes\":%lu,\"seconds\":%.6f,\"total\":%lu}\n", bytes, (double)measure / 1e3, total);
  return 0;
}

static struct {
  address to;
  uint64_t from, until;
} round_of;

typedef struct { uint64_t count, failed; } tally;

static void *crr_client(void *out) {
  tally *mine = out;
  struct timeval patience = {.tv_sec = 5};
  for (;;) {
    uint64_t begun = now_ns();
    if (begun >= round_of.until) return NULL;
    int fd = socket(round_of.to.any.sa_family, SOCK_STREAM, 0);
    char byte[8];
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool good = connect(fd, &round_of.to.any, size_of(&round_of.to)) == 0 &&
                send(fd, "R", 1, MSG_NOSIGNAL) == 1 && recv(fd, byte, sizeof byte, 0) == 1 &&
                recv(fd, byte, sizeof byte, 0) == 0;
    close(fd);
    if (!good) mine->failed++;
    else if (begun >= round_of.from && now_ns() < round_of.until) mine->count++;
  }
}

static int crr(const address *to, int clients, uint64_t warm, uint64_t measure) {
  pthread_t threads[64];
  tally tallies[64] = {0}, all = {0};
  if (clients > 64) clients = 64;
  round_of.to = *to;
  round_of.from = now_ns() + warm * MS;
  round_of.until = round_of.from + measure * MS;
  for (int i = 0; i < clients; i++) pthread_create(&threads[i], NULL, crr_client, &tallies[i]);
  for (int i = 0; i < clients; i++) {
    pthread_join(threads[i], NULL);
    all.count += tallies[i].count;
    all.failed += tallies[i].failed;
  }
  printf("{\"count\":%lu,\"failed\":%lu,\"seconds\":%.6f,\"endedAt\":%lu}\n", all.count, all.failed,
         (double)measure / 1e3, now_ns());
  return 0;
}
