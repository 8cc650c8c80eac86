// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Carries pinned flows in the kernel. TypeScript decides a race, writes one entry per flow and sweeps; these
// programs translate or tunnel every packet of it but the SYNs, and note what they see. A packet that they
// cannot carry exactly as TypeScript would (a SYN, a fragment, IP options, an expiring TTL, one too large for
// the way out, a congestion mark that must move) is left to the stack untouched, and so to the TUN.
//
// Addresses are 128 bits in network order, IPv4 as v4-mapped. The layout is that of `layout.ts`.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// For whatever else looks at this interface, and then the stack.
#define LEFT TC_ACT_UNSPEC

#define AF_INET 2
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define IP_DF 0x4000
#define ECN_MASK 3
#define OUTER_TTL 64

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

// How a flow is carried: `src/pipeline/modes.ts`.
enum { TRANSLATE = 0, SPOOF = 1, TUNNEL = 2 };

// Bits of `flow.seen`.
// WAITING: the SYN went to the learned winner from here, and nothing has come back; the flow's `first_byte_us` is
// one more than its slot among the openings.
enum { CLIENT_FIN = 1, SERVER_FIN = 2, ANY_RST = 4, CLIENT_ACK = 8, SERVER_DATA = 16, WAITING = 32 };

// One connection in so many races again, by lot: `src/race/learned.ts`.
#define RACE_AGAIN 50
#define PREFIX_MASK bpf_htonl(0xffffff00)
#define OPENINGS 4096

struct address { __u32 word[4]; };

struct flow_key {
  struct address client, service;
  __be16 client_port, service_port;
  __u32 reserved;
};

struct flow {
  struct address target;  // gateway: who carries it; replica: R
  __u64 packets, bytes;
  __u32 last;             // monotonic clock >> 20
  __u32 asked_us;         // when the client's first data passed, low bits; 0: not yet
  __u32 first_byte_us;    // how long until the server's first data, plus one; 0: not yet
  union {
    struct {
      __be16 target_port;
      __u8 mode, seen;
    };
    __u32 word;           // for both ways may be noted at once, by two processors
  };
};
#define SEEN(bits) ((__u32)(bits) << 24)

struct endpoint_key {
  struct address address;
  __be16 port;
  __u16 reserved;
};

struct endpoint {
  struct address service;
  __be16 port;
  __u8 mode, reserved;
};

struct settings {
  __u32 flags;
  __u32 mark, mask;  // of packets that are left to the stack translated
  __u32 tun;         // interface index of the role's TUN
};
enum { FORWARD_BY_STACK = 1 };

// Whom the clients of a prefix reach first, for one second after TypeScript said so.
struct winner {
  struct address target;
  __u64 until_ns;
  __u32 candidate;
  __be16 port;
  __u16 reserved;
};

// A connection that was opened here, for TypeScript to follow: it shares this memory.
struct opening {
  struct flow_key key;
  __u64 sent_ns, answered_ns;
  __u32 isn, candidate;
  __u32 length;
  __u32 ticket;  // one more than its number; written last
  __u8 syn[80];
};

struct tickets {
  __u64 head;  // taken here
  __u64 done;  // slots that TypeScript has finished with
};

enum { OUT_PACKETS, OUT_BYTES, IN_PACKETS, IN_BYTES, LEFT_TTL, LEFT_ROUTE, LEFT_MTU, LEFT_ECN, TOTALS };
struct totals { __u64 of[TOTALS]; };

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct flow_key);
  __type(value, struct winner);
} winners SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, OPENINGS);
  __type(key, __u32);
  __type(value, struct opening);
} openings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct tickets);
} tickets SEC(".maps");

// The loader makes these maps, of the size that the role asks for; it hands them over by path.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct flow_key);
  __type(value, struct flow);
} flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct endpoint_key);
  __type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct settings);
} settings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct totals);
} totals SEC(".maps");

static __always_inline void count(__u32 which, __u64 n) {
  __u32 zero = 0;
  struct totals *t = bpf_map_lookup_elem(&totals, &zero);
  if (t) t->of[which] += n;
}

static __always_inline void map_v4(struct address *a, __be32 v4) {
  a->word[0] = a->word[1] = 0;
  a->word[2] = bpf_htonl(0xffff);
  a->word[3] = v4;
}

static __always_inline bool is_v4(const struct address *a, __be32 v4) {
  return a->word[3] == v4 && a->word[2] == bpf_htonl(0xffff);
}

// One IPv4 header and what follows it, at an offset of the packet.
struct packet {
  __be32 saddr, daddr;
  __be16 sport, dport;
  __u32 seq, ack;
  __u16 total, header;  // bytes of the IP packet; of IP and TCP headers
  __u8 protocol, ttl, tos, flags;
  bool df;
};

// False for what is not ours to carry: other protocols, fragments, IP options.
static __always_inline bool parse(struct __sk_buff *skb, __u32 at, struct packet *p) {
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct iphdr *ip = data + at;
  if ((void *)(ip + 1) > end) return false;
  if (ip->version != 4 || ip->ihl != 5 || (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))) return false;
  p->saddr = ip->saddr;
  p->daddr = ip->daddr;
  p->total = bpf_ntohs(ip->tot_len);
  p->protocol = ip->protocol;
  p->ttl = ip->ttl;
  p->tos = ip->tos;
  p->df = ip->frag_off & bpf_htons(IP_DF);
  if (ip->protocol != IPPROTO_TCP) return ip->protocol == IPPROTO_IPIP;
  struct tcphdr *tcp = (void *)(ip + 1);
  if ((void *)(tcp + 1) > end) return false;
  p->sport = tcp->source;
  p->dport = tcp->dest;
  p->seq = bpf_ntohl(tcp->seq);
  p->ack = bpf_ntohl(tcp->ack_seq);
  p->flags = ((__u8 *)tcp)[13];
  p->header = sizeof *ip + tcp->doff * 4;
  return tcp->doff >= 5 && p->header <= p->total && at + p->total <= skb->len;
}

static __always_inline bool readable(struct __sk_buff *skb, __u32 l2) {
  if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present) return false;
  __u32 want = l2 + 2 * sizeof(struct iphdr) + sizeof(struct tcphdr);
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  if (data + want <= end) return true;
  return bpf_skb_pull_data(skb, want < skb->len ? want : skb->len) == 0;
}

static __always_inline struct flow *find(__be32 client, __be16 client_port, __be32 service, __be16 service_port) {
  struct flow_key key = {.client_port = client_port, .service_port = service_port};
  map_v4(&key.client, client);
  map_v4(&key.service, service);
  return bpf_map_lookup_elem(&flows, &key);
}

static __always_inline struct endpoint *find_endpoint(__be32 address, __be16 port) {
  struct endpoint_key key = {.port = port};
  map_v4(&key.address, address);
  return bpf_map_lookup_elem(&endpoints, &key);
}

static __always_inline void note(struct __sk_buff *skb, struct flow *f, const struct packet *p, bool client) {
  __u8 seen = f->seen;
  if (p->flags & FIN) seen |= client ? CLIENT_FIN : SERVER_FIN;
  if (p->flags & RST) seen |= ANY_RST;
  if (client && (p->flags & ACK)) seen |= CLIENT_ACK;
  bool data = p->total > p->header;
  if (data && client && !f->asked_us) f->asked_us = (__u32)(bpf_ktime_get_ns() / 1000) | 1;
  if (data && !client && !(seen & SERVER_DATA)) {
    seen |= SERVER_DATA;
    if (f->asked_us) f->first_byte_us = (__u32)(bpf_ktime_get_ns() / 1000) - f->asked_us + 1;
  }
  if (seen != f->seen) __sync_fetch_and_or(&f->word, SEEN(seen));
  __u32 now = bpf_ktime_get_coarse_ns() >> 20;
  if (f->last != now) f->last = now;
  __u32 packets = skb->gso_segs ? skb->gso_segs : 1;
  __sync_fetch_and_add(&f->packets, packets);
  __sync_fetch_and_add(&f->bytes, p->total);
  __u32 zero = 0;
  struct totals *t = bpf_map_lookup_elem(&totals, &zero);
  if (!t) return;
  t->of[client ? OUT_PACKETS : IN_PACKETS] += packets;
  t->of[client ? OUT_BYTES : IN_BYTES] += p->total;
}

static __always_inline __u16 folded(__u32 sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

static __always_inline void update16(__u16 *check, __u16 from, __u16 to) {
  *check = ~folded((__u16)~*check + (__u16)~from + to);
}

// Gives the packet another source or destination, and both checksums what follows from it (RFC 1624).
static __always_inline bool rewrite(struct __sk_buff *skb, __u32 l2, const struct packet *p, bool destination,
                                    __be32 to, __be16 to_port, bool hop) {
  __be32 from = destination ? p->daddr : p->saddr;
  __be16 from_port = destination ? p->dport : p->sport;
  __u32 check = l2 + sizeof(struct iphdr) + offsetof(struct tcphdr, check);
  if (from != to && bpf_l4_csum_replace(skb, check, from, to, BPF_F_PSEUDO_HDR | sizeof to)) return false;
  if (from_port != to_port && bpf_l4_csum_replace(skb, check, from_port, to_port, sizeof to_port)) return false;
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct iphdr *ip = data + l2;
  struct tcphdr *tcp = (void *)(ip + 1);
  if ((void *)(tcp + 1) > end) return false;
  if (from != to) {
    update16(&ip->check, from & 0xffff, to & 0xffff);
    update16(&ip->check, from >> 16, to >> 16);
  }
  if (destination) {
    ip->daddr = to;
    tcp->dest = to_port;
  } else {
    ip->saddr = to;
    tcp->source = to_port;
  }
  if (hop) {
    ip->ttl--;
    update16(&ip->check, bpf_htons(0x0100), 0);
  }
  return true;
}

static __always_inline bool hop_at(struct __sk_buff *skb, __u32 at) {
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct iphdr *ip = data + at;
  if ((void *)(ip + 1) > end) return false;
  ip->ttl--;
  update16(&ip->check, bpf_htons(0x0100), 0);
  return true;
}

// Puts `[source -> destination]` before the packet. DF and DSCP are copied outward, ECN per RFC 6040.
static __always_inline bool encapsulate(struct __sk_buff *skb, __u32 l2, const struct packet *p, __be32 source,
                                        __be32 destination) {
  struct iphdr outer = {
      .version = 4,
      .ihl = 5,
      .tos = p->tos,
      // A super-packet's may be more than the field holds: the kernel has such as 0, and cuts by its own length.
      .tot_len = p->total + sizeof outer > 0xffff ? 0 : bpf_htons(p->total + sizeof outer),
      .id = p->df ? 0 : (__u16)bpf_get_prandom_u32(),
      .frag_off = p->df ? bpf_htons(IP_DF) : 0,
      .ttl = OUTER_TTL,
      .protocol = IPPROTO_IPIP,
      .saddr = source,
      .daddr = destination,
  };
  outer.check = ~folded(bpf_csum_diff(0, 0, (__be32 *)&outer, sizeof outer, 0));
  return bpf_skb_adjust_room(skb, sizeof outer, BPF_ADJ_ROOM_MAC,
                             BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO) == 0 &&
         bpf_skb_store_bytes(skb, l2, &outer, sizeof outer, 0) == 0;
}

static __always_inline bool decapsulate(struct __sk_buff *skb) {
  return bpf_skb_adjust_room(skb, -(int)sizeof(struct iphdr), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) == 0;
}

static __always_inline struct settings *configuration(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&settings, &zero);
}

// Where a packet that will have these addresses and `extra` bytes more goes; negative: the stack knows better.
static __always_inline int route(struct __sk_buff *skb, const struct packet *p, __be32 source, __be32 destination,
                                 __u32 extra, struct bpf_fib_lookup *fib) {
  fib->family = AF_INET;
  fib->l4_protocol = extra ? IPPROTO_IPIP : IPPROTO_TCP;
  fib->tot_len = (skb->gso_size ? p->header + skb->gso_size : p->total) + extra;
  fib->ifindex = skb->ingress_ifindex;
  fib->tos = p->tos;
  fib->ipv4_src = source;
  fib->ipv4_dst = destination;
  int found = bpf_fib_lookup(skb, fib, sizeof *fib, 0);
  if (found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH) return found;
  count(found == BPF_FIB_LKUP_RET_FRAG_NEEDED ? LEFT_MTU : LEFT_ROUTE, 1);
  return -1;
}

// Hands a finished packet to the way out, past the host's own netfilter.
static __always_inline int forward(struct __sk_buff *skb, __u32 l2, int found, const struct bpf_fib_lookup *fib) {
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct ethhdr *eth = data;
  if (l2 == 0 || found != BPF_FIB_LKUP_RET_SUCCESS) return bpf_redirect_neigh(fib->ifindex, 0, 0, 0);
  if ((void *)(eth + 1) > end) return TC_ACT_SHOT;
  __builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
  __builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
  return bpf_redirect(fib->ifindex, 0);
}

static __always_inline int by_stack(struct __sk_buff *skb, const struct settings *how) {
  skb->mark = (skb->mark & ~how->mask) | how->mark;
  return TC_ACT_OK;
}

// ---- gateway ---------------------------------------------------------------------------------------------------

// The lot of `gateway/send-syn.ts`: the same for every SYN of a connection, and for both sides of this boundary.
static __always_inline bool races_again(__u32 isn) {
  __u32 h = (isn ^ (isn >> 16)) * 0x7feb352d;
  h = (h ^ (h >> 15)) * 0x846ca68b;
  h ^= h >> 16;
  return (h >> 1) % RACE_AGAIN == 0;
}

// A client's SYN whose winner is known: there and nowhere else, and a note for TypeScript, which hedges. Only under A,
// where a SYN needs no tag.
static __always_inline int gateway_syn(struct __sk_buff *skb, __u32 l2, const struct packet *p) {
  __u32 zero = 0;
  if ((p->flags & (SYN | ACK | RST | FIN)) != SYN || p->total != p->header || p->ttl <= 1) return LEFT;
  struct flow_key key = {.service_port = p->dport};
  map_v4(&key.client, p->saddr & PREFIX_MASK);
  map_v4(&key.service, p->daddr);
  struct winner *w = bpf_map_lookup_elem(&winners, &key);
  if (!w || w->until_ns < bpf_ktime_get_ns() || races_again(p->seq)) return LEFT;
  struct settings *how = configuration();
  struct tickets *t = bpf_map_lookup_elem(&tickets, &zero);
  if (!how || !t || t->head - t->done >= OPENINGS - 64) return LEFT;
  key.client_port = p->sport;
  key.client.word[3] = p->saddr;
  struct flow *before = bpf_map_lookup_elem(&flows, &key);
  __u8 fins = CLIENT_FIN | SERVER_FIN;
  if (before && !(before->seen & ANY_RST) && (before->seen & fins) != fins) return LEFT;
  __u32 length = p->header;
  if (length < 40 || length > sizeof(((struct opening *)0)->syn)) return LEFT;
  bool stack = how->flags & FORWARD_BY_STACK;
  struct bpf_fib_lookup fib = {};
  __be32 target = w->target.word[3];
  __be16 port = w->port;
  int found = route(skb, p, p->saddr, target, 0, &fib);
  if (found < 0) return LEFT;

  __u64 n = __sync_fetch_and_add(&t->head, 1);
  __u32 at = n & (OPENINGS - 1);
  struct opening *o = bpf_map_lookup_elem(&openings, &at);
  if (!o) return LEFT;
  struct flow f = {.target = w->target, .target_port = port, .mode = TRANSLATE, .seen = WAITING};
  f.last = bpf_ktime_get_coarse_ns() >> 20;
  f.first_byte_us = at + 1;
  o->key = key;
  o->candidate = w->candidate;
  o->isn = p->seq;
  o->answered_ns = 0;
  o->sent_ns = bpf_ktime_get_ns();
  // What could not be opened after all is a slot without a SYN.
  o->length = 0;
  int verdict = LEFT;
  if (bpf_skb_load_bytes(skb, l2, o->syn, length) == 0 && bpf_map_update_elem(&flows, &key, &f, BPF_ANY) == 0) {
    o->length = length;
    verdict = TC_ACT_SHOT;
  }
  __sync_lock_test_and_set(&o->ticket, (__u32)n + 1);
  if (verdict == LEFT || !rewrite(skb, l2, p, true, target, port, !stack)) return verdict;
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// The learned winner's SYN-ACK.
static __always_inline bool is_answer(struct flow *f, const struct packet *p) {
  if ((p->flags & (SYN | ACK | RST | FIN)) != (SYN | ACK)) return false;
  __u32 at = f->first_byte_us - 1;
  struct opening *o = bpf_map_lookup_elem(&openings, &at);
  if (!o || p->ack != o->isn + 1) return false;
  o->answered_ns = bpf_ktime_get_ns();
  f->first_byte_us = 0;
  __sync_fetch_and_and(&f->word, ~SEEN(WAITING));
  return true;
}

// [602-612, 656] From a client: to the winner.
static __always_inline int gateway_lan(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (!readable(skb, l2) || !parse(skb, l2, &p) || p.protocol != IPPROTO_TCP) return LEFT;
  if (p.flags & SYN) return gateway_syn(skb, l2, &p);
  struct flow *f = find(p.saddr, p.sport, p.daddr, p.dport);
  struct settings *how = configuration();
  if (!f || !how || (f->seen & WAITING)) return LEFT;
  __be32 target = f->target.word[3];
  bool tunnel = f->mode == TUNNEL, stack = how->flags & FORWARD_BY_STACK;
  struct bpf_fib_lookup fib = {};
  if (p.ttl <= 1) {
    count(LEFT_TTL, 1);
    return LEFT;
  }
  int found = route(skb, &p, p.saddr, target, tunnel ? sizeof(struct iphdr) : 0, &fib);
  if (found < 0) return LEFT;
  note(skb, f, &p, true);
  if (tunnel) {
    // Past the stack the inner hop is counted here; the outer header begins its own life.
    if (!stack && !hop_at(skb, l2)) return TC_ACT_SHOT;
    if (!encapsulate(skb, l2, &p, p.saddr, target)) return TC_ACT_SHOT;
  } else if (!rewrite(skb, l2, &p, true, target, f->target_port, !stack)) {
    return TC_ACT_SHOT;
  }
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// [616, 636, 658] From a server: to the client, as the service.
static __always_inline int gateway_wan(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (!readable(skb, l2) || !parse(skb, l2, &p)) return LEFT;
  struct settings *how = configuration();
  if (!how) return LEFT;
  bool tunnel = p.protocol == IPPROTO_IPIP, stack = how->flags & FORWARD_BY_STACK;
  __be32 outer_source = p.saddr, outer_client = p.daddr, service;
  __be16 service_port;
  __u8 outer_tos = p.tos;
  if (tunnel) {
    if (!parse(skb, l2 + sizeof(struct iphdr), &p) || p.protocol != IPPROTO_TCP) return LEFT;
    service = p.saddr;
    service_port = p.sport;
  } else {
    struct endpoint *e = find_endpoint(p.saddr, p.sport);
    if (!e) return LEFT;
    service = e->service.word[3];
    service_port = e->port;
  }
  struct flow *f = find(p.daddr, p.dport, service, service_port);
  if (!f) return LEFT;
  bool waiting = f->seen & WAITING;
  if ((p.flags & SYN) && !waiting) return LEFT;
  // Only the winner may speak, and only in its configuration's form; TypeScript knows what to do with others.
  if (tunnel) {
    if (f->mode != TUNNEL || !is_v4(&f->target, outer_source) || outer_client != p.daddr) return LEFT;
    if ((outer_tos ^ p.tos) & ECN_MASK) {
      count(LEFT_ECN, 1);
      return LEFT;
    }
  } else if (f->mode == SPOOF) {
    if (p.saddr != service || (p.flags & RST)) return LEFT;
  } else if (f->mode != TRANSLATE || !is_v4(&f->target, p.saddr) || f->target_port != p.sport) {
    return LEFT;
  }
  if (p.ttl <= 1) {
    count(LEFT_TTL, 1);
    return LEFT;
  }
  struct bpf_fib_lookup fib = {};
  int found = route(skb, &p, service, p.daddr, 0, &fib);
  if (found < 0 || (waiting && !is_answer(f, &p))) return LEFT;
  note(skb, f, &p, false);
  if (tunnel) {
    if (!decapsulate(skb) || (!stack && !hop_at(skb, l2))) return TC_ACT_SHOT;
  } else if (!rewrite(skb, l2, &p, false, service, service_port, !stack)) {
    return TC_ACT_SHOT;
  }
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// ---- replica ---------------------------------------------------------------------------------------------------

// The way in: B's packets are addressed to R, C's come in the tunnel; the local server knows itself as S.
static __always_inline int replica_in(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (!readable(skb, l2) || !parse(skb, l2, &p)) return LEFT;
  struct settings *how = configuration();
  if (!how) return LEFT;
  if (p.protocol == IPPROTO_IPIP) {
    __be32 source = p.saddr, replica = p.daddr;
    __u8 tos = p.tos;
    if (!parse(skb, l2 + sizeof(struct iphdr), &p) || p.protocol != IPPROTO_TCP || (p.flags & SYN)) return LEFT;
    struct flow *f = find(p.saddr, p.sport, p.daddr, p.dport);
    if (!f || f->mode != TUNNEL || !is_v4(&f->target, replica) || source != p.saddr) return LEFT;
    if ((tos ^ p.tos) & ECN_MASK) {
      count(LEFT_ECN, 1);
      return LEFT;
    }
    note(skb, f, &p, true);
    return decapsulate(skb) ? by_stack(skb, how) : TC_ACT_SHOT;
  }
  if (p.flags & SYN) return LEFT;
  struct endpoint *e = find_endpoint(p.daddr, p.dport);
  if (!e || e->mode != SPOOF) return LEFT;
  __be32 service = e->service.word[3];
  __be16 port = e->port;
  struct flow *f = find(p.saddr, p.sport, service, port);
  if (!f || f->mode != SPOOF) return LEFT;
  note(skb, f, &p, true);
  return rewrite(skb, l2, &p, true, service, port, false) ? by_stack(skb, how) : TC_ACT_SHOT;
}

// The way out, on the wire's side: B's data leaves as it is and is only noted, C's goes into the tunnel. What
// would leave as S without belonging to a flow is the TUN's to judge.
static __always_inline int replica_out(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (!readable(skb, l2) || !parse(skb, l2, &p) || p.protocol != IPPROTO_TCP) return LEFT;
  struct endpoint *e = find_endpoint(p.saddr, p.sport);
  // Under B the endpoint is R's, and S is no key: those are found among the flows.
  struct flow *f = find(p.daddr, p.dport, p.saddr, p.sport);
  if (f && f->mode == SPOOF) {
    note(skb, f, &p, false);
    return LEFT;
  }
  if (!e || e->mode != TUNNEL) return LEFT;
  struct settings *how = configuration();
  if (!how) return LEFT;
  __u32 segment = skb->gso_size ? p.header + skb->gso_size : p.total, mtu = 0;
  bpf_check_mtu(skb, 0, &mtu, 0, 0);  // for what it says of the interface
  if (!f || f->mode != TUNNEL || (p.flags & SYN) || segment + sizeof(struct iphdr) > mtu)
    return bpf_redirect(how->tun, 0);
  note(skb, f, &p, false);
  return encapsulate(skb, l2, &p, f->target.word[3], p.daddr) ? TC_ACT_OK : TC_ACT_SHOT;
}

// An interface has an Ethernet header or none (a tunnel, WireGuard).
#define PROGRAM(name) \
  SEC("tc") int name##_l2(struct __sk_buff *skb) { return name(skb, ETH_HLEN); } \
  SEC("tc") int name##_l3(struct __sk_buff *skb) { return name(skb, 0); }

PROGRAM(gateway_lan)
PROGRAM(gateway_wan)
PROGRAM(replica_in)
PROGRAM(replica_out)

char _license[] SEC("license") = "Dual MIT/GPL";
