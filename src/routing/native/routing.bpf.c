// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Carries the flows of service-level routing in the kernel. TypeScript chooses where a flow goes, by its first packet,
// and writes one entry per flow. These hooks put every later packet into a tunnel to that place, or change the tunnel
// that it comes in; at a server they open the tunnel. A packet that they cannot carry exactly as TypeScript would (a
// fragment, one with IP options, an expiring TTL, one too large for the way out, a SYN) is left to the stack.
#include "../../fastpath/native/packet.h"

// The source of this router's tunnels: one of the addresses of a prefix, by the flow, so that routers with several
// equal ways spread the tunnels.
struct source {
  struct address address;
  __u32 host_mask;  // in network order: the bits in which addresses differ
  // This host's own address; at a router another one of its level, which gets what this one's process cannot take; at a
  // server the router above it, which gets back what belongs to no connection here. 0 for none.
  __be32 self, fallback;
  __u32 seed;  // of the hash by which flows get their slots
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct source);
} source SEC(".maps");
_Static_assert(sizeof(struct source) == 32 && offsetof(struct source, host_mask) == 16, "source");

// Virtual hosts and subnets, with the number of their table of slots plus one, or 0 for none; and the prefixes from which
// routers above send tunnels.
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1024);
  __type(key, struct client_key);
  __type(value, __u32);
} hosts SEC(".maps"), routers SEC(".maps");

// Tables of slots, one behind the other: for each slot the member that new flows go to (`origin/routing/hosts.ts`).
enum { SLOTS = 16381, TABLES = 16 };
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, TABLES * SLOTS);
  __type(key, __u32);
  __type(value, __be32);
} slots SEC(".maps");

// How many packets without a flow TypeScript gets: so many in a window of so long. What is more goes by its slot.
enum { WINDOW_NS = 8000000, IN_WINDOW = 256 };
struct window { __u64 since; __u32 used, reserved; };
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct window);
} window SEC(".maps");

static __always_inline bool is_in(void *prefixes, __be32 address) {
  struct client_key key = {.bits = 128};
  map_v4(&key.address, address);
  return bpf_map_lookup_elem(prefixes, &key);
}

// The packet's first byte and its end, read anew: a compiler that keeps an earlier value makes an integer of it.
#define PACKET_OF(skb, data, end) \
  void *data = (void *)(long)*(volatile __u32 *)&(skb)->data, *end = (void *)(long)*(volatile __u32 *)&(skb)->data_end

// Reads an IPv4 packet of TCP, UDP or IPv4 in IPv4 at an offset.
static __always_inline bool read_at(struct __sk_buff *skb, __u32 at, struct packet *p) {
  if (!within_reach(skb, at + sizeof(struct iphdr))) return false;
  __u8 protocol = 0;
  if (bpf_skb_load_bytes(skb, at + offsetof(struct iphdr, protocol), &protocol, 1)) return false;
  if (protocol == IPPROTO_TCP) return within_reach(skb, at + sizeof(struct iphdr) + sizeof(struct tcphdr)) && parse(skb, at, p);
  if (protocol == IPPROTO_IPIP) return parse(skb, at, p);
  const __u32 udp_header = 8;
  if (protocol != IPPROTO_UDP || !within_reach(skb, at + sizeof(struct iphdr) + udp_header)) return false;
  PACKET_OF(skb, data, end);
  struct iphdr *ip = data + at;
  __be16 *ports = (void *)(ip + 1);
  if ((void *)(ports + 4) > end) return false;
  if (ip->version != 4 || ip->ihl != 5 || (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))) return false;
  p->saddr = ip->saddr;
  p->daddr = ip->daddr;
  p->total = bpf_ntohs(ip->tot_len);
  p->protocol = protocol;
  p->ttl = ip->ttl;
  p->tos = ip->tos;
  p->df = ip->frag_off & bpf_htons(IP_DF);
  p->sport = ports[0];
  p->dport = ports[1];
  p->header = sizeof *ip + udp_header;
  p->flags = 0;
  return p->header <= p->total && at + p->total <= skb->len;
}

// The outer header of the packet at `at` leads elsewhere now.
static __always_inline bool readdress(struct __sk_buff *skb, __u32 at, __be32 from, __be32 to) {
  PACKET_OF(skb, data, end);
  struct iphdr *ip = data + at;
  if ((void *)(ip + 1) > end) return false;
  ip->saddr = from;
  ip->daddr = to;
  ip->ttl = OUTER_TTL;
  ip->check = 0;
  __u32 sum = 0;
  __u16 *words = (void *)ip;
#pragma unroll
  for (int w = 0; w < 10; w++) sum += words[w];
  ip->check = ~folded(sum);
  return true;
}

// Spreads flows over the prefix's addresses.
static __always_inline __be32 source_of(const struct source *s, const struct packet *p) {
  __u32 h = (p->saddr ^ ((__u32)p->sport << 16 | p->dport)) * 0x9e3779b1;
  return s->address.word[3] | ((h ^ (h >> 15)) & s->host_mask);
}

// One more packet without a flow. Processors may count over each other: it is a bound on a load, no account.
static __always_inline bool is_within_window(void) {
  __u32 zero = 0;
  struct window *w = bpf_map_lookup_elem(&window, &zero);
  if (!w) return true;
  __u64 now = bpf_ktime_get_ns();
  if ((__s64)(now - w->since) >= WINDOW_NS) {
    w->since = now;
    w->used = 0;
  }
  return w->used++ < IN_WINDOW;
}

static __always_inline __u32 rotated(__u32 x, __u32 by) { return x << by | x >> (32 - by); }
static __always_inline __u32 mix(__u32 h, __u32 word) {
  return rotated(h ^ rotated(word * 0xcc9e2d51, 15) * 0x1b873593, 13) * 5 + 0xe6546b64;
}

// The member of a flow's slot, as `hosts.ts` computes it; 0 for none.
static __always_inline __be32 by_slot(__u32 table, const struct packet *p, __u32 seed) {
  const __u32 mapped = 0xffff;
  __u32 h = mix(seed ^ ((__u32)bpf_ntohs(p->sport) << 16 | bpf_ntohs(p->dport)), p->protocol);
  h = mix(mix(mix(mix(h, 0), 0), 0), 0);
  h = mix(mix(h, mapped), mapped);
  h = mix(mix(h, bpf_ntohl(p->saddr)), bpf_ntohl(p->daddr));
  h = (h ^ (h >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  h ^= h >> 16;
  __u32 at = table * SLOTS + h % SLOTS;
  __be32 *member = bpf_map_lookup_elem(&slots, &at);
  return member ? *member : 0;
}

// A packet without a flow that comes in a tunnel, and the one it comes in.
struct arrival {
  __be32 source;  // 0 for none
  __u8 tos;
};

// A packet about which TypeScript would have to decide. Where no TypeScript is there, another router of this level does, or
// the packet goes by its slot; so does what is more than TypeScript can take, a flood for one. The flow is begun by a later
// packet then.
static __always_inline int without_flow(struct __sk_buff *skb, __u32 l2, const struct packet *p, const struct flow_key *key,
                                        const struct arrival *in, bool is_known) {
  struct settings *how = configuration();
  struct client_key host_key = {.bits = 128};
  map_v4(&host_key.address, p->daddr);
  __u32 zero = 0, *host = bpf_map_lookup_elem(&hosts, &host_key);
  struct source *own = bpf_map_lookup_elem(&source, &zero);
  if (!how || !host || !own || p->ttl <= 1) return LEFT;
  const bool unread = is_unread(skb);
  // Of a flow that is known here TypeScript knows more.
  if (!unread && (is_known || is_within_window())) return LEFT;
  const bool beside = unread && !in->source && own->fallback;
  struct address to = {};
  map_v4(&to, beside ? own->fallback : *host && *host <= TABLES ? by_slot(*host - 1, p, own->seed) : 0);
  const __be32 target = to.word[3], from = beside ? own->self : source_of(own, p);
  if (!target) return LEFT;
  // A member gives back what it does not know: to look on is TypeScript's part.
  if (in->source == target) {
    if (unread) return LEFT;
    count(DROP_GIVEN_BACK, 1);
    return TC_ACT_SHOT;
  }
  if (in->source && (!is_in(&routers, in->source) || ((in->tos ^ p->tos) & ECN_MASK))) return LEFT;
  const __u32 extra = sizeof(struct iphdr);
  if (is_too_large(skb, p, &to, extra)) return LEFT;
  struct bpf_fib_lookup fib = asked(skb, p, from, target, extra);
  int found = route(skb, &fib);
  if (found < 0) return LEFT;
  if (p->flags & SYN) forget_before(key);
  count(unread ? LEFT_LATE : BY_SLOT, 1);
  const bool stack = how->flags & FORWARD_BY_STACK;
  if (!stack && !hop_at(skb, in->source ? l2 + sizeof(struct iphdr) : l2)) return TC_ACT_SHOT;
  if (!(in->source ? readdress(skb, l2, from, target) : encapsulate(skb, l2, p, from, target))) return TC_ACT_SHOT;
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// A service-level router: packets of known flows, from clients and from routers above.
static __always_inline int slr_in(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || !read_at(skb, l2, &p)) return LEFT;
  const bool tunnel = p.protocol == IPPROTO_IPIP;
  const __u8 outer_tos = p.tos;
  const __be32 outer_source = p.saddr;
  __u32 at = l2;
  if (tunnel) {
    at += sizeof(struct iphdr);
    if (!read_at(skb, at, &p) || p.protocol == IPPROTO_IPIP) return LEFT;
  }
  struct flow_key key = {.client_port = p.sport, .service_port = p.dport};
  key.protocol = p.protocol == IPPROTO_TCP ? 0 : bpf_htonl(p.protocol);
  map_v4(&key.client, p.saddr);
  map_v4(&key.service, p.daddr);
  const struct arrival in = {.source = tunnel ? outer_source : 0, .tos = outer_tos};
  struct flow *f = bpf_map_lookup_elem(&flows, &key);
  if ((p.flags & SYN) || !f) return without_flow(skb, l2, &p, &key, &in, f);
  struct settings *how = configuration();
  __u32 zero = 0;
  struct source *own = bpf_map_lookup_elem(&source, &zero);
  // The target gives it back: TypeScript looks for another.
  if (!how || !own || (tunnel && is_v4(&f->target, outer_source))) return LEFT;
  if (p.ttl <= 1) {
    count(LEFT_TTL, 1);
    return LEFT;
  }
  if (tunnel && ((outer_tos ^ p.tos) & ECN_MASK)) {
    count(LEFT_ECN, 1);
    return LEFT;
  }
  const __u32 extra = sizeof(struct iphdr);
  if (is_too_large(skb, &p, &f->target, extra)) {
    count(LEFT_MTU, 1);
    return LEFT;
  }
  const __be32 from = source_of(own, &p), to = f->target.word[3];
  const bool stack = how->flags & FORWARD_BY_STACK;
  struct bpf_fib_lookup fib = asked(skb, &p, from, to, extra);
  int found = route_flow(skb, &fib);
  if (found < 0) return LEFT;
  // A datagram's sender that goes on is one that lives.
  if (p.protocol == IPPROTO_UDP) p.flags = ACK;
  note(skb, f, &p, true);
  if (!stack && !hop_at(skb, at)) return TC_ACT_SHOT;
  if (!(tunnel ? readdress(skb, l2, from, to) : encapsulate(skb, l2, &p, from, to))) return TC_ACT_SHOT;
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// Whether the packet at `at` may belong to a connection of this host: there is a socket for it, or its SYN cookie is right,
// or no socket of this host listens where it goes (the server is in a container, say).
static __always_inline bool may_be_here(struct __sk_buff *skb, __u32 at, const struct packet *p) {
  struct bpf_sock_tuple tuple = {};
  tuple.ipv4.saddr = p->saddr;
  tuple.ipv4.daddr = p->daddr;
  tuple.ipv4.sport = p->sport;
  tuple.ipv4.dport = p->dport;
  struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof tuple.ipv4, BPF_F_CURRENT_NETNS, 0);
  if (!sk) return true;
  bool here = sk->state != BPF_TCP_LISTEN;
  PACKET_OF(skb, data, end);
  struct iphdr *ip = data + at;
  struct tcphdr *tcp = (void *)(ip + 1);
  if (!here && (void *)(tcp + 1) <= end)
    here = bpf_tcp_check_syncookie(sk, ip, sizeof *ip, tcp, sizeof *tcp) == 0;
  bpf_sk_release(sk);
  return here;
}

// Gives a packet back to the router above, in the tunnel in which it came. That is no hop: the router counts how often it
// tries.
static __always_inline int give_back(struct __sk_buff *skb, __u32 l2, const struct packet *p, const struct source *own) {
  const __be32 from = own->self, to = own->fallback;
  struct bpf_fib_lookup fib = asked(skb, p, from, to, sizeof(struct iphdr));
  int found = route(skb, &fib);
  if (found < 0 || !readdress(skb, l2, from, to)) return TC_ACT_SHOT;
  return forward(skb, l2, found, &fib);
}

// A server: opens tunnels of the routers above it for its virtual hosts.
static __always_inline int server_in(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || !read_at(skb, l2, &p)) return LEFT;
  if (p.protocol != IPPROTO_IPIP || !is_in(&routers, p.saddr)) return LEFT;
  const __u8 outer_tos = p.tos;
  struct settings *how = configuration();
  if (!how || !read_at(skb, l2 + sizeof(struct iphdr), &p) || p.protocol == IPPROTO_IPIP) return LEFT;
  if (!is_in(&hosts, p.daddr)) return LEFT;
  if ((outer_tos ^ p.tos) & ECN_MASK) {
    count(LEFT_ECN, 1);
    return LEFT;
  }
  __u32 zero = 0;
  struct source *own = bpf_map_lookup_elem(&source, &zero);
  const bool judged = p.protocol == IPPROTO_TCP && !(p.flags & (SYN | RST)) && p.ttl > 1 && own && own->fallback;
  if (judged && !may_be_here(skb, l2 + sizeof(struct iphdr), &p)) return give_back(skb, l2, &p, own);
  count(IN_PACKETS, skb->gso_segs ? skb->gso_segs : 1);
  count(IN_BYTES, p.total);
  return decapsulate(skb) ? by_stack(skb, how) : TC_ACT_SHOT;
}

// Uses the maps and the hash above.
#include "routing6.h"

HOOK(slr_in)
HOOK(server_in)
HOOK(slr_in6)
HOOK(server_in6)

char _license[] SEC("license") = "Dual MIT/GPL";
