// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// What the programs share with TypeScript (`layout.ts`): the maps, and the layout of what they hold.
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// For whatever else looks at this interface, and then the stack.
#define LEFT TC_ACT_UNSPEC

#define AF_INET 2
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define IP_DF 0x4000
#define ECN_MASK 3
#define OUTER_TTL 64

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

// How a flow is carried: `src/pipeline/modes.ts`.
enum { TRANSLATE = 0, SPOOF = 1, TUNNEL = 2 };

// Bits of `flow.seen`.
// WAITING: the SYN went to the learned winner from here, and nothing has come back; the flow's `first_byte_us` is
// one more than its slot among the openings.
enum { CLIENT_FIN = 1, SERVER_FIN = 2, ANY_RST = 4, CLIENT_ACK = 8, SERVER_DATA = 16, WAITING = 32 };

// One connection in so many races again, by lot: `src/race/learned.ts`.
#define RACE_AGAIN 50
#define PREFIX_MASK bpf_htonl(0xffffff00)
#define OPENINGS 4096

struct address { __u32 word[4]; };

struct flow_key {
  struct address client, service;
  __be16 client_port, service_port;
  __u32 reserved;
};

struct flow {
  struct address target;  // gateway: who carries it; replica: R
  __u64 packets, bytes;
  __u32 last;             // monotonic clock >> 20
  __u32 asked_us;         // when the client's first data passed, low bits; 0: not yet
  __u32 first_byte_us;    // how long until the server's first data, plus one; 0: not yet
  union {
    struct {
      __be16 target_port;
      __u8 mode, seen;
    };
    __u32 word;           // for both ways may be noted at once, by two processors
  };
};
#define SEEN(bits) ((__u32)(bits) << 24)

struct endpoint_key {
  struct address address;
  __be16 port;
  __u16 reserved;
};

struct endpoint {
  struct address service;
  __be16 port;
  __u8 mode, reserved;
};

// Of the clients' prefixes; an IPv4 one has 96 bits more.
struct client_key {
  __u32 bits;
  struct address address;
};

struct settings {
  __u32 flags;
  __u32 mark, mask;  // of packets that are left to the stack translated
  __u32 tun;         // interface index of the role's TUN
};
enum { FORWARD_BY_STACK = 1 };

// Whom the clients of a prefix reach first, for one second after TypeScript said so.
struct winner {
  struct address target;
  __u64 until_ns;
  __u32 candidate;
  __be16 port;
  __u16 reserved;
};

// A connection that was opened here, for TypeScript to follow: it shares this memory.
struct opening {
  struct flow_key key;
  __u64 sent_ns, answered_ns;
  __u32 isn, candidate;
  __u32 length;
  __u32 ticket;  // one more than its number; written last
  __u8 syn[80];
};

struct tickets {
  __u64 head;  // taken here
  __u64 done;  // slots that TypeScript has finished with
};

enum { OUT_PACKETS, OUT_BYTES, IN_PACKETS, IN_BYTES, LEFT_TTL, LEFT_ROUTE, LEFT_MTU, LEFT_ECN, TO_TUN, FROM_TUN, TOTALS };
struct totals { __u64 of[TOTALS]; };

// The way out that the host's routes gave for packets from here to there.
struct way {
  __be32 source, destination;
  __u32 ingress;
  __u8 tos, protocol;
  __u16 mtu;
  __u32 tick;     // when; it holds no longer
  __u32 ifindex;
  __u32 macs[3];  // source and destination, behind each other
};
enum { WAYS = 256 };

// The programs' own, one for each processor.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, WAYS);
  __type(key, __u32);
  __type(value, struct way);
} ways SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct flow_key);
  __type(value, struct winner);
} winners SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, OPENINGS);
  __type(key, __u32);
  __type(value, struct opening);
} openings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct tickets);
} tickets SEC(".maps");

// The loader makes these maps, of the size that the role asks for; it hands them over by path.
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

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct totals);
} totals SEC(".maps");
