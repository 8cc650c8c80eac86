// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// The gateway: sends SYNs to a learned winner and clients' packets to the winner, and returns its answers as the
// service's.
// Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
#pragma once
#include "gateway6.h"
#include "openings.h"

// Draws lots as `gateway/race/send-syn.ts` does: the result is the same for every SYN of a connection, in the kernel
// and in TypeScript.
static __always_inline bool races_again(__u32 isn) {
  __u32 h = (isn ^ (isn >> 16)) * 0x7feb352d;
  h = (h ^ (h >> 15)) * 0x846ca68b;
  h ^= h >> 16;
  return (h >> 1) % RACE_AGAIN == 0;
}

// Sends a client's SYN to the learned winner alone, and leaves a slot for TypeScript, which hedges. Only in
// configuration A, where a SYN needs no tag.
static __always_inline int gateway_syn(struct __sk_buff *skb, __u32 l2, const struct packet *p) {
  __u32 zero = 0;
  if ((p->flags & (SYN | ACK | RST | FIN)) != SYN || p->total != p->header || p->ttl <= 1) return LEFT;
  struct flow_key key = {.service_port = p->dport};
  map_v4(&key.client, p->saddr & PREFIX_MASK);
  map_v4(&key.service, p->daddr);
  struct winner *w = bpf_map_lookup_elem(&leases, &key);
  if (!w || w->until_ns < bpf_ktime_get_ns() || races_again(p->seq)) return LEFT;
  __u32 which = LEASED_SINCE;
  __u64 *since = bpf_map_lookup_elem(&awake, &which);
  if (!since || w->until_ns - LEASE_NS < *since) return LEFT;
  struct settings *how = configuration();
  struct tickets *t = bpf_map_lookup_elem(&tickets, &zero);
  // The host's own rules see a SYN as the client sent it, before anything is translated.
  if (!how || (how->flags & FORWARD_BY_STACK) || !t || t->head - t->done >= OPENINGS - 64) return LEFT;
  key.client_port = p->sport;
  key.client.word[3] = p->saddr;
  struct flow *before = bpf_map_lookup_elem(&flows, &key);
  if (before && !has_ended(before)) return LEFT;
  __u32 length = p->header;
  if (length < 40 || length > sizeof(((struct opening *)0)->syn)) return LEFT;
  __be32 target = w->target.word[3];
  __be16 port = w->port;
  struct bpf_fib_lookup fib = asked(skb, p, p->saddr, target, 0);
  int found = route(skb, &fib);
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
  // A slot whose connection could not be opened keeps a length of 0: it has no SYN.
  o->length = 0;
  int verdict = LEFT;
  if (bpf_skb_load_bytes(skb, l2, o->syn, length) == 0 && bpf_map_update_elem(&flows, &key, &f, BPF_ANY) == 0) {
    o->length = length;
    verdict = TC_ACT_SHOT;
  }
  __sync_lock_test_and_set(&o->ticket, (__u32)n + 1);
  if (verdict == LEFT || !rewrite(skb, l2, p, true, target, port, true)) return verdict;
  return forward(skb, l2, found, &fib);
}

// Whether the packet is the learned winner's SYN-ACK; if so, notes when it came.
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

// Whether a packet goes from a client to a service. The endpoint must be the origin's: its address and port are the
// service's own.
static __always_inline bool is_to_service(const struct packet *p) {
  struct endpoint *e = find_endpoint(p->daddr, p->dport);
  return e && e->port == p->dport && is_v4(&e->service, p->daddr) && is_client(p->saddr);
}

// [602-612, 656] Sends a client's packet to the winner.
static __always_inline int gateway_lan(struct __sk_buff *skb, __u32 l2) {
  if (is_v6(skb)) return gateway_lan6(skb, l2);
  struct packet p = {};
  if (!read(skb, l2, &p) || p.protocol != IPPROTO_TCP) return LEFT;
  if (p.flags & SYN) {
    if (!is_to_service(&p)) return LEFT;
    if (is_unread(skb)) {
      struct flow_key key = {.client_port = p.sport, .service_port = p.dport};
      map_v4(&key.client, p.saddr);
      map_v4(&key.service, p.daddr);
      forget_before(&key);
      return past_tun(skb);
    }
    int verdict = gateway_syn(skb, l2, &p);
    return verdict == LEFT ? to_tun(skb, &p) : verdict;
  }
  struct flow *f = find(p.saddr, p.sport, p.daddr, p.dport);
  struct settings *how = configuration();
  if (!f && is_to_service(&p) && is_unread(skb)) return past_tun(skb);
  if (!f || !how || (f->seen & WAITING)) return LEFT;
  __be32 target = f->target.word[3];
  bool tunnel = f->mode == TUNNEL, stack = how->flags & FORWARD_BY_STACK;
  if (p.ttl <= 1) {
    count(LEFT_TTL, 1);
    return LEFT;
  }
  const __u32 extra = tunnel ? sizeof(struct iphdr) : 0;
  if (is_too_large(skb, &p, &f->target, extra)) {
    count(LEFT_MTU, 1);
    return LEFT;
  }
  struct bpf_fib_lookup fib = asked(skb, &p, p.saddr, target, extra);
  int found = route_flow(skb, &fib);
  if (found < 0) return LEFT;
  note(skb, f, &p, true);
  if (tunnel) {
    // A packet that bypasses the stack has its inner TTL decremented here; the outer header starts with a TTL of its
    // own.
    if (!stack && !hop_at(skb, l2)) return TC_ACT_SHOT;
    if (!encapsulate(skb, l2, &p, p.saddr, target)) return TC_ACT_SHOT;
  } else if (!rewrite(skb, l2, &p, true, target, f->target_port, !stack)) {
    return TC_ACT_SHOT;
  }
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// [616, 636, 658] Sends a server's packet to the client, as the service.
static __always_inline int gateway_wan(struct __sk_buff *skb, __u32 l2) {
  if (is_v6(skb)) return gateway_wan6(skb, l2);
  struct packet p = {};
  if (!read(skb, l2, &p)) return LEFT;
  struct settings *how = configuration();
  if (!how) return LEFT;
  bool tunnel = p.protocol == IPPROTO_IPIP, stack = how->flags & FORWARD_BY_STACK;
  __be32 outer_source = p.saddr, outer_client = p.daddr, service;
  __be16 service_port;
  __u8 outer_tos = p.tos;
  if (tunnel) {
    if (!read_inner(skb, l2, &p)) return LEFT;
    service = p.saddr;
    service_port = p.sport;
  } else {
    struct endpoint *e = find_endpoint(p.saddr, p.sport);
    if (!e) return LEFT;
    service = e->service.word[3];
    service_port = e->port;
  }
  // A machine that opens a connection to a client is never ours: this host's rules see it.
  if ((p.flags & (SYN | ACK)) == SYN) return LEFT;
  struct flow *f = find(p.daddr, p.dport, service, service_port);
  if (!f) {
    // Only the origin's packets reach the client without translation.
    bool unread = p.saddr == service && is_unread(skb);
    if (tunnel || (!unread && !(p.flags & SYN)) || !is_client(p.daddr)) return LEFT;
    return unread ? past_tun(skb) : to_tun(skb, &p);
  }
  bool waiting = f->seen & WAITING;
  if ((p.flags & SYN) && !waiting) return LEFT;
  // A SYN's refusal before the client has confirmed the connection: TypeScript asks another machine.
  if ((p.flags & RST) && !p.seq && !(f->seen & CLIENT_ACK) && !is_unread(skb)) return LEFT;
  // Only packets from the winner, in the form of its configuration, are carried; TypeScript handles all others.
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
  struct bpf_fib_lookup fib = asked(skb, &p, service, p.daddr, 0);
  int found = route_flow(skb, &fib);
  if (found < 0 || (waiting && !is_answer(f, &p))) return LEFT;
  note(skb, f, &p, false);
  if (tunnel) {
    if (!decapsulate(skb) || (!stack && !hop_at(skb, l2))) return TC_ACT_SHOT;
  } else if (!rewrite(skb, l2, &p, false, service, service_port, !stack)) {
    return TC_ACT_SHOT;
  }
  return stack ? by_stack(skb, how) : forward(skb, l2, found, &fib);
}

// Sends a packet that TypeScript wrote to its next hop, because the stack's own way there takes longer.
static __always_inline int gateway_tun(struct __sk_buff *skb, __u32 l2) {
  if (is_v6(skb)) return gateway_tun6(skb, l2);
  struct packet p = {};
  struct settings *how = configuration();
  if (!how || (how->flags & FORWARD_BY_STACK) || !read(skb, l2, &p) || p.ttl <= 1) return LEFT;
  if (p.protocol == IPPROTO_IPIP && skb->gso_size) return LEFT;
  struct bpf_fib_lookup fib = asked(skb, &p, p.saddr, p.daddr, 0);
  fib.l4_protocol = p.protocol;
  int found = route_flow(skb, &fib);
  if (found < 0) return LEFT;
  if (!hop_at(skb, l2)) return TC_ACT_SHOT;
  count(FROM_TUN, 1);
  return forward(skb, l2, found, &fib);
}
