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

HOOK(gateway_lan)
HOOK(gateway_wan)
HOOK(gateway_tun)
HOOK(replica_in)
HOOK(replica_out)

char _license[] SEC("license") = "Dual MIT/GPL";
