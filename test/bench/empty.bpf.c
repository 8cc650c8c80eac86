// SPDX-License-Identifier: MIT
// A program that does nothing: what a test run costs by itself.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc") int empty(struct __sk_buff *skb) {
  (void)skb;
  return 0;
}
