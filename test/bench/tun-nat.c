// SPDX-License-Identifier: MIT
//
// The gateway's work in configuration A on a TUN, in C: one service, one target. Batches of 64 in stages, checked
// headers, a table of flows with a seeded hash, their states and times, both checksums updated (RFC 1624), virtio
// headers, every packet counted by reason. With it the bench measures the cost of TypeScript.
//
//   tun-nat INTERFACE QUEUE SERVICE PORT TARGET PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, SLOT = 65536, HEADROOM = 64, VNET = 10, CAPACITY = 262144, SLOTS = 524288, KEY = 9 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
enum { OPEN, PASS, DROP };
enum { NEITHER, CLIENT, SERVER };
enum { FREE, RACING, OPENING, ESTABLISHED, CLOSING };
enum { PASS_OTHER, PASS_FRAGMENT, PASS_NO_FLOW, PASS_SYN, PASS_TO, PASS_FROM, DROP_MALFORMED, REASONS };
enum { CLIENT_FIN = 1, SERVER_FIN = 2 };

static const int32_t IDLE[] = {0, 2400, 2400, 74400, 2400};

static struct {
  uint32_t key[CAPACITY][KEY], hash[CAPACITY];
  int32_t index[SLOTS], expires[CAPACITY];
  uint8_t state[CAPACITY], marks[CAPACITY];
  uint32_t isn[CAPACITY], target[CAPACITY];
  uint16_t target_port[CAPACITY];
  int32_t free, hand;
} flows;

static struct {
  uint8_t *at[BATCH], *l4[BATCH];
  uint32_t length[BATCH];
  uint8_t verdict[BATCH], flags[BATCH], side[BATCH];
  int32_t flow[BATCH];
  int count;
} batch;

static uint8_t arena[BATCH][HEADROOM + SLOT];
static uint64_t counters[REASONS];
static uint32_t seed[2], service, target;
static uint16_t service_port, target_port;
static int32_t now_tick;

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static void put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, (uint16_t)(v >> 16)), put16(p + 2, (uint16_t)v); }

static void decide(int i, int verdict, int reason) {
  batch.verdict[i] = (uint8_t)verdict;
  counters[reason]++;
}

// ---- the table -----------------------------------------------------------------------------------------------

static uint32_t hash_of(const uint32_t *key) {
  uint32_t h = seed[0];
  for (int w = 0; w < KEY; w++) {
    uint32_t k = (key[w] ^ seed[1]) * 0xcc9e2d51u;
    h ^= (k << 15 | k >> 17) * 0x1b873593u;
    h = (h << 13 | h >> 19) * 5 + 0xe6546b64u;
  }
  h = (h ^ h >> 16) * 0x85ebca6bu;
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  return h ^ h >> 16;
}

static void key_of(uint32_t *key, uint32_t client, uint16_t port) {
  key[0] = key[1] = key[4] = key[5] = 0;
  key[2] = key[6] = 0xffff;
  key[3] = client;
  key[7] = service;
  key[8] = (uint32_t)port << 16 | service_port;
}

static int32_t find(const uint32_t *key) {
  uint32_t h = hash_of(key);
  for (uint32_t i = h & (SLOTS - 1);; i = (i + 1) & (SLOTS - 1)) {
    int32_t e = flows.index[i];
    if (e < 0) return -1;
    if (flows.hash[e] == h && memcmp(flows.key[e], key, sizeof flows.key[e]) == 0) return e;
  }
}

static int32_t insert(const uint32_t *key) {
  int32_t e = flows.free;
  if (e < 0) return -1;
  flows.free = (int32_t)flows.hash[e];
  memcpy(flows.key[e], key, sizeof flows.key[e]);
  uint32_t h = flows.hash[e] = hash_of(key), i = h & (SLOTS - 1);
  while (flows.index[i] >= 0) i = (i + 1) & (SLOTS - 1);
  flows.index[i] = e;
  flows.marks[e] = 0;
  return e;
}

static void drop_entry(int32_t e) {
  uint32_t i = flows.hash[e] & (SLOTS - 1);
  while (flows.index[i] != e) i = (i + 1) & (SLOTS - 1);
  uint32_t hole = i;
  for (uint32_t j = (i + 1) & (SLOTS - 1); flows.index[j] >= 0; j = (j + 1) & (SLOTS - 1)) {
    uint32_t home = flows.hash[flows.index[j]] & (SLOTS - 1);
    if (((j - home) & (SLOTS - 1)) >= ((j - hole) & (SLOTS - 1))) {
      flows.index[hole] = flows.index[j];
      hole = j;
    }
  }
  flows.index[hole] = -1;
  flows.state[e] = FREE;
  flows.hash[e] = (uint32_t)flows.free;
  flows.free = e;
}

static void enter(int32_t e, int state) {
  flows.state[e] = (uint8_t)state;
  flows.expires[e] = now_tick + IDLE[state];
}

static void sweep(void) {
  for (int k = 0; k < CAPACITY / 50; k++) {
    int32_t e = flows.hand;
    flows.hand = e + 1 == CAPACITY ? 0 : e + 1;
    if (flows.state[e] != FREE && now_tick - flows.expires[e] > 0) drop_entry(e);
  }
}

// ---- the stages ----------------------------------------------------------------------------------------------

static bool is_sound(const struct virtio_net_hdr *h, uint32_t length) {
  if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) return h->gso_type == VIRTIO_NET_HDR_GSO_NONE;
  return (uint32_t)h->csum_start + h->csum_offset + 2 <= length;
}

static void validate(void) {
  for (int i = 0; i < batch.count; i++) {
    const uint8_t *p = batch.at[i];
    if (p[0] >> 4 != 4) {
      decide(i, PASS, PASS_OTHER);
      continue;
    }
    uint32_t header = (uint32_t)(p[0] & 15) * 4, total = get16(p + 2);
    const struct virtio_net_hdr *h = (const void *)(p - VNET);
    if (batch.length[i] < 20 || header < 20 || total < header || total > batch.length[i] || !is_sound(h, total)) {
      decide(i, DROP, DROP_MALFORMED);
      continue;
    }
    batch.length[i] = total;
    if (get16(p + 6) & 0x3fff) {
      decide(i, PASS, PASS_FRAGMENT);
      continue;
    }
    if (p[9] != IPPROTO_TCP) {
      decide(i, PASS, PASS_OTHER);
      continue;
    }
    uint8_t *tcp = batch.l4[i] = batch.at[i] + header;
    bool misplaced = (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && (h->csum_start != header || h->csum_offset != 16);
    if (misplaced || total - header < 20 || tcp[12] >> 4 < 5 || (uint32_t)(tcp[12] >> 4) * 4 > total - header) {
      decide(i, DROP, DROP_MALFORMED);
      continue;
    }
    batch.flags[i] = tcp[13];
  }
}

static void find_flow(void) {
  for (int i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != OPEN) continue;
    const uint8_t *p = batch.at[i], *tcp = batch.l4[i];
    uint32_t key[KEY];
    if (get32(p + 16) == service && get16(tcp + 2) == service_port) {
      batch.side[i] = CLIENT;
      key_of(key, get32(p + 12), get16(tcp));
    } else if (get32(p + 12) == target && get16(tcp) == target_port) {
      batch.side[i] = SERVER;
      key_of(key, get32(p + 16), get16(tcp + 2));
    } else {
      decide(i, PASS, PASS_OTHER);
      continue;
    }
    batch.flow[i] = find(key);
    if (batch.side[i] != CLIENT || (tcp[13] & (SYN | ACK)) != SYN) continue;
    int32_t e = batch.flow[i];
    if (e >= 0 && flows.state[e] != CLOSING) continue;
    if (e >= 0) drop_entry(e);
    e = batch.flow[i] = insert(key);
    if (e < 0) continue;
    flows.isn[e] = get32(tcp + 4);
    flows.target[e] = target;
    flows.target_port[e] = target_port;
    enter(e, RACING);
  }
}

static uint16_t folded(uint32_t s) {
  s = (s & 0xffff) + (s >> 16);
  return (uint16_t)((s & 0xffff) + (s >> 16));
}

static uint32_t change32(uint32_t from, uint32_t to) {
  return (~from >> 16) + (~from & 0xffff) + (to >> 16) + (to & 0xffff);
}

// The field of an open checksum has the pseudo-header's sum, not complemented, without ports.
static void translate(int i, bool destination, uint32_t to, uint16_t to_port) {
  uint8_t *p = batch.at[i], *tcp = batch.l4[i], *address = p + (destination ? 16 : 12), *port = tcp + (destination ? 2 : 0);
  const struct virtio_net_hdr *h = (const void *)(p - VNET);
  uint32_t changed = change32(get32(address), to);
  if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) put16(tcp + 16, folded(get16(tcp + 16) + folded(changed)));
  else {
    uint32_t ports = (uint16_t)~get16(port) + (uint32_t)to_port;
    put16(tcp + 16, (uint16_t)~folded((uint16_t)~get16(tcp + 16) + folded(changed) + ports));
  }
  put16(p + 10, (uint16_t)~folded((uint16_t)~get16(p + 10) + folded(changed)));
  put32(address, to);
  put16(port, to_port);
}

static void advance(int32_t e, uint8_t flags, bool client) {
  int state = flows.state[e];
  if (flags & FIN) flows.marks[e] |= client ? CLIENT_FIN : SERVER_FIN;
  if ((flags & RST) || flows.marks[e] == (CLIENT_FIN | SERVER_FIN)) state = CLOSING;
  else if (state == OPENING && client) state = ESTABLISHED;
  enter(e, state);
}

static void carry(void) {
  for (int i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != OPEN) continue;
    int32_t e = batch.flow[i];
    if (e < 0) {
      decide(i, PASS, PASS_NO_FLOW);
      continue;
    }
    if (batch.side[i] == CLIENT) {
      bool syn = batch.flags[i] & SYN;
      if (!syn) advance(e, batch.flags[i], true);
      translate(i, true, flows.target[e], flows.target_port[e]);
      decide(i, PASS, syn ? PASS_SYN : PASS_TO);
    } else {
      if ((batch.flags[i] & (SYN | ACK)) == (SYN | ACK) && flows.state[e] == RACING) enter(e, OPENING);
      else advance(e, batch.flags[i], false);
      translate(i, false, service, service_port);
      decide(i, PASS, PASS_FROM);
    }
  }
}

// ---- the device ----------------------------------------------------------------------------------------------

static void must(int status, const char *what) {
  if (status >= 0) return;
  perror(what);
  exit(1);
}

static int open_tun(const char *name, int queue) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), size = VNET;
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  must(fd, "/dev/net/tun");
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  must(ioctl(fd, TUNSETIFF, &request), "TUNSETIFF");
  must(ioctl(fd, TUNSETVNETHDRSZ, &size), "TUNSETVNETHDRSZ");
  must(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN), "TUNSETOFFLOAD");
  int control = socket(AF_INET, SOCK_DGRAM, 0);
  request.ifr_qlen = queue;
  must(ioctl(control, SIOCSIFTXQLEN, &request), "SIOCSIFTXQLEN");
  request.ifr_mtu = 1500;
  must(ioctl(control, SIOCSIFMTU, &request), "SIOCSIFMTU");
  request.ifr_flags = IFF_UP;
  must(ioctl(control, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS");
  close(control);
  return fd;
}

static int run(int fd) {
  batch.count = 0;
  while (batch.count < BATCH) {
    uint8_t *at = arena[batch.count] + HEADROOM;
    ssize_t got = read(fd, at - VNET, SLOT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EAGAIN) must(-1, "read");
    if (got <= VNET) break;
    int i = batch.count++;
    batch.at[i] = at;
    batch.length[i] = (uint32_t)got - VNET;
    batch.verdict[i] = OPEN;
    batch.side[i] = NEITHER;
    batch.flow[i] = -1;
  }
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  now_tick = (int32_t)(t.tv_sec * 10 + t.tv_nsec / 100000000);
  validate();
  find_flow();
  carry();
  for (int i = 0; i < batch.count; i++)
    while (batch.verdict[i] == PASS && write(fd, batch.at[i] - VNET, batch.length[i] + VNET) < 0 && errno == EINTR) {}
  return batch.count;
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  service = ntohl(inet_addr(argv[3]));
  service_port = (uint16_t)atoi(argv[4]);
  target = ntohl(inet_addr(argv[5]));
  target_port = (uint16_t)atoi(argv[6]);
  if (getrandom(seed, sizeof seed, 0) != sizeof seed) return 1;
  memset(flows.index, -1, sizeof flows.index);
  for (int32_t e = 0; e < CAPACITY; e++) flows.hash[e] = e + 1 < CAPACITY ? (uint32_t)(e + 1) : UINT32_MAX;
  int fd = open_tun(argv[1], atoi(argv[2]));
  puts("ready");
  fflush(stdout);
  for (int32_t swept = 0;;) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, 100) > 0 && (ready.revents & POLLIN))
      while (run(fd) == BATCH) {}
    if (now_tick == swept) continue;
    swept = now_tick;
    sweep();
  }
}
