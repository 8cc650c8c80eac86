// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// The replica: packets that arrive for the service, and packets that the local server sends as the service.
#pragma once
#include "openings.h"

// Ingress. In configuration B packets are addressed to R, in C they come in the tunnel; the local server's address is
// S.
static __always_inline int replica_in(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (!read(skb, l2, &p)) return LEFT;
  struct settings *how = configuration();
  if (!how) return LEFT;
  if (p.protocol == IPPROTO_IPIP) {
    __be32 source = p.saddr, replica = p.daddr;
    __u8 tos = p.tos;
    if (!read_inner(skb, l2, &p) || (p.flags & SYN)) return LEFT;
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

// Egress. In configuration B data leaves unchanged and is only recorded; in C it goes into the tunnel. A packet with
// source S that belongs to no flow goes to the TUN, where TypeScript decides about it.
static __always_inline int replica_out(struct __sk_buff *skb, __u32 l2) {
  struct packet p = {};
  if (!read(skb, l2, &p) || p.protocol != IPPROTO_TCP) return LEFT;
  struct flow *f = find(p.daddr, p.dport, p.saddr, p.sport);
  if (f && f->mode == SPOOF) {
    note(skb, f, &p, false);
    return LEFT;
  }
  if (!f || f->mode != TUNNEL) {
    struct endpoint *e = find_endpoint(p.saddr, p.sport);
    if (!e || e->mode != TUNNEL) return LEFT;
  }
  struct settings *how = configuration();
  if (!how) return LEFT;
  __u32 segment = skb->gso_size ? p.header + skb->gso_size : p.total, mtu = 0;
  bpf_check_mtu(skb, 0, &mtu, 0, 0);  // called only for the interface's MTU
  if (!f || f->mode != TUNNEL || (p.flags & SYN) || segment + sizeof(struct iphdr) > mtu)
    return bpf_redirect(how->tun, 0);
  note(skb, f, &p, false);
  return encapsulate(skb, l2, &p, f->target.word[3], p.daddr) ? TC_ACT_OK : TC_ACT_SHOT;
}
