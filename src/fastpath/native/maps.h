// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// What every program's hooks share with TypeScript (`layout.ts`): maps, and the layout of their keys and values. Maps
// of one program only are declared beside its hooks.
#pragma once
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// The verdict for a packet that is left to other filters of this interface, and then to the stack.
#define LEFT TC_ACT_UNSPEC

#define AF_INET 2
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define IP_DF 0x4000
#define ECN_MASK 3
#define OUTER_TTL 64

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

// Bits of `flow.seen`.
// WAITING: a hook opened the flow, and it is not answered; `first_byte_us` then belongs to the program whose hook
// opened it.
// SERVER_RST: with ANY_RST, the server sent it.
enum { CLIENT_FIN = 1, SERVER_FIN = 2, ANY_RST = 4, CLIENT_ACK = 8, SERVER_DATA = 16, WAITING = 32, SERVER_RST = 64 };

struct address { __u32 word[4]; };

struct flow_key {
  struct address client, service;
  __be16 client_port, service_port;
  __be32 protocol;  // 0 is TCP, because keys that older versions pinned have 0 here
};

struct flow {
  struct address target;  // at a gateway the flow's machine, at a replica its own address
  __u64 packets, bytes;
  __u32 last;             // monotonic clock >> 20
  __u32 asked_us;         // low bits of when the client's first data passed; 0: not yet
  __u32 first_byte_us;    // time until the server's first data, plus one; 0: not yet
  union {
    struct {
      __be16 target_port;
      __u8 mode, seen;
    };
    __u32 word;           // two processors may record both directions at the same time
  };
};
#define SEEN(bits) ((__u32)(bits) << 24)

struct endpoint_key {
  struct address address;
  __be16 port;
  __be16 protocol;  // 0 is TCP
};

struct endpoint {
  struct address service;
  __be16 port;
  __u8 mode, reserved;  // defined by the program
};

// Key of a client prefix; an IPv4 prefix has 96 more bits.
struct client_key {
  __u32 bits;
  struct address address;
};

struct settings {
  __u32 flags;
  __u32 mark, mask;  // the mark of translated packets that are left to the stack
  __u32 tun;         // interface index of the role's TUN
};
enum { FORWARD_BY_STACK = 1 };

enum { OUT_PACKETS, OUT_BYTES, IN_PACKETS, IN_BYTES, LEFT_TTL, LEFT_ROUTE, LEFT_MTU, LEFT_ECN, TO_TUN, FROM_TUN, LEFT_LATE, BY_SLOT, DROP_GIVEN_BACK, TOTALS };
struct totals { __u64 of[TOTALS]; };

// The next hop that the host's routes gave for packets from `source` to `destination`.
struct way {
  __be32 source, destination;
  __u32 ingress;
  __u8 tos, protocol;
  __u16 mtu;
  __u32 tick;     // the tick in which it was looked up; valid in that tick only
  __u32 ifindex;
  __u32 macs[3];  // source and destination, behind each other
};
enum { WAYS = 256 };

// Maps that only the hooks use, with one value for each processor.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, WAYS);
  __type(key, __u32);
  __type(value, struct way);
} ways SEC(".maps");

// The loader makes these maps in the size that the role requires, and passes them by path.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct flow_key);
  __type(value, struct flow);
} flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct endpoint_key);
  __type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1024);
  __type(key, struct client_key);
  __type(value, __u32);
} clients SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct settings);
} settings SEC(".maps");

// Words that the TUN's reader writes. UNTIL: until when it is regarded as awake; it renews this ten times a second.
// NARROW: how many entries `paths` has. LEASED_SINCE: what was leased before is not valid any more.
enum { UNTIL, NARROW, LEASED_SINCE };
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 3);
  __type(key, __u32);
  __type(value, __u64);
} awake SEC(".maps");

// Path MTUs towards targets, where they are smaller than this host's interfaces'; a tunnel's header counts.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct address);
  __type(value, __u32);
} paths SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct totals);
} totals SEC(".maps");

// `layout.ts` has the same offsets; a test compares it with this object's BTF.
_Static_assert(sizeof(struct flow_key) == 40 && offsetof(struct flow_key, protocol) == 36, "flow_key");
_Static_assert(sizeof(struct flow) == 48 && offsetof(struct flow, word) == 44, "flow");
_Static_assert(sizeof(struct endpoint_key) == 20 && sizeof(struct endpoint) == 20, "endpoint");
_Static_assert(sizeof(struct client_key) == 20 && sizeof(struct settings) == 16, "settings");
