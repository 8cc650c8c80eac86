// SPDX-License-Identifier: MIT
// A hook that does nothing, to measure the cost of a test run itself.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc") int empty(struct __sk_buff *skb) {
  (void)skb;
  return 0;
}
