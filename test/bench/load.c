// SPDX-License-Identifier: MIT
//
// Load for the bench, server and clients. One thread and epoll where streams are carried, so that a flow more
// costs no thread more; figures are taken where the bytes arrive.
//
//   load serve ADDRESS PORT
//   load down|up ADDRESS PORT FLOWS WARM_MS MEASURE_MS
//   load crr ADDRESS PORT CLIENTS WARM_MS MEASURE_MS       connect, one byte each way, close
//   load many ADDRESS PORT COUNT BYTES RATE DEADLINE_MS    both ways at once, content checked by position;
//                                                          odd transfers are twice as long
//   load hold ADDRESS PORT                                 one connection, until it is ended
//
// A client prints one JSON object per line. Times are in milliseconds, RATE in bytes a second (0: as it goes).
#define _GNU_SOURCE
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

// What a client asks for, its first bytes. A crr client sends the first one only.
typedef struct __attribute__((packed)) {
  char op;      // R, D, U, T, or Q: what became of the T's
  uint32_t a;   // D: ms to send; U: ms before the window; T: id
  uint64_t b;   // U: ms of the window; T: bytes each way
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

static struct sockaddr_in address_of(char **argv) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  if (inet_pton(AF_INET, argv[0], &to.sin_addr) != 1) die(argv[0]);
  return to;
}

static void watch(int epoll, stream *s, uint32_t events, int how) {
  struct epoll_event e = {.events = events, .data.ptr = s};
  if (epoll_ctl(epoll, how, s->fd, &e) < 0) die("epoll_ctl");
}

// The bytes at positions `at` … of transfer `id`, one way.
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

// Sends what there is of a transfer; the two ways differ by the id's lowest bit. False: the stream broke.
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

// ---- server --------------------------------------------------------------------------------------------------

static void leave(stream *s, bool clean) {
  if (s->ask.op == 'T' && s->asked > 0) {
    transfers.open--;
    if (!clean) transfers.errors++;
  }
  close(s->fd);
  free(s);
}

// Whether the stream lives on.
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
      // A transfer's client says first that it has sent all; ours may still be on its way.
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
  struct sockaddr_in at = address_of(argv);
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0) die("bind");
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

// ---- clients -------------------------------------------------------------------------------------------------

static stream *open_streams(int epoll, const struct sockaddr_in *to, int count, const request *ask) {
  stream *all = calloc((size_t)count, sizeof *all);
  for (int i = 0; i < count; i++) {
    stream *s = &all[i];
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s->fd, (const struct sockaddr *)to, sizeof *to) < 0) die("connect");
    if (send(s->fd, ask, sizeof *ask, MSG_NOSIGNAL) != sizeof *ask) die("send");
    s->ask = *ask;
    struct epoll_event e = {.events = ask->op == 'D' ? EPOLLIN : EPOLLOUT, .data.ptr = s};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e) < 0) die("epoll_ctl");
  }
  return all;
}

static int down(const struct sockaddr_in *to, int flows, uint64_t warm, uint64_t measure) {
  int epoll = epoll_create1(0), left = flows;
  // A little more than the window, whose end the last stream to begin still fills.
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

static int up(const struct sockaddr_in *to, int flows, uint64_t warm, uint64_t measure) {
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
  struct sockaddr_in to;
  uint64_t from, until;
} round_of;

typedef struct { uint64_t count, failed; } tally;

static void *crr_client(void *out) {
  tally *mine = out;
  struct timeval patience = {.tv_sec = 5};
  for (;;) {
    uint64_t begun = now_ns();
    if (begun >= round_of.until) return NULL;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte[8];
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool good = connect(fd, (struct sockaddr *)&round_of.to, sizeof round_of.to) == 0 &&
                send(fd, "R", 1, MSG_NOSIGNAL) == 1 && recv(fd, byte, sizeof byte, 0) == 1 &&
                recv(fd, byte, sizeof byte, 0) == 0;
    close(fd);
    if (!good) mine->failed++;
    else if (begun >= round_of.from && now_ns() < round_of.until) mine->count++;
  }
}

static int crr(const struct sockaddr_in *to, int clients, uint64_t warm, uint64_t measure) {
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

// What the server says of the transfers since it was last asked.
static void ask_server(const struct sockaddr_in *to, uint64_t words[3]) {
  request ask = {.op = 'Q'};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0) die("connect");
  if (send(fd, &ask, sizeof ask, 0) < 0 || recv(fd, words, 24, MSG_WAITALL) != 24) die("the server's account");
  close(fd);
}

static int many(const struct sockaddr_in *to, int count, uint64_t bytes, uint32_t rate, uint64_t deadline_ms) {
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
      s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      if (s->fd < 0) die("socket");
      if (rate) setsockopt(s->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate);
      if (connect(s->fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) die("connect");
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
  // What never ended did not end cleanly.
  o.unclean += o.left;
  uint64_t lost = 0;
  for (int i = 0; i < count; i++)
    if (all[i].received < all[i].ask.b) lost += all[i].ask.b - all[i].received;
  double seconds = (double)(now_ns() - began) / 1e9;
  // The last ends are on their way.
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

static int hold(const struct sockaddr_in *to) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, off = -1;
  if (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0) die("connect");
  struct sockaddr_in own;
  socklen_t size = sizeof own, word = sizeof(uint32_t);
  getsockname(fd, (struct sockaddr *)&own, &size);
  // Where the sequence stands, so that a packet made by hand is one that connection tracking believes.
  uint32_t queue, next[2];
  if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) < 0) die("TCP_REPAIR");
  for (int k = 0; k < 2; k++) {
    queue = k == 0 ? 2 : 1;  // TCP_SEND_QUEUE, TCP_RECV_QUEUE
    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue);
    if (getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &next[k], &word) < 0) die("TCP_QUEUE_SEQ");
  }
  setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off);
  printf("{\"port\":%u,\"seq\":%u,\"ack\":%u}\n", ntohs(own.sin_port), next[0], next[1]);
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
  struct sockaddr_in to = address_of(argv + 2);
  if (strcmp(what, "hold") == 0) return hold(&to);
  if (argc < 7) return 2;
  int count = atoi(argv[4]);
  uint64_t first = strtoull(argv[5], NULL, 10), second = strtoull(argv[6], NULL, 10);
  if (strcmp(what, "down") == 0) return down(&to, count, first, second);
  if (strcmp(what, "up") == 0) return up(&to, count, first, second);
  if (strcmp(what, "crr") == 0) return crr(&to, count, first, second);
  if (strcmp(what, "many") == 0 && argc == 8) return many(&to, count, first, (uint32_t)second, strtoull(argv[7], NULL, 10));
  return 2;
}
