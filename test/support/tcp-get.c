// One HTTP request over a socket of this protocol: tcp-get tcp|mptcp ADDRESS PATH LOCAL_PORT. Prints the answer. A local
// port of 0 is any.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int failed(const char *what) {
  perror(what);
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int fd = socket(AF_INET, SOCK_STREAM, strcmp(argv[1], "mptcp") == 0 ? IPPROTO_MPTCP : IPPROTO_TCP);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[4]))};
  int yes = 1;
  if (fd < 0 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) return failed("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr *)&own, sizeof own) != 0) return failed("bind");
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return failed("connect");
  char bytes[65536];
  int length = snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", argv[3], argv[2]);
  if (write(fd, bytes, length) != length) return failed("write");
  for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) fwrite(bytes, 1, n, stdout);
  return 0;
}
