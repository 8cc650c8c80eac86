// SPDX-License-Identifier: MIT
//
// Sends TCP packets of BYTES bytes (Ethernet header included; at least 60, a pure acknowledgement) as fast as one
// processor can, past the sending side's own stack, spread evenly over FLOWS flows. A packet of more than 1514 bytes
// is a super-packet, which is segmented where it leaves the machine, as a sending stack makes them.
//
//   blast INTERFACE MAC SADDR SPORT DADDR DPORT SEQ ACK MS FLOWS BYTES
//
// Flow i is SADDR + i / 50000, SPORT + i % 50000. The receiver counts the packets.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, LEAST = 60, WIRE = 1514, MOST = 65000, HEADERS = 54, PORTS = 50000 };
// Coprime to all used numbers of flows: every flow has a packet before any has its next one, and consecutive packets
// are of distant flows.
enum { STRIDE = 611953 };

static uint32_t sum(const void *from, size_t length) {
  const uint8_t *bytes = from;
  uint32_t total = 0;
  for (size_t i = 0; i + 1 < length; i += 2) total += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
  return total;
}

static uint16_t folded(uint32_t s) {
  while (s >> 16) s = (s & 0xffff) + (s >> 16);
  return (uint16_t)~s;
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
  if (argc != 12) return 2;
  const int bytes = atoi(argv[11]);
  if (bytes < LEAST || bytes > MOST) return 2;
  // A packet's padding is not payload.
  const int payload = bytes == LEAST ? 0 : bytes - HEADERS;
  int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
    perror(argv[1]);
    return 1;
  }
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
  const int super = bytes > WIRE;
  struct virtio_net_hdr open = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                .hdr_len = HEADERS, .gso_size = WIRE - HEADERS, .csum_start = 34, .csum_offset = 16};
  if (super && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0) {
    perror("PACKET_VNET_HDR");
    return 1;
  }
  uint32_t source = ntohl(inet_addr(argv[3])), sport = (uint32_t)atoi(argv[4]), flows = (uint32_t)atoi(argv[10]);
  uint64_t until = now_ms() + strtoull(argv[9], NULL, 10);

  static uint8_t frames[BATCH][MOST], model[MOST];
  unsigned mac[6];
  sscanf(argv[2], "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]);
  for (int i = 0; i < 6; i++) model[i] = (uint8_t)mac[i];
  model[6] = 2;
  model[12] = ETH_P_IP >> 8;
  struct iphdr *ip = (struct iphdr *)(model + 14);
  struct tcphdr *tcp = (struct tcphdr *)(model + 34);
  *ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .tot_len = htons((uint16_t)(40 + payload)),
                       .frag_off = htons(0x4000), .daddr = inet_addr(argv[5])};
  tcp->dest = htons((uint16_t)atoi(argv[6]));
  tcp->seq = htonl((uint32_t)strtoul(argv[7], NULL, 10));
  tcp->ack_seq = htonl((uint32_t)strtoul(argv[8], NULL, 10));
  tcp->doff = 5;
  tcp->ack = 1;
  tcp->window = htons(65535);
  // The sums of all fields that are the same in every flow.
  const uint32_t ip_sum = sum(ip, 20), pseudo_sum = sum(&ip->daddr, 4) + IPPROTO_TCP + 20 + (uint32_t)payload;
  const uint32_t tcp_sum = sum(tcp, 20) + pseudo_sum;

  struct mmsghdr messages[BATCH];
  struct iovec parts[BATCH][2];
  for (int i = 0; i < BATCH; i++) {
    memcpy(frames[i], model, sizeof model);
    parts[i][0] = (struct iovec){.iov_base = &open, .iov_len = sizeof open};
    parts[i][1] = (struct iovec){.iov_base = frames[i], .iov_len = (size_t)bytes};
    messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = parts[i] + !super, .msg_iovlen = 1 + (size_t)super}};
  }
  uint64_t sent = 0;
  uint32_t flow = 0;
  while (now_ms() < until) {
    for (int i = 0; i < BATCH; i++) {
      uint32_t from = source + flow / PORTS, port = sport + flow % PORTS;
      struct iphdr *h = (struct iphdr *)(frames[i] + 14);
      struct tcphdr *t = (struct tcphdr *)(frames[i] + 34);
      uint32_t varies = (from >> 16) + (from & 0xffff);
      h->saddr = htonl(from);
      h->check = htons(folded(ip_sum + varies));
      t->source = htons((uint16_t)port);
      // The field of an open checksum has only the pseudo-header's sum, not complemented.
      t->check = htons(super ? (uint16_t)~folded(pseudo_sum + varies) : folded(tcp_sum + varies + port));
      flow = (flow + STRIDE) % flows;
    }
    int n = sendmmsg(fd, messages, BATCH, 0);
    if (n > 0) sent += (uint64_t)n;
  }
  printf("{\"sent\":%lu}\n", sent);
  return 0;
}
