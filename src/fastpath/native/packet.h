// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Reading, rewriting, encapsulating, decapsulating, routing and redirecting one IPv4 packet.
#pragma once
#include "maps.h"

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

// One IPv4 header and its TCP header, at an offset of the packet.
struct packet {
  __be32 saddr, daddr;
  __be16 sport, dport;
  __u32 seq, ack;
  __u16 total, header;  // bytes of the IP packet; of IP and TCP headers
  __u8 protocol, ttl, tos, flags;
  bool df;
};

// False for packets that hooks do not carry: other protocols, fragments, IP options.
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

// Whether the hook can read this many bytes. It pulls no more bytes than that: a clone from the sending stack has
// only its headers in writable memory, and for one byte more the kernel would copy the headers and reference every
// page again.
static __always_inline bool within_reach(struct __sk_buff *skb, __u32 bytes) {
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  if (data + bytes <= end) return true;
  return bpf_skb_pull_data(skb, bytes) == 0;
}

// Reads the packet. A packet in a tunnel is read again at its inner header.
static __always_inline bool read(struct __sk_buff *skb, __u32 l2, struct packet *p) {
  if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present) return false;
  return within_reach(skb, l2 + sizeof(struct iphdr) + sizeof(struct tcphdr)) && parse(skb, l2, p);
}

static __always_inline bool read_inner(struct __sk_buff *skb, __u32 l2, struct packet *p) {
  const __u32 inner = l2 + sizeof(struct iphdr);
  return within_reach(skb, inner + sizeof(struct iphdr) + sizeof(struct tcphdr)) && parse(skb, inner, p) &&
         p->protocol == IPPROTO_TCP;
}

static __always_inline struct flow *find(__be32 client, __be16 client_port, __be32 service, __be16 service_port) {
  struct flow_key key = {.client_port = client_port, .service_port = service_port};
  map_v4(&key.client, client);
  map_v4(&key.service, service);
  return bpf_map_lookup_elem(&flows, &key);
}

static __always_inline bool has_ended(const struct flow *f) {
  const __u8 fins = CLIENT_FIN | SERVER_FIN;
  return (f->seen & ANY_RST) || (f->seen & fins) == fins;
}

// A SYN passes the TUN by: an earlier flow of its tuple would claim the packets that follow. A flow that has not ended,
// and that its client has confirmed, stays, because anybody could send a SYN.
static __always_inline void forget_before(const struct flow_key *key) {
  struct flow *f = bpf_map_lookup_elem(&flows, key);
  if (f && (has_ended(f) || !(f->seen & CLIENT_ACK))) bpf_map_delete_elem(&flows, key);
}

static __always_inline struct endpoint *find_endpoint(__be32 address, __be16 port) {
  struct endpoint_key key = {.port = port};
  map_v4(&key.address, address);
  return bpf_map_lookup_elem(&endpoints, &key);
}

static __always_inline bool is_client(__be32 address) {
  struct client_key key = {.bits = 128};
  map_v4(&key.address, address);
  return bpf_map_lookup_elem(&clients, &key);
}

// The unit of a flow's `last`.
static __always_inline __u32 tick(void) { return bpf_ktime_get_coarse_ns() >> 20; }

static __always_inline void note(struct __sk_buff *skb, struct flow *f, const struct packet *p, bool client) {
  __u32 now = tick();
  if (f->last != now) f->last = now;
  __u8 seen = f->seen;
  if (p->flags & FIN) seen |= client ? CLIENT_FIN : SERVER_FIN;
  // A side that goes on after its own RST has not sent it, or its peer refused it (`flow/states.ts`).
  if ((seen & ANY_RST) && !(p->flags & RST) && client == !(seen & SERVER_RST)) {
    seen &= ~(ANY_RST | SERVER_RST);
    __sync_fetch_and_and(&f->word, ~SEEN(ANY_RST | SERVER_RST));
  }
  if (p->flags & RST) seen |= client ? ANY_RST : seen & ANY_RST ? 0 : ANY_RST | SERVER_RST;
  if (client && (p->flags & ACK)) seen |= CLIENT_ACK;
  bool data = p->total > p->header;
  if (data && client && !f->asked_us) f->asked_us = (__u32)(bpf_ktime_get_ns() / 1000) | 1;
  if (data && !client && !(seen & SERVER_DATA)) {
    seen |= SERVER_DATA;
    if (f->asked_us) f->first_byte_us = (__u32)(bpf_ktime_get_ns() / 1000) - f->asked_us + 1;
  }
  if (seen != f->seen) __sync_fetch_and_or(&f->word, SEEN(seen));
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

// Sets the packet's source or destination, and updates both checksums (RFC 1624).
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
      // A super-packet's length may exceed the field: the kernel writes 0 then, and segments by its own length.
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

// A route query for a packet that will have these addresses and `extra` more bytes.
static __always_inline struct bpf_fib_lookup asked(struct __sk_buff *skb, const struct packet *p, __be32 source,
                                                   __be32 destination, __u32 extra) {
  return (struct bpf_fib_lookup){
      .family = AF_INET,
      .l4_protocol = extra ? IPPROTO_IPIP : IPPROTO_TCP,
      .tot_len = (skb->gso_size ? p->header + skb->gso_size : p->total) + extra,
      .ifindex = skb->ingress_ifindex,
      .tos = p->tos,
      .ipv4_src = source,
      .ipv4_dst = destination,
  };
}

// Looks up the packet's route; a negative result means that the packet is left to the stack.
static __always_inline int route(struct __sk_buff *skb, struct bpf_fib_lookup *fib) {
  int found = bpf_fib_lookup(skb, fib, sizeof *fib, 0);
  if (found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH) return found;
  count(found == BPF_FIB_LKUP_RET_FRAG_NEEDED ? LEFT_MTU : LEFT_ROUTE, 1);
  return -1;
}

// Looks up the route for a packet of a flow. The host's routes are queried once per tick of a flow's clock, a
// millisecond, because a busy flow has hundreds of packets in a tick and a query is half of a packet's cost.
static __always_inline int route_flow(struct __sk_buff *skb, struct bpf_fib_lookup *fib) {
  struct way now = {
      .source = fib->ipv4_src,
      .destination = fib->ipv4_dst,
      .ingress = fib->ifindex,
      .tos = fib->tos,
      .protocol = fib->l4_protocol,
      .tick = tick(),
  };
  __u32 slot = ((now.source ^ now.destination) * 0x9e3779b1) >> 24;
  struct way *known = bpf_map_lookup_elem(&ways, &slot);
  if (!known) return route(skb, fib);
  if (known->tick == now.tick && known->destination == now.destination && known->source == now.source &&
      known->ingress == now.ingress && known->tos == now.tos && known->protocol == now.protocol &&
      fib->tot_len <= known->mtu) {
    fib->ifindex = known->ifindex;
    __builtin_memcpy(fib->smac, known->macs, sizeof known->macs);
    return BPF_FIB_LKUP_RET_SUCCESS;
  }
  int found = route(skb, fib);
  if (found != BPF_FIB_LKUP_RET_SUCCESS) return found;
  now.mtu = fib->mtu_result;
  now.ifindex = fib->ifindex;
  __builtin_memcpy(now.macs, fib->smac, sizeof now.macs);
  *known = now;
  return found;
}

// Redirects a finished packet to its outgoing interface, past the host's own netfilter.
static __always_inline int forward(struct __sk_buff *skb, __u32 l2, int found, const struct bpf_fib_lookup *fib) {
  // The redirect helper expects an Ethernet header, and removes it where the outgoing interface has none.
  if (l2 == 0 && bpf_skb_change_head(skb, ETH_HLEN, 0)) return TC_ACT_SHOT;
  if (found != BPF_FIB_LKUP_RET_SUCCESS) return bpf_redirect_neigh(fib->ifindex, 0, 0, 0);
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct ethhdr *eth = data;
  if ((void *)(eth + 1) > end) return TC_ACT_SHOT;
  if (l2 == 0) eth->h_proto = (__be16)skb->protocol;
  __builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
  __builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
  return bpf_redirect(fib->ifindex, 0);
}

static __always_inline int by_stack(struct __sk_buff *skb, const struct settings *how) {
  skb->mark = (skb->mark & ~how->mask) | how->mark;
  return TC_ACT_OK;
}

// Whether the TUN's reader is late: its process is stuck, or has died.
static __always_inline bool is_late(void) {
  __u32 which = UNTIL;
  __u64 *until = bpf_map_lookup_elem(&awake, &which);
  return !until || *until < bpf_ktime_get_ns();
}

// Whether no process reads the TUN: the role is late, or has ended, and its TUN has gone with it.
static __always_inline bool is_unread(struct __sk_buff *skb) {
  struct settings *how = configuration();
  __u32 mtu = 0;
  return is_late() || (how && bpf_check_mtu(skb, how->tun, &mtu, 0, 0) == -ENODEV);
}

// Whether a packet, with `extra` more bytes, is larger than the path to the target carries. TypeScript tells the sender.
static __always_inline bool is_too_large(struct __sk_buff *skb, const struct packet *p, struct address *target,
                                         __u32 extra) {
  __u32 which = NARROW;
  __u64 *narrow = bpf_map_lookup_elem(&awake, &which);
  if (!narrow || !*narrow || !p->df) return false;
  __u32 *mtu = bpf_map_lookup_elem(&paths, target);
  return mtu && (skb->gso_size ? p->header + skb->gso_size : p->total) + extra > *mtu && !is_late();
}

// Leaves a packet to the stack, past the rules that would steer it to a TUN that no process reads.
static __always_inline int past_tun(struct __sk_buff *skb) {
  struct settings *how = configuration();
  if (!how) return LEFT;
  skb->mark = (skb->mark & ~how->mask) | how->mark;
  count(LEFT_LATE, 1);
  return LEFT;
}

// Redirects a packet that opens a connection to the TUN, where TypeScript decides about it. The stack's own way to
// the TUN takes longer. Returns LEFT when the TUN no longer exists.
static __always_inline int to_tun(struct __sk_buff *skb, const struct packet *p) {
  struct settings *how = configuration();
  __u32 mtu = 0;
  if (!how || (how->flags & FORWARD_BY_STACK) || p->ttl <= 1 || bpf_check_mtu(skb, how->tun, &mtu, 0, 0)) return LEFT;
  count(TO_TUN, 1);
  return bpf_redirect(how->tun, 0);
}

// Defines a hook twice: for interfaces with an Ethernet header and for those without (a tunnel, WireGuard).
#define HOOK(name) \
  SEC("tc") int name##_l2(struct __sk_buff *skb) { return name(skb, ETH_HLEN); } \
  SEC("tc") int name##_l3(struct __sk_buff *skb) { return name(skb, 0); }
