// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Carries pinned flows in the kernel. TypeScript decides a race, writes one entry per flow and removes expired
// entries. These hooks translate or tunnel every packet of a pinned flow except SYNs, and record in the entry what
// they see. A packet that they cannot carry exactly as TypeScript would (a fragment, one with IP options, an expiring
// TTL or a congestion mark that must be copied, one too large for the way out) is left to the stack unchanged, which
// takes it to the TUN.
//
// Addresses are 128 bits in network order, IPv4 as v4-mapped. The layout is that of `src/fastpath/layout.ts`.
#include "gateway.h"
#include "replica.h"

HOOK(gateway_lan)
HOOK(gateway_wan)
HOOK(gateway_tun)
HOOK(replica_in)
HOOK(replica_out)

char _license[] SEC("license") = "Dual MIT/GPL";
