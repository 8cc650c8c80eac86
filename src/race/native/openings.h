// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// What the race's hooks share with TypeScript (`src/race/kernel-layout.ts`): connections that the kernel opens by
// itself with a learned winner.
#pragma once
#include "../../fastpath/native/packet.h"

// How a flow is carried: `src/race/modes.ts`.
enum { TRANSLATE = 0, SPOOF = 1, TUNNEL = 2 };

// One connection in this many is raced again, chosen by lot: `src/proximity/learned.ts`.
#define RACE_AGAIN 50
#define PREFIX_MASK bpf_htonl(0xffffff00)
#define OPENINGS 4096
#define LEASE_NS 1000000000ull

// The machine to which SYNs of a client prefix are sent; valid for one second after TypeScript wrote it.
struct winner {
  struct address target;
  __u64 until_ns;
  __u32 candidate;
  __be16 port;
  __u16 reserved;
};

// A connection that a hook opened. TypeScript follows it in this memory, which both share.
struct opening {
  struct flow_key key;
  __u64 sent_ns, answered_ns;
  __u32 isn, candidate;
  __u32 length;
  __u32 ticket;  // one more than its number; written last
  __u8 syn[80];
};

struct tickets {
  __u64 head;  // tickets that hooks have taken
  __u64 done;  // slots that TypeScript has finished with
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1024);
  __type(key, struct flow_key);
  __type(value, struct winner);
} leases SEC(".maps");

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

_Static_assert(sizeof(struct winner) == 32 && offsetof(struct winner, until_ns) == 16, "winner");
_Static_assert(sizeof(struct opening) == 152 && offsetof(struct opening, syn) == 72, "opening");
_Static_assert(sizeof(struct tickets) == 16, "tickets");
