// SPDX-License-Identifier: MIT
//
// Segmentation of encapsulated packets, and coalescing of decapsulated ones: the kernel's GSO and GRO do this only
// for packets that a virtio header can describe. From top to bottom: sums, segmentation, runs of segments, the batch.
//
// One's complement sums do not depend on byte order (RFC 1071, 2 B). So all sums are formed over words in memory
// order, and numbers that are added to them go through htons.
#include "segment.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <string.h>

enum { IP_HEADER = 20, TCP_HEADER = 20, MAX_HEADER = 60, PROTO_IPIP = 4, PROTO_TCP = 6, TCP_CHECK = 16 };
enum { V4_TOS = 1, V4_TOTAL = 2, V4_ID = 4, V4_FRAGMENT = 6, V4_TTL = 8, V4_PROTO = 9, V4_CHECK = 10, V4_SADDR = 12 };
enum { TCP_SEQ = 4, TCP_ACK = 8, TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_WINDOW = 14, TCP_URGENT = 18 };
enum { V6_HEADER = 40, V6_PAYLOAD = 4, V6_NEXT = 6, PROTO_IPV6 = 41 };
enum { FIN = 1, PSH = 8, ACK = 16, CWR = 128 };
enum { DONT_FRAGMENT = 0x4000, IS_FRAGMENT = 0x3fff, MAX_TOTAL = 65535 };

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static void put16(uint8_t *p, uint32_t value) {
  p[0] = (uint8_t)(value >> 8);
  p[1] = (uint8_t)value;
}
static void put32(uint8_t *p, uint32_t value) {
  put16(p, value >> 16);
  put16(p + 2, value);
}
static uint64_t load64(const uint8_t *p) {
  uint64_t x;
  memcpy(&x, p, 8);
  return x;
}
static uint32_t load32(const uint8_t *p) {
  uint32_t x;
  memcpy(&x, p, 4);
  return x;
}
static uint16_t load16(const uint8_t *p) {
  uint16_t x;
  memcpy(&x, p, 2);
  return x;
}
static void store16(uint8_t *p, uint16_t x) { memcpy(p, &x, 2); }

// ---- sums (RFC 1071) -----------------------------------------------------------------------------------

// Adds with end-around carry: 64 bits are four words of a sum at once.
static uint64_t add64(uint64_t a, uint64_t b) {
  a += b;
  return a + (a < b);
}

// Adds the sum of `n` bytes to `s`. `p` must stand at an even offset of the bytes that are summed.
static uint64_t sum(const uint8_t *p, size_t n, uint64_t s) {
  uint64_t t = 0;
  for (; n >= 64; p += 64, n -= 64) {
    // Two independent chains, so that an addition in one does not wait for the carry of the other.
    s = add64(add64(add64(add64(s, load64(p)), load64(p + 8)), load64(p + 16)), load64(p + 24));
    t = add64(add64(add64(add64(t, load64(p + 32)), load64(p + 40)), load64(p + 48)), load64(p + 56));
  }
  for (; n >= 8; p += 8, n -= 8) s = add64(s, load64(p));
  if (n >= 4) { s = add64(s, load32(p)); p += 4; n -= 4; }
  if (n >= 2) { s = add64(s, load16(p)); p += 2; n -= 2; }
  if (n == 1) {
    uint8_t last[2] = {*p, 0};
    s = add64(s, load16(last));
  }
  return add64(s, t);
}

static uint16_t fold(uint64_t s) {
  s = (s & 0xffffffff) + (s >> 32);
  s = (s & 0xffffffff) + (s >> 32);
  s = (s & 0xffff) + (s >> 16);
  s = (s & 0xffff) + (s >> 16);
  return (uint16_t)s;
}

// The sum of the pseudo header of `length` bytes of TCP (RFC 9293, 3.1).
static uint64_t pseudo_header(const uint8_t *ip, uint32_t length) {
  return sum(ip + V4_SADDR, 8, (uint64_t)htons(PROTO_TCP) + htons((uint16_t)length));
}

// Whether two sums are equal as checksums: 0 and 0xffff both mean zero.
static bool equal_sums(uint16_t a, uint16_t b) { return a % 0xffff == b % 0xffff; }

// ---- segmentation ----------------------------------------------------------------------------------------

static struct virtio_net_hdr virtio_of(const uint8_t *packet) {
  struct virtio_net_hdr v;
  memcpy(&v, packet - VNET_HEADER, sizeof v);
  return v;
}

static bool is_encapsulated_gso(const uint8_t *packet, size_t length) {
  return packet[-VNET_HEADER + 1] != VIRTIO_NET_HDR_GSO_NONE && length >= IP_HEADER && packet[0] == 0x45 &&
         packet[V4_PROTO] == PROTO_IPIP;
}

// Writes the total length, the id and the checksum into an IP header, which differ from segment to segment. `rest` is
// the sum over the header with these three fields 0.
static void finish_ip(uint8_t *ip, uint64_t rest, uint32_t total, uint32_t id) {
  put16(ip + V4_TOTAL, total);
  put16(ip + V4_ID, id);
  store16(ip + V4_CHECK, (uint16_t)~fold(rest + load16(ip + V4_TOTAL) + load16(ip + V4_ID)));
}

// Clears the fields that `finish_ip` writes, and returns its `rest`.
static uint64_t begin_ip(uint8_t *ip, size_t header) {
  put32(ip + V4_TOTAL, 0);
  put16(ip + V4_CHECK, 0);
  return sum(ip, header, 0);
}

// Flags of segment `k`: FIN and PSH are the last one's, CWR the first one's.
static uint8_t segment_flags(uint8_t flags, uint32_t k, bool last) {
  return (uint8_t)(flags & ~((last ? 0 : FIN | PSH) | (k == 0 ? 0 : CWR)));
}

// Writes flags and checksum. `pseudo` is the sum of the pseudo header without its length.
static void finish_tcp(uint8_t *tcp, size_t offset, const uint8_t *payload, size_t n, uint64_t pseudo, uint8_t flags) {
  tcp[TCP_FLAGS] = flags;
  put16(tcp + TCP_CHECK, 0);
  const uint64_t s = pseudo + htons((uint16_t)(offset + n)) + fold(sum(tcp, offset, 0));
  store16(tcp + TCP_CHECK, (uint16_t)~fold(sum(payload, n, s)));
}

// Writes the segments of the encapsulated super-packet at `packet`: [outer][inner][tcp] and at most gso_size bytes of
// payload each. The payload is not copied. Stops at the first segment that `out` refuses.
static int segment(const uint8_t *packet, size_t length, sink out, void *context) {
  const struct virtio_net_hdr v = virtio_of(packet);
  if (length < IP_HEADER + IP_HEADER + TCP_HEADER) return EINVAL;
  const uint8_t *inner = packet + IP_HEADER;
  const size_t ihl = (size_t)(inner[0] & 15) * 4;
  if (inner[0] >> 4 != 4 || ihl < IP_HEADER || IP_HEADER + ihl + TCP_HEADER > length) return EINVAL;
  if (inner[V4_PROTO] != PROTO_TCP || (get16(inner + V4_FRAGMENT) & IS_FRAGMENT) != 0) return EINVAL;
  // The outer total length may exceed its field; the inner total length always fits.
  if (get16(inner + V4_TOTAL) != length - IP_HEADER) return EINVAL;
  const uint8_t *tcp = inner + ihl;
  const size_t offset = (size_t)(tcp[TCP_OFFSET] >> 4) * 4;
  const size_t headers = IP_HEADER + ihl + offset;
  if (offset < TCP_HEADER || headers > length) return EINVAL;
  if ((v.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_TCPV4 || v.gso_size == 0 ||
      (v.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 || v.csum_start != IP_HEADER + ihl || v.csum_offset != TCP_CHECK)
    return EINVAL;
  if (headers + v.gso_size > MAX_TOTAL && length > MAX_TOTAL) return EINVAL;

  // A clear virtio header, then the packet's headers, which are changed from segment to segment.
  uint8_t scratch[VNET_HEADER + IP_HEADER + MAX_HEADER + MAX_HEADER] = {0};
  uint8_t *o = scratch + VNET_HEADER, *i = o + IP_HEADER, *t = i + ihl;
  memcpy(o, packet, headers);
  const uint32_t outer_id = get16(packet + V4_ID), inner_id = get16(inner + V4_ID), seq = get32(tcp + TCP_SEQ);
  const bool outer_df = (get16(packet + V4_FRAGMENT) & DONT_FRAGMENT) != 0;
  const uint8_t flags = tcp[TCP_FLAGS];
  const uint64_t outer_rest = begin_ip(o, IP_HEADER), inner_rest = begin_ip(i, ihl);
  // The checksum field holds the pseudo header's sum for the whole length; that term is subtracted. An error in the
  // field is carried into every segment.
  const uint64_t pseudo =
      (uint64_t)load16(tcp + TCP_CHECK) + (uint16_t)~htons((uint16_t)(length - IP_HEADER - ihl));

  struct iovec parts[2] = {{scratch, VNET_HEADER + headers}, {NULL, 0}};
  const uint8_t *payload = packet + headers;
  size_t left = length - headers;
  for (uint32_t k = 0;; k++) {
    const size_t n = left < v.gso_size ? left : v.gso_size;
    const bool last = n == left;
    finish_ip(o, outer_rest, (uint32_t)(headers + n), outer_df ? outer_id : outer_id + k);
    finish_ip(i, inner_rest, (uint32_t)(headers - IP_HEADER + n), inner_id + k);
    put32(t + TCP_SEQ, seq + k * v.gso_size);
    finish_tcp(t, offset, payload, n, pseudo, segment_flags(flags, k, last));
    parts[1].iov_base = (void *)payload;
    parts[1].iov_len = n;
    const int error = out(context, parts, n > 0 ? 2 : 1);
    if (error != 0 || last) return error;
    payload += n;
    left -= n;
  }
}

static bool is_encapsulated_gso6(const uint8_t *packet, size_t length) {
  return packet[-VNET_HEADER + 1] != VIRTIO_NET_HDR_GSO_NONE && length >= V6_HEADER && packet[0] >> 4 == 6 &&
         packet[V6_NEXT] == PROTO_IPV6;
}

// `segment` for IPv6 in IPv6: [outer][inner][tcp], without extension headers.
static int segment6(const uint8_t *packet, size_t length, sink out, void *context) {
  enum { HEADERS = V6_HEADER + V6_HEADER };
  const struct virtio_net_hdr v = virtio_of(packet);
  if (length < HEADERS + TCP_HEADER) return EINVAL;
  const uint8_t *inner = packet + V6_HEADER, *tcp = packet + HEADERS;
  if (inner[0] >> 4 != 6 || inner[V6_NEXT] != PROTO_TCP || get16(inner + V6_PAYLOAD) != length - HEADERS) return EINVAL;
  const size_t offset = (size_t)(tcp[TCP_OFFSET] >> 4) * 4;
  const size_t headers = HEADERS + offset;
  if (offset < TCP_HEADER || headers > length) return EINVAL;
  if ((v.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_TCPV6 || v.gso_size == 0 ||
      (v.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 || v.csum_start != HEADERS || v.csum_offset != TCP_CHECK)
    return EINVAL;

  uint8_t scratch[VNET_HEADER + HEADERS + MAX_HEADER] = {0};
  uint8_t *o = scratch + VNET_HEADER, *i = o + V6_HEADER, *t = o + HEADERS;
  memcpy(o, packet, headers);
  const uint32_t seq = get32(tcp + TCP_SEQ);
  const uint8_t flags = tcp[TCP_FLAGS];
  // As in `segment`.
  const uint64_t pseudo = (uint64_t)load16(tcp + TCP_CHECK) + (uint16_t)~htons((uint16_t)(length - HEADERS));
  struct iovec parts[2] = {{scratch, VNET_HEADER + headers}, {NULL, 0}};
  const uint8_t *payload = packet + headers;
  size_t left = length - headers;
  for (uint32_t k = 0;; k++) {
    const size_t n = left < v.gso_size ? left : v.gso_size;
    const bool last = n == left;
    put16(o + V6_PAYLOAD, (uint32_t)(V6_HEADER + offset + n));
    put16(i + V6_PAYLOAD, (uint32_t)(offset + n));
    put32(t + TCP_SEQ, seq + k * v.gso_size);
    finish_tcp(t, offset, payload, n, pseudo, segment_flags(flags, k, last));
    parts[1].iov_base = (void *)payload;
    parts[1].iov_len = n;
    const int error = out(context, parts, n > 0 ? 2 : 1);
    if (error != 0 || last) return error;
    payload += n;
    left -= n;
  }
}

// ---- runs of segments ----------------------------------------------------------------------------------------

// The number of runs that are open at once, and the most segments of a run. A batch has 128 packets.
enum { RUNS = 32, RUN_SEGMENTS = 128 };

typedef struct {
  uint64_t addresses;  // in memory order
  uint32_t ports;
  int32_t packets[RUN_SEGMENTS];
  uint32_t count;
  uint32_t headers;    // of each segment
  uint32_t size;       // payload of each segment, the last excepted
  uint32_t total;      // of the super-packet, so far
  uint32_t next_seq;
  bool verified;       // the first segment's checksums
} run;

typedef struct {
  uint8_t *arena;
  const int32_t *at;
  int32_t *lengths;
  sink out;
  void *context;
  int32_t written;
  uint32_t open;
  run runs[RUNS];
} batch;

static void write_plain(batch *b, size_t i) {
  struct iovec part = {b->arena + b->at[i] - VNET_HEADER, (size_t)(b->lengths[i] + VNET_HEADER)};
  const int error = b->out(b->context, &part, 1);
  if (error != 0) b->lengths[i] = -error;
  else b->written++;
}

// Writes a run as one super-packet behind the first segment's headers. A run of one segment is written unchanged.
static void flush(batch *b, run *r) {
  if (r->count == 1) {
    write_plain(b, (size_t)r->packets[0]);
  } else {
    uint8_t *ip = b->arena + b->at[r->packets[0]], *tcp = ip + IP_HEADER;
    const int32_t last = r->packets[r->count - 1];
    tcp[TCP_FLAGS] |= b->arena[b->at[last] + IP_HEADER + TCP_FLAGS] & PSH;
    put16(ip + V4_TOTAL, r->total);
    put16(ip + V4_CHECK, 0);
    store16(ip + V4_CHECK, (uint16_t)~fold(sum(ip, IP_HEADER, 0)));
    store16(tcp + TCP_CHECK, fold(pseudo_header(ip, r->total - IP_HEADER)));
    const struct virtio_net_hdr v = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
        .hdr_len = (uint16_t)r->headers,
        .gso_size = (uint16_t)r->size,
        .csum_start = IP_HEADER,
        .csum_offset = TCP_CHECK,
    };
    memcpy(ip - VNET_HEADER, &v, VNET_HEADER);
    struct iovec parts[RUN_SEGMENTS];
    parts[0] = (struct iovec){ip - VNET_HEADER, VNET_HEADER + r->headers + r->size};
    for (uint32_t k = 1; k < r->count; k++) {
      const int32_t i = r->packets[k];
      parts[k] = (struct iovec){b->arena + b->at[i] + r->headers, (size_t)b->lengths[i] - r->headers};
    }
    const int error = b->out(b->context, parts, (int)r->count);
    if (error == 0) b->written += (int32_t)r->count;
    else
      for (uint32_t k = 0; k < r->count; k++) b->lengths[r->packets[k]] = -error;
  }
  // The last open run moves to the place of the closed one.
  run *end = &b->runs[--b->open];
  if (r != end) memcpy(r, end, sizeof *r);
}

static void flush_all(batch *b) {
  while (b->open > 0) flush(b, &b->runs[0]);
}

// The open run of a TCP packet's flow, or NULL.
static run *find_run(batch *b, const uint8_t *ip, size_t length) {
  const size_t ihl = (size_t)(ip[0] & 15) * 4;
  if (ihl + 4 > length) return NULL;
  const uint64_t addresses = load64(ip + V4_SADDR);
  const uint32_t ports = load32(ip + ihl);
  for (uint32_t k = 0; k < b->open; k++)
    if (b->runs[k].addresses == addresses && b->runs[k].ports == ports) return &b->runs[k];
  return NULL;
}

// Whether a packet may join a run: plain TCP data without flags or options that concern one segment only.
static bool is_candidate(const uint8_t *ip, size_t length) {
  const struct virtio_net_hdr v = virtio_of(ip);
  if (v.gso_type != VIRTIO_NET_HDR_GSO_NONE || (v.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) return false;
  if (v.flags != 0 && (v.csum_start != IP_HEADER || v.csum_offset != TCP_CHECK)) return false;
  if (length < IP_HEADER + TCP_HEADER || ip[0] != 0x45 || ip[V4_PROTO] != PROTO_TCP) return false;
  if (get16(ip + V4_TOTAL) != length || (get16(ip + V4_FRAGMENT) & ~DONT_FRAGMENT) != 0) return false;
  const uint8_t *tcp = ip + IP_HEADER;
  const size_t headers = IP_HEADER + (size_t)(tcp[TCP_OFFSET] >> 4) * 4;
  return headers >= IP_HEADER + TCP_HEADER && headers < length && (tcp[TCP_OFFSET] & 15) == 0 &&
         (tcp[TCP_FLAGS] & ~PSH) == ACK;
}

// Whether both checksums of a candidate are right. A packet with a wrong checksum must not get a new, right one.
static bool is_intact(const uint8_t *ip, size_t length) {
  if (fold(sum(ip, IP_HEADER, 0)) != 0xffff) return false;
  const uint8_t *tcp = ip + IP_HEADER;
  const uint64_t pseudo = pseudo_header(ip, (uint32_t)(length - IP_HEADER));
  if (ip[-VNET_HEADER] != 0) return equal_sums(fold(pseudo), load16(tcp + TCP_CHECK));
  return fold(sum(tcp, length - IP_HEADER, pseudo)) == 0xffff;
}

// Whether candidate `ip` continues run `r` at the next byte, with the same headers apart from the fields that
// segmentation writes anew.
static bool continues(const batch *b, run *r, const uint8_t *ip, size_t length) {
  const uint8_t *first = b->arena + b->at[r->packets[0]], *tcp = ip + IP_HEADER, *head = first + IP_HEADER;
  const uint32_t payload = (uint32_t)length - r->headers;
  if (get32(tcp + TCP_SEQ) != r->next_seq || tcp[TCP_OFFSET] != head[TCP_OFFSET]) return false;
  if (payload > r->size || r->total + payload > MAX_TOTAL || r->count == RUN_SEGMENTS) return false;
  if (ip[V4_TOS] != first[V4_TOS] || ip[V4_TTL] != first[V4_TTL]) return false;
  if (load16(ip + V4_FRAGMENT) != load16(first + V4_FRAGMENT)) return false;
  // The id matters only where DF is not set (RFC 6864): then it must be the id that segmentation will write.
  if ((get16(ip + V4_FRAGMENT) & DONT_FRAGMENT) == 0 &&
      get16(ip + V4_ID) != (uint16_t)(get16(first + V4_ID) + r->count))
    return false;
  if (load32(tcp + TCP_ACK) != load32(head + TCP_ACK) || load16(tcp + TCP_WINDOW) != load16(head + TCP_WINDOW) ||
      load16(tcp + TCP_URGENT) != load16(head + TCP_URGENT))
    return false;
  if (memcmp(tcp + TCP_HEADER, head + TCP_HEADER, r->headers - IP_HEADER - TCP_HEADER) != 0) return false;
  if (!r->verified) {
    if (!is_intact(first, (size_t)b->lengths[r->packets[0]])) return false;
    r->verified = true;
  }
  return is_intact(ip, length);
}

static void begin_run(batch *b, size_t i, const uint8_t *ip, size_t length) {
  // Mostly the oldest run; another one where a closed run's place was refilled. Any run will do.
  if (b->open == RUNS) flush(b, &b->runs[0]);
  run *r = &b->runs[b->open++];
  r->addresses = load64(ip + V4_SADDR);
  r->ports = load32(ip + IP_HEADER);
  r->packets[0] = (int32_t)i;
  r->count = 1;
  r->headers = IP_HEADER + (uint32_t)(ip[IP_HEADER + TCP_OFFSET] >> 4) * 4;
  r->size = (uint32_t)length - r->headers;
  r->total = (uint32_t)length;
  r->next_seq = get32(ip + IP_HEADER + TCP_SEQ) + r->size;
  r->verified = false;
}

static void write_opened(batch *b, size_t i) {
  const uint8_t *ip = b->arena + b->at[i];
  const size_t length = (size_t)b->lengths[i];
  const bool candidate = is_candidate(ip, length);
  run *r = b->open > 0 && length >= IP_HEADER ? find_run(b, ip, length) : NULL;
  if (r != NULL && candidate && continues(b, r, ip, length)) {
    const uint32_t payload = (uint32_t)length - r->headers;
    r->packets[r->count++] = (int32_t)i;
    r->total += payload;
    r->next_seq += payload;
    if (payload < r->size || (ip[IP_HEADER + TCP_FLAGS] & PSH) != 0) flush(b, r);
    return;
  }
  if (r != NULL) flush(b, r);
  if (candidate && (ip[IP_HEADER + TCP_FLAGS] & PSH) == 0) begin_run(b, i, ip, length);
  else write_plain(b, i);
}

// ---- the batch -----------------------------------------------------------------------------------------------

// A packet that was not decapsulated must not overtake a run of its flow; nor may a fragment, which does not say its
// flow.
static void keep_order(batch *b, const uint8_t *ip, size_t length) {
  if (length < IP_HEADER || ip[0] >> 4 != 4 || ip[V4_PROTO] != PROTO_TCP) return;
  if ((get16(ip + V4_FRAGMENT) & IS_FRAGMENT) != 0) return flush_all(b);
  run *r = find_run(b, ip, length);
  if (r != NULL) flush(b, r);
}

int32_t write_packets(uint8_t *arena, size_t arena_size, const int32_t *at, int32_t *lengths, size_t count,
                      const uint8_t *opened, size_t opened_count, sink out, void *context) {
  batch b;
  b.arena = arena;
  b.at = at;
  b.lengths = lengths;
  b.out = out;
  b.context = context;
  b.written = 0;
  b.open = 0;
  for (size_t i = 0; i < count; i++) {
    if (lengths[i] <= 0 || at[i] < VNET_HEADER || (size_t)at[i] + (size_t)lengths[i] > arena_size) {
      lengths[i] = -EFAULT;
      continue;
    }
    uint8_t *packet = arena + at[i];
    const size_t length = (size_t)lengths[i];
    if (i < opened_count && opened[i] != 0) {
      write_opened(&b, i);
      continue;
    }
    if (b.open > 0) keep_order(&b, packet, length);
    const bool is_v6 = is_encapsulated_gso6(packet, length);
    if (is_v6 || is_encapsulated_gso(packet, length)) {
      const int error = is_v6 ? segment6(packet, length, out, context) : segment(packet, length, out, context);
      if (error != 0) lengths[i] = -error;
      else b.written++;
    } else write_plain(&b, i);
  }
  flush_all(&b);
  return b.written;
}
