// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Counts the UDP packets that pass, and leaves them unchanged.
#include "../../fastpath/native/packet.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} datagrams SEC(".maps");

static __always_inline int echo_in(struct __sk_buff *skb, __u32 l2) {
  __u32 zero = 0;
  __u8 protocol = 0;
  bpf_skb_load_bytes(skb, l2 + 9, &protocol, 1);
  __u64 *n = bpf_map_lookup_elem(&datagrams, &zero);
  if (n && protocol == IPPROTO_UDP) __sync_fetch_and_add(n, 1);
  return LEFT;
}
HOOK(echo_in)
char _license[] SEC("license") = "Dual MIT/GPL";
