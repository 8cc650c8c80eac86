// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// The hooks of service-level routing for IPv6, as those of routing.bpf.c, whose comments apply: programs of their own, which see
// packets of IPv6 only. Tunnels are of IPv6 (RFC 2473), without extension headers; what has extension headers, or is a fragment,
// is left to the stack.
#pragma once
#include "../../fastpath/native/packet6.h"

// This host's own address, and at a server the router above it, which gets back what belongs to no connection here; zeros
// for none.
struct source6 { struct address self, fallback; };
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct source6);
} source6 SEC(".maps");
_Static_assert(sizeof(struct source6) == 32, "source6");

// Slots have members' IPv4 addresses (`slots`); these are the same members' addresses of IPv6.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, __be32);
  __type(value, struct address);
} members6 SEC(".maps");

// A packet, and the first word of its header: version, traffic class, flow label.
struct reading6 {
  struct packet6 of;
  __be32 first;
};

static __always_inline bool is_none(const struct address *a) {
  return !a->word[0] && !a->word[1] && !a->word[2] && !a->word[3];
}

static __always_inline bool is_in6(void *prefixes, const struct address *address) {
  struct client_key key = {.bits = 128, .address = *address};
  return bpf_map_lookup_elem(prefixes, &key);
}

// Reads an IPv6 packet of TCP, UDP or IPv6 in IPv6 at an offset.
static __always_inline bool read6_at(struct __sk_buff *skb, __u32 at, struct reading6 *to) {
  const __u32 udp_header = 8;
  if (!within_reach(skb, at + sizeof(struct ipv6hdr) + udp_header)) return false;
  __u8 next = 0;
  if (bpf_skb_load_bytes(skb, at + offsetof(struct ipv6hdr, nexthdr), &next, 1)) return false;
  const bool is_tcp = next == IPPROTO_TCP;
  if (is_tcp && !within_reach(skb, at + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))) return false;
  if (!is_tcp && next != IPPROTO_UDP && next != IPPROTO_IPV6) return false;
  PACKET_OF(skb, data, end);
  struct ipv6hdr *ip = data + at;
  __be16 *ports = (void *)(ip + 1);
  if ((void *)(ports + 4) > end || ip->version != 6) return false;
  struct packet *p = &to->of.p;
  const __u32 total = sizeof *ip + bpf_ntohs(ip->payload_len);
  to->first = *(__be32 *)ip;
  __builtin_memcpy(&to->of.saddr, &ip->saddr, sizeof to->of.saddr);
  __builtin_memcpy(&to->of.daddr, &ip->daddr, sizeof to->of.daddr);
  p->total = total;
  p->protocol = next;
  p->ttl = ip->hop_limit;
  p->tos = bpf_ntohl(to->first) >> 20;
  p->flags = 0;
  if (next == IPPROTO_IPV6) return true;
  p->sport = ports[0];
  p->dport = ports[1];
  p->header = sizeof *ip + udp_header;
  if (is_tcp) {
    struct tcphdr *tcp = (void *)(ip + 1);
    if ((void *)(tcp + 1) > end || tcp->doff < 5) return false;
    p->flags = ((__u8 *)tcp)[13];
    p->header = sizeof *ip + tcp->doff * 4;
  }
  return !is_low(&to->of.saddr) && !is_low(&to->of.daddr) && total <= 0xffff && p->header <= total &&
         at + total <= skb->len;
}

// The first word of the tunnel's header. Routers with several equal ways spread tunnels by the flow label (RFC 6438): the
// client's, or else one that `into-tunnel.ts` computes alike.
static __always_inline __be32 first_of(const struct reading6 *r) {
  if (r->first & bpf_htonl(0xfffff)) return r->first;
  __u32 ports = (__u32)bpf_ntohs(r->of.p.sport) << 16 | bpf_ntohs(r->of.p.dport);
  __u32 h = (bpf_ntohl(r->of.saddr.word[1]) ^ bpf_ntohl(r->of.saddr.word[3]) ^ ports) * 0x9e3779b1;
  return r->first | bpf_htonl(h >> 12);
}

// Writes `[from -> to]` at `at`: before the packet where it comes in no tunnel, else over the header of the tunnel in which it
// comes.
static __always_inline bool into_tunnel6(struct __sk_buff *skb, __u32 at, const struct reading6 *r, bool tunnel,
                                         const struct address *from, const struct address *to) {
  struct ipv6hdr outer = {.payload_len = bpf_htons(r->of.p.total), .nexthdr = IPPROTO_IPV6, .hop_limit = OUTER_TTL};
  *(__be32 *)&outer = first_of(r);
  __builtin_memcpy(&outer.saddr, from, sizeof outer.saddr);
  __builtin_memcpy(&outer.daddr, to, sizeof outer.daddr);
  if (!tunnel && bpf_skb_adjust_room(skb, sizeof outer, BPF_ADJ_ROOM_MAC,
                                     BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO))
    return false;
  // The header has no checksum of its own, so one over the whole packet, where the driver gave it, changes.
  return bpf_skb_store_bytes(skb, at, &outer, sizeof outer, BPF_F_RECOMPUTE_CSUM) == 0;
}

// A route query for the packet in a tunnel.
static __always_inline struct bpf_fib_lookup asked_tunnel6(struct __sk_buff *skb, const struct reading6 *r,
                                                           const struct address *from, const struct address *to) {
  struct bpf_fib_lookup fib = asked6(skb, &r->of.p, from, to);
  fib.l4_protocol = IPPROTO_IPV6;
  fib.tot_len += sizeof(struct ipv6hdr);
  fib.flowinfo = first_of(r) & bpf_htonl(0x0fffffff);
  return fib;
}

// The member of a flow's slot, as `hosts.ts` computes it; null for none.
static __always_inline struct address *by_slot6(__u32 table, const struct packet6 *p, __u32 seed) {
  __u32 h = mix(seed ^ ((__u32)bpf_ntohs(p->p.sport) << 16 | bpf_ntohs(p->p.dport)), p->p.protocol);
#pragma unroll
  for (int w = 0; w < 4; w++) h = mix(mix(h, bpf_ntohl(p->saddr.word[w])), bpf_ntohl(p->daddr.word[w]));
  h = (h ^ (h >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  h ^= h >> 16;
  __u32 at = table * SLOTS + h % SLOTS;
  __be32 *member = bpf_map_lookup_elem(&slots, &at);
  return member && *member ? bpf_map_lookup_elem(&members6, member) : 0;
}

// A packet without a flow that comes in a tunnel, and the one it comes in.
struct arrival6 {
  struct address source;  // zeros for none
  bool tunnel;
  __u8 tos;
};

// As `without_flow`. No router beside is known by an address of IPv6: what no process decides about goes by its slot.
static __always_inline int without_flow6(struct __sk_buff *skb, __u32 l2, const struct reading6 *r,
                                         const struct flow_key *key, const struct arrival6 *in,
                                         const struct source6 *own6, bool is_known) {
  struct settings *how = configuration();
  struct client_key host_key = {.bits = 128, .address = r->of.daddr};
  __u32 zero = 0, *host = bpf_map_lookup_elem(&hosts, &host_key);
  struct source *own = bpf_map_lookup_elem(&source, &zero);
  if (!how || !host || !own || r->of.p.ttl <= 1) return LEFT;
  const bool unread = is_unread(skb);
  if (!unread && (is_known || is_within_window())) return LEFT;
  struct address *to = *host && *host <= TABLES ? by_slot6(*host - 1, &r->of, own->seed) : 0;
  if (!to) return LEFT;
  if (in->tunnel && is_same(&in->source, to)) {
    if (unread) return LEFT;
    count(DROP_GIVEN_BACK, 1);
    return TC_ACT_SHOT;
  }
  if (in->tunnel && (!is_in6(&routers, &in->source) || ((in->tos ^ r->of.p.tos) & ECN_MASK))) return LEFT;
  struct bpf_fib_lookup fib = asked_tunnel6(skb, r, &own6->self, to);
  int found = route(skb, &fib);
  if (found < 0) return LEFT;
  if (r->of.p.flags & SYN) forget_before(key);
  count(unread ? LEFT_LATE : BY_SLOT, 1);
  const bool stack = how->flags & FORWARD_BY_STACK;
  if (!stack && !hop_at6(skb, in->tunnel ? l2 + sizeof(struct ipv6hdr) : l2)) return TC_ACT_SHOT;
  if (!into_tunnel6(skb, l2, r, in->tunnel, &own6->self, to)) return TC_ACT_SHOT;
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// A service-level router: packets of known flows, from clients and from routers above.
static __always_inline int slr_in6(struct __sk_buff *skb, __u32 l2) {
  __u32 zero = 0;
  struct source6 *own = bpf_map_lookup_elem(&source6, &zero);
  struct reading6 r = {};
  if (!own || !is_v6(skb) || skb->vlan_present || !read6_at(skb, l2, &r)) return LEFT;
  struct arrival6 in = {.tunnel = r.of.p.protocol == IPPROTO_IPV6, .tos = r.of.p.tos};
  __u32 at = l2;
  if (in.tunnel) {
    if (!is_same(&r.of.daddr, &own->self)) return LEFT;
    in.source = r.of.saddr;
    at += sizeof(struct ipv6hdr);
    if (!read6_at(skb, at, &r) || r.of.p.protocol == IPPROTO_IPV6) return LEFT;
  }
  struct flow_key key = {
    .client = r.of.saddr, .service = r.of.daddr, .client_port = r.of.p.sport, .service_port = r.of.p.dport};
  key.protocol = r.of.p.protocol == IPPROTO_TCP ? 0 : bpf_htonl(r.of.p.protocol);
  struct flow *f = bpf_map_lookup_elem(&flows, &key);
  if ((r.of.p.flags & SYN) || !f) return without_flow6(skb, l2, &r, &key, &in, own, f);
  struct settings *how = configuration();
  if (!how || (in.tunnel && is_same(&f->target, &in.source))) return LEFT;
  if (r.of.p.ttl <= 1) {
    count(LEFT_TTL, 1);
    return LEFT;
  }
  if (in.tunnel && ((in.tos ^ r.of.p.tos) & ECN_MASK)) {
    count(LEFT_ECN, 1);
    return LEFT;
  }
  const bool stack = how->flags & FORWARD_BY_STACK;
  struct address to = f->target;
  struct bpf_fib_lookup fib = asked_tunnel6(skb, &r, &own->self, &to);
  int found = route_flow6(skb, &fib);
  if (found < 0) return LEFT;
  if (r.of.p.protocol == IPPROTO_UDP) r.of.p.flags = ACK;
  note(skb, f, &r.of.p, true);
  if (!stack && !hop_at6(skb, at)) return TC_ACT_SHOT;
  if (!into_tunnel6(skb, l2, &r, in.tunnel, &own->self, &to)) return TC_ACT_SHOT;
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

static __always_inline bool may_be_here6(struct __sk_buff *skb, __u32 at, const struct packet6 *p) {
  struct bpf_sock_tuple tuple = {};
  __builtin_memcpy(tuple.ipv6.saddr, &p->saddr, sizeof p->saddr);
  __builtin_memcpy(tuple.ipv6.daddr, &p->daddr, sizeof p->daddr);
  tuple.ipv6.sport = p->p.sport;
  tuple.ipv6.dport = p->p.dport;
  struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof tuple.ipv6, BPF_F_CURRENT_NETNS, 0);
  if (!sk) return true;
  bool here = sk->state != BPF_TCP_LISTEN;
  PACKET_OF(skb, data, end);
  struct ipv6hdr *ip = data + at;
  struct tcphdr *tcp = (void *)(ip + 1);
  if (!here && (void *)(tcp + 1) <= end)
    here = bpf_tcp_check_syncookie(sk, ip, sizeof *ip, tcp, sizeof *tcp) == 0;
  bpf_sk_release(sk);
  return here;
}

// A server: opens tunnels of the routers above it for its virtual hosts, and gives back what belongs to no connection here.
static __always_inline int server_in6(struct __sk_buff *skb, __u32 l2) {
  struct reading6 r = {};
  if (!is_v6(skb) || skb->vlan_present || !read6_at(skb, l2, &r)) return LEFT;
  if (r.of.p.protocol != IPPROTO_IPV6 || !is_in6(&routers, &r.of.saddr)) return LEFT;
  const __u8 outer_tos = r.of.p.tos;
  struct settings *how = configuration();
  if (!how || !read6_at(skb, l2 + sizeof(struct ipv6hdr), &r) || r.of.p.protocol == IPPROTO_IPV6) return LEFT;
  if (!is_in6(&hosts, &r.of.daddr)) return LEFT;
  if ((outer_tos ^ r.of.p.tos) & ECN_MASK) {
    count(LEFT_ECN, 1);
    return LEFT;
  }
  __u32 zero = 0;
  struct source6 *own = bpf_map_lookup_elem(&source6, &zero);
  const bool judged = r.of.p.protocol == IPPROTO_TCP && !(r.of.p.flags & (SYN | RST)) && r.of.p.ttl > 1 && own &&
                      !is_none(&own->fallback);
  if (judged && !may_be_here6(skb, l2 + sizeof(struct ipv6hdr), &r.of)) {
    struct bpf_fib_lookup fib = asked_tunnel6(skb, &r, &own->self, &own->fallback);
    int found = route(skb, &fib);
    if (found < 0 || !into_tunnel6(skb, l2, &r, true, &own->self, &own->fallback)) return TC_ACT_SHOT;
    return forward(skb, l2, found, &fib);
  }
  count(IN_PACKETS, skb->gso_segs ? skb->gso_segs : 1);
  count(IN_BYTES, r.of.p.total);
  if (bpf_skb_adjust_room(skb, -(int)sizeof(struct ipv6hdr), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
    return TC_ACT_SHOT;
  return by_stack(skb, how);
}
