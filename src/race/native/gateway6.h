// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// The gateway's hooks for IPv6, in configuration A: as those of gateway.h, whose comments apply. The kernel opens no
// connections over IPv6 by itself.
#pragma once
#include "../../fastpath/native/packet6.h"
#include "openings.h"

static __always_inline bool is_to_service6(const struct packet6 *p) {
  struct endpoint *e = find_endpoint6(&p->daddr, p->p.dport);
  return e && e->port == p->p.dport && is_same(&e->service, &p->daddr) && is_client6(&p->saddr);
}

static __always_inline int gateway_lan6(struct __sk_buff *skb, __u32 l2) {
  struct packet6 p = {};
  if (!read6(skb, l2, &p)) return LEFT;
  if (p.p.flags & SYN) {
    if (!is_to_service6(&p)) return LEFT;
    if (!is_unread(skb)) return to_tun(skb, &p.p);
    struct flow_key key = {
      .client = p.saddr, .service = p.daddr, .client_port = p.p.sport, .service_port = p.p.dport};
    forget_before(&key);
    return past_tun(skb);
  }
  struct flow *f = find6(&p.saddr, p.p.sport, &p.daddr, p.p.dport);
  struct settings *how = configuration();
  if (!f && is_to_service6(&p) && is_unread(skb)) return past_tun(skb);
  if (!f || !how || f->mode != TRANSLATE) return LEFT;
  bool stack = how->flags & FORWARD_BY_STACK;
  if (p.p.ttl <= 1) {
    count(LEFT_TTL, 1);
    return LEFT;
  }
  struct address target = f->target;
  struct bpf_fib_lookup fib = asked6(skb, &p.p, &p.saddr, &target);
  int found = route_flow6(skb, &fib);
  if (found < 0) return LEFT;
  note(skb, f, &p.p, true);
  if (!rewrite6(skb, l2, &p, true, &target, f->target_port, !stack)) return TC_ACT_SHOT;
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

static __always_inline int gateway_wan6(struct __sk_buff *skb, __u32 l2) {
  struct packet6 p = {};
  if (!read6(skb, l2, &p)) return LEFT;
  struct settings *how = configuration();
  struct endpoint *e = find_endpoint6(&p.saddr, p.p.sport);
  if (!how || !e) return LEFT;
  if ((p.p.flags & (SYN | ACK)) == SYN) return LEFT;
  bool stack = how->flags & FORWARD_BY_STACK;
  struct address service = e->service;
  __be16 service_port = e->port;
  struct flow *f = find6(&p.daddr, p.p.dport, &service, service_port);
  if (!f) {
    bool unread = is_same(&p.saddr, &service) && is_unread(skb);
    if ((!unread && !(p.p.flags & SYN)) || !is_client6(&p.daddr)) return LEFT;
    return unread ? past_tun(skb) : to_tun(skb, &p.p);
  }
  if ((p.p.flags & SYN) || f->mode != TRANSLATE || !is_same(&f->target, &p.saddr) || f->target_port != p.p.sport)
    return LEFT;
  if ((p.p.flags & RST) && !p.p.seq && !(f->seen & CLIENT_ACK) && !is_unread(skb)) return LEFT;
  if (p.p.ttl <= 1) {
    count(LEFT_TTL, 1);
    return LEFT;
  }
  struct bpf_fib_lookup fib = asked6(skb, &p.p, &service, &p.daddr);
  int found = route_flow6(skb, &fib);
  if (found < 0) return LEFT;
  note(skb, f, &p.p, false);
  if (!rewrite6(skb, l2, &p, false, &service, service_port, !stack)) return TC_ACT_SHOT;
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

static __always_inline int gateway_tun6(struct __sk_buff *skb, __u32 l2) {
  struct packet6 p = {};
  struct settings *how = configuration();
  if (!how || (how->flags & FORWARD_BY_STACK) || !read6(skb, l2, &p) || p.p.ttl <= 1) return LEFT;
  struct bpf_fib_lookup fib = asked6(skb, &p.p, &p.saddr, &p.daddr);
  int found = route_flow6(skb, &fib);
  if (found < 0) return LEFT;
  if (!hop_at6(skb, l2)) return TC_ACT_SHOT;
  count(FROM_TUN, 1);
  return forward(skb, l2, found, &fib);
}
