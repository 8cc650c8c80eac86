// SPDX-License-Identifier: MIT
//
// The server of every load: it does what the first bytes of a connection request.
#pragma once
#include "load-stream.h"

static void leave(stream *s, bool clean) {
  if (s->ask.op == 'T' && s->asked > 0) {
    transfers.open--;
    if (!clean) transfers.errors++;
  }
  close(s->fd);
  free(s);
}

// Whether the stream continues.
static bool serve_output(stream *s, uint64_t now) {
  static const uint8_t zeros[BUFFER];
  if (s->ask.op == 'D') {
    for (int k = 0; k < 8; k++) {
      if (now >= s->limit) return false;
      if (send(s->fd, zeros, sizeof zeros, MSG_NOSIGNAL) < 0) return errno == EAGAIN;
    }
    return true;
  }
  if (!send_content(s, 0)) return false;
  if (s->sent == s->ask.b && s->received >= s->ask.b && !s->verdict) {
    s->verdict = send(s->fd, s->wrong ? "x" : "k", 1, MSG_NOSIGNAL) == 1;
    transfers.wrong += s->wrong;
  }
  return true;
}

static bool begin(int epoll, stream *s, uint64_t now) {
  s->began = now;
  if (s->ask.op == 'Q') {
    uint64_t words[] = {transfers.errors, transfers.open, transfers.wrong};
    transfers.errors = transfers.wrong = 0;
    return send(s->fd, words, sizeof words, MSG_NOSIGNAL) == sizeof words;
  }
  if (s->ask.op == 'T') {
    transfers.open++;
    if (s->ask.rate) setsockopt(s->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &s->ask.rate, sizeof s->ask.rate);
  }
  s->limit = now + s->ask.a * MS;
  if (s->ask.op != 'U') watch(epoll, s, s->watched = EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  return true;
}

static bool serve_input(int epoll, stream *s, uint64_t now) {
  while (s->asked < sizeof s->ask) {
    ssize_t got = recv(s->fd, (char *)&s->ask + s->asked, sizeof s->ask - s->asked, 0);
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) return false;
    s->asked += (size_t)got;
    if (s->ask.op == 'R') {
      send(s->fd, "k", 1, MSG_NOSIGNAL);
      return false;
    }
    if (s->asked == sizeof s->ask && !begin(epoll, s, now)) return false;
  }
  for (int k = 0; k < 16; k++) {
    ssize_t got = recv(s->fd, buffer, sizeof buffer, 0);
    if (got < 0) {
      if (errno == EAGAIN) return true;
      s->wrong = true;
      return false;
    }
    if (got == 0) {
      s->ended = true;
      if (s->ask.op == 'U') {
        uint64_t words[] = {s->counted, s->ask.b, s->received};
        send(s->fd, words, sizeof words, MSG_NOSIGNAL);
      }
      // The client of a transfer first reports that it has sent everything; this side's bytes may still be under way.
      if (s->ask.op != 'T') return false;
      if (s->received < s->ask.b) s->wrong = true;
      return !s->verdict && !s->wrong;
    }
    if (s->ask.op == 'T') check_content(s, buffer, (size_t)got, 1);
    else {
      s->received += (uint64_t)got;
      if (now >= s->limit && now < s->limit + s->ask.b * MS) s->counted += (uint64_t)got;
    }
    if (k == 7) now = now_ns();
  }
  return true;
}

static _Noreturn void serve(char **argv) {
  address at = address_of(argv);
  int one = 1, listener = socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, &at.any, size_of(&at)) < 0) die("bind");
  if (listen(listener, 65535) < 0) die("listen");
  stream door = {.fd = listener};
  watch(epoll, &door, EPOLLIN, EPOLL_CTL_ADD);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    uint64_t now = now_ns();
    for (int i = 0; i < n; i++) {
      stream *s = events[i].data.ptr;
      if (s == &door) {
        for (int k = 0; k < 64; k++) {
          int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
          if (fd < 0) break;
          stream *fresh = calloc(1, sizeof *fresh);
          fresh->fd = fd;
          watch(epoll, fresh, EPOLLIN, EPOLL_CTL_ADD);
        }
        continue;
      }
      bool lives = true;
      if (!s->ended && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) lives = serve_input(epoll, s, now);
      if (lives && s->asked == sizeof s->ask && s->ask.op != 'U') lives = serve_output(s, now);
      if (lives && s->ask.op == 'T' && s->asked == sizeof s->ask) {
        bool done = s->sent == s->ask.b && (s->verdict || s->received < s->ask.b);
        uint32_t want = (s->ended ? 0u : EPOLLIN) | (done ? 0u : EPOLLOUT);
        if (s->ended && s->verdict) lives = false;
        else if (want != s->watched) watch(epoll, s, s->watched = want, EPOLL_CTL_MOD);
      }
      if (!lives) leave(s, s->verdict && s->ended && !s->wrong);
    }
  }
}
