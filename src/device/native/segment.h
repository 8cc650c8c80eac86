// SPDX-License-Identifier: MIT
//
// Super-packets in and out of an IP-in-IP tunnel, which a virtio header cannot express. Knows nothing of
// TUNs or Node: packets come as memory and leave through a `sink`.
#ifndef FIRSTACK_SEGMENT_H
#define FIRSTACK_SEGMENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// Bytes of the virtio header before each packet.
#define VNET_HEADER 10

// Takes one packet, virtio header first, in parts that are valid during the call. Returns 0 or an errno.
typedef int (*sink)(void *context, const struct iovec *parts, int count);

// Writes `count` packets to `out`, in the order in which they stand as far as packets of one flow go.
//
// - An encapsulated super-packet (`[outer][inner][tcp]`, gso_type set) leaves as its segments.
// - Packets with opened[i] != 0 have just come out of a tunnel: consecutive segments of one flow leave as
//   one super-packet. Fewer than `count` entries in `opened` mean 0 for the rest.
// - All others leave as they are.
//
// Packet i is `lengths[i]` bytes at `arena + at[i]`, its virtio header before it; headers are changed in
// place. A packet that is malformed or that `out` refused has its length replaced by -errno. Returns how
// many of the given packets were taken.
int32_t write_packets(uint8_t *arena, size_t arena_size, const int32_t *at, int32_t *lengths, size_t count,
                      const uint8_t *opened, size_t opened_count, sink out, void *context);

#endif
