/* What getent does, for a libc that has none: prints each address of NAME once. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int code = getaddrinfo(words[count - 1], NULL, &hints, &found);
    if (code) return printf("%s\n", gai_strerror(code)), 2;
    for (; found; found = found->ai_next) {
        char text[64];
        int six = found->ai_family == AF_INET6;
        const void *address = six ? (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr
                                  : (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr;
        puts(inet_ntop(found->ai_family, address, text, sizeof text));
    }
}
