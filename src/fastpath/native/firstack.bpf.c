// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Carries pinned flows in the kernel. TypeScript decides a race, writes one entry per flow and sweeps; these
// programs translate or tunnel every packet of it but the SYNs, and note what they see. A packet that they
// cannot carry exactly as TypeScript would (a fragment, IP options, an expiring TTL, one too large for
// the way out, a congestion mark that must move) is left to the stack untouched, and so to the TUN.
//
// Addresses are 128 bits in network order, IPv4 as v4-mapped. The layout is that of `layout.ts`.
#include "gateway.h"
#include "replica.h"

// An interface has an Ethernet header or none (a tunnel, WireGuard).
#define PROGRAM(name) \
  SEC("tc") int name##_l2(struct __sk_buff *skb) { return name(skb, ETH_HLEN); } \
  SEC("tc") int name##_l3(struct __sk_buff *skb) { return name(skb, 0); }

PROGRAM(gateway_lan)
PROGRAM(gateway_wan)
PROGRAM(gateway_tun)
PROGRAM(replica_in)
PROGRAM(replica_out)

char _license[] SEC("license") = "Dual MIT/GPL";
