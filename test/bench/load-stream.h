// SPDX-License-Identifier: MIT
//
// What both sides of a load share: a stream, its request, and content that is checked by position.
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, EVENTS = 512, OPENING_AT_ONCE = 256 };

// A client's request, which is its first bytes. A crr client sends only the first byte.
typedef struct __attribute__((packed)) {
  char op;      // R, D, U, T, or Q: the results of the T's
  uint32_t a;   // D: ms to send; U: ms before the window; T: id
  uint64_t b;   // U: ms of the window; T: bytes in each direction
  uint32_t rate;
} request;

typedef struct {
  int fd;
  request ask;
  size_t asked;
  uint64_t sent, received, counted, began, limit;
  uint32_t watched;
  bool opening, wrong, shut, ended, verdict;
  uint8_t answer[24];
  size_t answered;
} stream;

static uint8_t buffer[BUFFER], expected[BUFFER + 16];
static struct { uint64_t errors, open, wrong; } transfers;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#define MS 1000000ull

static void die(const char *what) {
  perror(what);
  exit(1);
}

typedef union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } address;

static socklen_t size_of(const address *a) { return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6; }

static address address_of(char **argv) {
  in_port_t port = htons((uint16_t)atoi(argv[1]));
  address v4 = {.v4 = {.sin_family = AF_INET, .sin_port = port}};
  if (inet_pton(AF_INET, argv[0], &v4.v4.sin_addr) == 1) return v4;
  address v6 = {.v6 = {.sin6_family = AF_INET6, .sin6_port = port}};
  if (inet_pton(AF_INET6, argv[0], &v6.v6.sin6_addr) != 1) die(argv[0]);
  return v6;
}

static void watch(int epoll, stream *s, uint32_t events, int how) {
  struct epoll_event e = {.events = events, .data.ptr = s};
  if (epoll_ctl(epoll, how, s->fd, &e) < 0) die("epoll_ctl");
}

// The bytes from position `at` of transfer `id`, in one direction.
static const uint8_t *content(uint32_t id, uint64_t at, size_t length) {
  uint64_t word = at >> 3;
  for (size_t k = 0; k < (length + (at & 7) + 7) / 8; k++, word++) {
    uint64_t w = (word + (uint64_t)id * 0xd1342543de82ef95ull) * 0x9e3779b97f4a7c15ull;
    w ^= w >> 29;
    memcpy(expected + 8 * k, &w, 8);
  }
  return expected + (at & 7);
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Sends the bytes of a transfer that fit; the two directions differ by the id's lowest bit. False: the stream broke.
static bool send_content(stream *s, uint32_t way) {
  while (s->sent < s->ask.b) {
    size_t want = least(s->ask.b - s->sent, 1 << 16);
    ssize_t put = send(s->fd, content(s->ask.a * 2 + way, s->sent, want), want, MSG_NOSIGNAL);
    if (put < 0) return errno == EAGAIN;
    s->sent += (uint64_t)put;
  }
  return true;
}

static void check_content(stream *s, const uint8_t *got, size_t length, uint32_t way) {
  size_t within = least(length, s->ask.b > s->received ? s->ask.b - s->received : 0);
  if (within > 0 && memcmp(content(s->ask.a * 2 + way, s->received, within), got, within) != 0) s->wrong = true;
  s->received += length;
}
