// SPDX-License-Identifier: MIT
//
// Super-packets in and out of an IP-in-IP tunnel, which a virtio header cannot describe. This file knows neither TUNs
// nor Node: packets are read from memory and leave through a `sink`.
#ifndef FIRSTACK_SEGMENT_H
#define FIRSTACK_SEGMENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// Bytes of the virtio header before each packet.
#define VNET_HEADER 10

// Takes one packet, virtio header first, in parts that are valid during the call only. Returns 0 or an errno.
typedef int (*sink)(void *context, const struct iovec *parts, int count);

// Writes `count` packets to `out`. Packets of one flow keep their order.
//
// - An encapsulated super-packet (`[outer][inner][tcp]`, gso_type set) leaves as its segments.
// - Packets with opened[i] != 0 have just been decapsulated: consecutive segments of one flow leave as one
//   super-packet. Where `opened` has fewer than `count` entries, the rest are 0.
// - All other packets leave unchanged.
//
// Packet i is `lengths[i]` bytes at `arena + at[i]`, with its virtio header before it; headers are changed in place.
// Where a packet is malformed, or `out` refused it, -errno replaces its length. Returns how many of the `count`
// packets were taken.
int32_t write_packets(uint8_t *arena, size_t arena_size, const int32_t *at, int32_t *lengths, size_t count,
                      const uint8_t *opened, size_t opened_count, sink out, void *context);

#endif
