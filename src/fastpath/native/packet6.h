// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Reading, rewriting, routing and redirecting one IPv6 packet whose TCP header follows its IPv6 header.
#pragma once
#include <linux/ipv6.h>
#include "packet.h"

#define AF_INET6 10

struct packet6 {
  struct address saddr, daddr;
  struct packet p;  // without addresses
};

static __always_inline bool is_v6(const struct __sk_buff *skb) { return skb->protocol == bpf_htons(ETH_P_IPV6); }

static __always_inline bool is_same(const struct address *a, const struct address *b) {
  return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] && a->word[3] == b->word[3];
}

// Whether an address is in ::/64, where IPv4 addresses have their place in the maps.
static __always_inline bool is_low(const struct address *a) { return !a->word[0] && !a->word[1]; }

// False for packets that hooks do not carry: other protocols, extension headers, fragments.
static __always_inline bool read6(struct __sk_buff *skb, __u32 l2, struct packet6 *to) {
  if (skb->vlan_present || !within_reach(skb, l2 + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))) return false;
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct ipv6hdr *ip = data + l2;
  struct tcphdr *tcp = (void *)(ip + 1);
  if ((void *)(tcp + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_TCP) return false;
  __u32 total = sizeof *ip + bpf_ntohs(ip->payload_len);
  struct packet *p = &to->p;
  __builtin_memcpy(&to->saddr, &ip->saddr, sizeof to->saddr);
  __builtin_memcpy(&to->daddr, &ip->daddr, sizeof to->daddr);
  p->total = total;
  p->protocol = IPPROTO_TCP;
  p->ttl = ip->hop_limit;
  p->sport = tcp->source;
  p->dport = tcp->dest;
  p->flags = ((__u8 *)tcp)[13];
  p->header = sizeof *ip + tcp->doff * 4;
  return !is_low(&to->saddr) && !is_low(&to->daddr) && total <= 0xffff && tcp->doff >= 5 && p->header <= total &&
         l2 + total <= skb->len;
}

static __always_inline struct flow *find6(const struct address *client, __be16 client_port,
                                          const struct address *service, __be16 service_port) {
  struct flow_key key = {.client = *client, .service = *service, .client_port = client_port, .service_port = service_port};
  return bpf_map_lookup_elem(&flows, &key);
}

static __always_inline struct endpoint *find_endpoint6(const struct address *address, __be16 port) {
  struct endpoint_key key = {.address = *address, .port = port};
  return bpf_map_lookup_elem(&endpoints, &key);
}

static __always_inline bool is_client6(const struct address *address) {
  struct client_key key = {.bits = 128, .address = *address};
  return bpf_map_lookup_elem(&clients, &key);
}

// Counts one hop. There is no header checksum, so a checksum over the whole packet, where the driver gave one, changes.
static __always_inline void hop6(struct __sk_buff *skb, struct ipv6hdr *ip) {
  ip->hop_limit--;
  bpf_csum_update(skb, (__u16)~bpf_htons(1));
}

// Sets the packet's source or destination, and updates the checksum (RFC 1624).
static __always_inline bool rewrite6(struct __sk_buff *skb, __u32 l2, const struct packet6 *p, bool destination,
                                     const struct address *to, __be16 to_port, bool hop) {
  const struct address *from = destination ? &p->daddr : &p->saddr;
  __be16 from_port = destination ? p->p.dport : p->p.sport;
  const __u32 check = l2 + sizeof(struct ipv6hdr) + offsetof(struct tcphdr, check);
  if (!is_same(from, to)) {
    __s64 diff = bpf_csum_diff((__be32 *)from, sizeof *from, (__be32 *)to, sizeof *to, 0);
    if (bpf_l4_csum_replace(skb, check, 0, diff, BPF_F_PSEUDO_HDR)) return false;
    // The helper presumes a header checksum that changes too, and takes the difference from the driver's checksum.
    bpf_csum_update(skb, diff);
  }
  if (from_port != to_port && bpf_l4_csum_replace(skb, check, from_port, to_port, sizeof to_port)) return false;
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct ipv6hdr *ip = data + l2;
  struct tcphdr *tcp = (void *)(ip + 1);
  if ((void *)(tcp + 1) > end) return false;
  if (destination) {
    __builtin_memcpy(&ip->daddr, to, sizeof *to);
    tcp->dest = to_port;
  } else {
    __builtin_memcpy(&ip->saddr, to, sizeof *to);
    tcp->source = to_port;
  }
  if (hop) hop6(skb, ip);
  return true;
}

static __always_inline bool hop_at6(struct __sk_buff *skb, __u32 at) {
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  struct ipv6hdr *ip = data + at;
  if ((void *)(ip + 1) > end) return false;
  hop6(skb, ip);
  return true;
}

// A route query for a packet that will have these addresses.
static __always_inline struct bpf_fib_lookup asked6(struct __sk_buff *skb, const struct packet *p,
                                                    const struct address *source, const struct address *destination) {
  struct bpf_fib_lookup fib = {
      .family = AF_INET6,
      .l4_protocol = IPPROTO_TCP,
      .tot_len = skb->gso_size ? p->header + skb->gso_size : p->total,
      .ifindex = skb->ingress_ifindex,
  };
  __builtin_memcpy(fib.ipv6_src, source, sizeof *source);
  __builtin_memcpy(fib.ipv6_dst, destination, sizeof *destination);
  return fib;
}

// The next hop of packets from `source` to `destination`, as `struct way` has it for IPv4.
struct way6 {
  struct address source, destination;
  __u32 ingress, mtu, tick, ifindex;
  __u32 macs[3];
  __be32 flowinfo;  // traffic class and flow label, by which equal ways are chosen
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, WAYS);
  __type(key, __u32);
  __type(value, struct way6);
} ways6 SEC(".maps");

// `route_flow` of IPv6.
static __always_inline int route_flow6(struct __sk_buff *skb, struct bpf_fib_lookup *fib) {
  const struct address *source = (void *)fib->ipv6_src, *destination = (void *)fib->ipv6_dst;
  __u32 now = tick(), ingress = fib->ifindex;
  __be32 flowinfo = fib->flowinfo;
  __u32 slot = ((source->word[0] ^ source->word[3] ^ destination->word[1] ^ destination->word[3] ^ flowinfo) * 0x9e3779b1) >> 24;
  struct way6 *known = bpf_map_lookup_elem(&ways6, &slot);
  if (!known) return route(skb, fib);
  if (known->tick == now && known->ingress == ingress && known->flowinfo == flowinfo && is_same(&known->destination, destination) &&
      is_same(&known->source, source) && fib->tot_len <= known->mtu) {
    fib->ifindex = known->ifindex;
    __builtin_memcpy(fib->smac, known->macs, sizeof known->macs);
    return BPF_FIB_LKUP_RET_SUCCESS;
  }
  // The query puts the next hop's address in the destination's place.
  struct address to = *destination;
  int found = route(skb, fib);
  if (found != BPF_FIB_LKUP_RET_SUCCESS) return found;
  known->source = *source;
  known->destination = to;
  known->ingress = ingress;
  known->flowinfo = flowinfo;
  known->mtu = fib->mtu_result;
  known->ifindex = fib->ifindex;
  __builtin_memcpy(known->macs, fib->smac, sizeof known->macs);
  known->tick = now;
  return found;
}
