// SPDX-License-Identifier: MIT
//
// Transfers in both directions at the same time, each with its own content, and their results.
#pragma once
#include "load-stream.h"

typedef struct { uint64_t ok, resets, wrong, unclean, left, opening, begun, established; } outcome;

static void finish(stream *s, outcome *o) {
  close(s->fd);
  s->fd = -1;
  o->left--;
}

static void transfer_event(int epoll, stream *s, uint32_t events, outcome *o) {
  if (s->opening) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    o->opening--;
    s->opening = false;
    if (error != 0 || send(s->fd, &s->ask, sizeof s->ask, MSG_NOSIGNAL) != sizeof s->ask) {
      o->resets++;
      return finish(s, o);
    }
    o->established++;
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    for (int k = 0; k < 16; k++) {
      ssize_t got = recv(s->fd, buffer, sizeof buffer, 0);
      if (got < 0 && errno == EAGAIN) break;
      if (got < 0) {
        o->resets++;
        return finish(s, o);
      }
      if (got == 0) {
        bool whole = s->received == s->ask.b + 1 && s->shut;
        if (s->wrong) o->wrong++;
        else if (!whole) o->unclean++;
        else o->ok++;
        return finish(s, o);
      }
      uint64_t before = s->received;
      check_content(s, buffer, (size_t)got, 0);
      if (before + (uint64_t)got > s->ask.b && buffer[s->ask.b - before] != 'k') s->wrong = true;
    }
  }
  if (s->shut) return;
  if (!send_content(s, 1)) {
    o->resets++;
    return finish(s, o);
  }
  if (s->sent < s->ask.b) return;
  shutdown(s->fd, SHUT_WR);
  s->shut = true;
  watch(epoll, s, EPOLLIN, EPOLL_CTL_MOD);
}

// Asks the server for the results of the transfers since the last query.
static void ask_server(const address *to, uint64_t words[3]) {
  request ask = {.op = 'Q'};
  int fd = socket(to->any.sa_family, SOCK_STREAM, 0);
  if (connect(fd, &to->any, size_of(to)) < 0) die("connect");
  if (send(fd, &ask, sizeof ask, 0) < 0 || recv(fd, words, 24, MSG_WAITALL) != 24) die("the server's account");
  close(fd);
}

static int many(const address *to, int count, uint64_t bytes, uint32_t rate, uint64_t deadline_ms) {
  int epoll = epoll_create1(0);
  stream *all = calloc((size_t)count, sizeof *all);
  uint64_t words[3], began = now_ns(), deadline = began + deadline_ms * MS, total = 0;
  outcome o = {.left = (uint64_t)count};
  bool told = false;
  ask_server(to, words);
  while (o.left > 0 && now_ns() < deadline) {
    while (o.begun < (uint64_t)count && o.opening < OPENING_AT_ONCE) {
      stream *s = &all[o.begun];
      s->ask = (request){.op = 'T', .a = (uint32_t)o.begun, .b = o.begun & 1 ? 2 * bytes : bytes, .rate = rate};
      total += 2 * s->ask.b;
      s->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
      if (s->fd < 0) die("socket");
      if (rate) setsockopt(s->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate);
      if (connect(s->fd, &to->any, size_of(to)) < 0 && errno != EINPROGRESS) die("connect");
      s->opening = true;
      watch(epoll, s, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
      o.begun++;
      o.opening++;
    }
    if (!told && o.established == (uint64_t)count) {
      puts("{\"established\":true}");
      fflush(stdout);
      told = true;
    }
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, 100);
    for (int i = 0; i < n; i++) transfer_event(epoll, events[i].data.ptr, events[i].events, &o);
  }
  // A transfer that never ended did not end cleanly.
  o.unclean += o.left;
  uint64_t lost = 0;
  for (int i = 0; i < count; i++)
    if (all[i].received < all[i].ask.b) lost += all[i].ask.b - all[i].received;
  double seconds = (double)(now_ns() - began) / 1e9;
  // The last connections' ends are still under way.
  uint64_t errors = 0;
  for (int k = 0; k < 50; k++) {
    usleep(20000);
    ask_server(to, words);
    errors += words[0];
    if (words[1] == 0) break;
  }
  printf("{\"ok\":%lu,\"resets\":%lu,\"wrong\":%lu,\"unclean\":%lu,\"lost\":%lu,\"serverErrors\":%lu,"
         "\"serverOpen\":%lu,\"seconds\":%.3f,\"bytes\":%lu}\n",
         o.ok, o.resets, o.wrong, o.unclean, lost, errors, words[1], seconds, total);
  return 0;
}
