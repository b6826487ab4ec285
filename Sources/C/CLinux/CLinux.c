#define _GNU_SOURCE
#include <malloc.h>
#include "CLinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// <linux/netfilter_ipv4.h> collides with <netinet/in.h>; the number is the same for both families.
#define ORIGINAL_DST 80

static int result(int value) { return value < 0 ? -errno : value; }

int clinux_epoll_create(void) { return result(epoll_create1(EPOLL_CLOEXEC)); }

int clinux_epoll_set(int epoll, int fd, uint32_t flags, uint64_t token, int add) {
    struct epoll_event event = {0};
    if (flags & CLINUX_READABLE) event.events |= EPOLLIN | EPOLLRDHUP;
    if (flags & CLINUX_WRITABLE) event.events |= EPOLLOUT;
    event.data.u64 = token;
    return result(epoll_ctl(epoll, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event));
}

int clinux_epoll_remove(int epoll, int fd) {
    struct epoll_event event = {0};
    return result(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event));
}

int clinux_epoll_wait(int epoll, struct clinux_event *events, int count, int milliseconds) {
    struct epoll_event batch[256];
    if (count > 256) count = 256;
    int found = epoll_wait(epoll, batch, count, milliseconds);
    if (found < 0) return errno == EINTR ? 0 : -errno;
    for (int index = 0; index < found; index++) {
        uint32_t seen = batch[index].events;
        uint32_t flags = 0;
        if (seen & (EPOLLIN | EPOLLRDHUP | EPOLLPRI)) flags |= CLINUX_READABLE;
        if (seen & EPOLLOUT) flags |= CLINUX_WRITABLE;
        if (seen & (EPOLLERR | EPOLLHUP)) flags |= CLINUX_HANGUP;
        events[index].flags = flags;
        events[index].token = batch[index].data.u64;
    }
    return found;
}

int clinux_eventfd(void) { return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void clinux_eventfd_wake(int fd) {
    uint64_t one = 1;
    ssize_t ignored = write(fd, &one, sizeof one);
    (void)ignored;
}

void clinux_eventfd_drain(int fd) {
    uint64_t count;
    ssize_t ignored = read(fd, &count, sizeof count);
    (void)ignored;
}

static void handled(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
    sigaddset(set, SIGUSR1);
    sigaddset(set, SIGUSR2);
}

int clinux_block_signals(void) {
    sigset_t set;
    handled(&set);
    signal(SIGPIPE, SIG_IGN);
    return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int clinux_signalfd(void) {
    sigset_t set;
    handled(&set);
    return result(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int clinux_signal_read(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

static uint64_t clock_now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t clinux_boottime(void) { return clock_now(CLOCK_BOOTTIME); }
int64_t clinux_walltime(void) { return (int64_t)time(NULL); }
int64_t clinux_walltime_nanoseconds(void) { return (int64_t)clock_now(CLOCK_REALTIME); }

static socklen_t to_sockaddr(const struct clinux_address *from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->family == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)to;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(from->port);
        memcpy(&v4->sin_addr, from->ip, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(from->port);
    v6->sin6_scope_id = from->scope;
    memcpy(&v6->sin6_addr, from->ip, 16);
    return sizeof *v6;
}

static void from_sockaddr(const struct sockaddr_storage *from, struct clinux_address *to) {
    memset(to, 0, sizeof *to);
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        to->family = 4;
        to->port = ntohs(v4->sin_port);
        memcpy(to->ip, &v4->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        to->port = ntohs(v6->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            to->family = 4;
            memcpy(to->ip, v6->sin6_addr.s6_addr + 12, 4);
        } else {
            to->family = 6;
            to->scope = v6->sin6_scope_id;
            memcpy(to->ip, &v6->sin6_addr, 16);
        }
    }
}

int clinux_listen(const struct clinux_address *address, int backlog, int flags) {
    struct sockaddr_storage name;
    socklen_t length = to_sockaddr(address, &name);
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int one = 1, zero = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (flags & 1) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (name.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, flags & 2 ? &one : &zero, sizeof one);
    if (bind(fd, (struct sockaddr *)&name, length) < 0 || listen(fd, backlog) < 0) {
        int code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

static int unix_name(const char *path, struct sockaddr_un *name) {
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof name->sun_path) return -ENAMETOOLONG;
    strcpy(name->sun_path, path);
    return 0;
}

int clinux_listen_unix(const char *path, int backlog) {
    struct sockaddr_un name;
    int bad = unix_name(path, &name);
    if (bad) return bad;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    mode_t before = umask(0177);
    int failed = bind(fd, (struct sockaddr *)&name, sizeof name);
    int code = errno;
    umask(before);
    if (failed == 0 && listen(fd, backlog) < 0) {
        failed = -1;
        code = errno;
    }
    if (failed) {
        close(fd);
        return -code;
    }
    return fd;
}

// A peer that vanished without FIN or RST is found after two minutes: 60 s of silence, then four questions 15 s apart. Long
// streams have no other limit of their own.
static void keep_alive(int fd) {
    int one = 1, idle = 60, interval = 15, count = 4;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int clinux_accept(int listener, struct clinux_address *peer) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    int fd = accept4(listener, (struct sockaddr *)&name, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return -errno;
    from_sockaddr(&name, peer);
    if (peer->family) keep_alive(fd);
    return fd;
}

static int start_connect(int fd, const struct sockaddr *name, socklen_t length, int *inProgress) {
    *inProgress = 0;
    if (connect(fd, name, length) < 0) {
        if (errno != EINPROGRESS) {
            int code = errno;
            close(fd);
            return -code;
        }
        *inProgress = 1;
    }
    return fd;
}

static uint32_t socket_mark = 0;

int clinux_use_mark(uint32_t mark) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int outcome = result(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark));
    close(fd);
    if (outcome == 0) socket_mark = mark;
    return outcome;
}

static int mark(int fd) {
    if (!socket_mark) return 0;
    return setsockopt(fd, SOL_SOCKET, SO_MARK, &socket_mark, sizeof socket_mark);
}

static int udp_socket(const struct clinux_address *address, int connected) {
    struct sockaddr_storage name;
    socklen_t length = to_sockaddr(address, &name);
    int fd = socket(name.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int one = 1;
    if (name.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    int failed = mark(fd);
    if (!failed)
        failed = connected ? connect(fd, (struct sockaddr *)&name, length) : bind(fd, (struct sockaddr *)&name, length);
    if (failed) {
        int code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

int clinux_udp_bind(const struct clinux_address *address) { return udp_socket(address, 0); }
int clinux_udp_connect(const struct clinux_address *address) { return udp_socket(address, 1); }

ssize_t clinux_udp_receive(int fd, void *buffer, size_t count, struct clinux_address *from) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    ssize_t got = recvfrom(fd, buffer, count, 0, (struct sockaddr *)&name, &length);
    if (got < 0) return -errno;
    from_sockaddr(&name, from);
    return got;
}

ssize_t clinux_udp_send(int fd, const void *buffer, size_t count, const struct clinux_address *to) {
    struct sockaddr_storage name;
    socklen_t length = to ? to_sockaddr(to, &name) : 0;
    ssize_t put = sendto(fd, buffer, count, MSG_NOSIGNAL, to ? (struct sockaddr *)&name : NULL, length);
    return put < 0 ? -errno : put;
}

ssize_t clinux_peek(int fd, void *buffer, size_t count) {
    ssize_t got = recv(fd, buffer, count, MSG_PEEK);
    return got < 0 ? -errno : got;
}

int clinux_connect(const struct clinux_address *address, int *inProgress) {
    struct sockaddr_storage name;
    socklen_t length = to_sockaddr(address, &name);
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (mark(fd) < 0) {
        int code = errno;
        close(fd);
        return -code;
    }
    keep_alive(fd);
    return start_connect(fd, (struct sockaddr *)&name, length, inProgress);
}

int clinux_connect_unix(const char *path, int *inProgress) {
    struct sockaddr_un name;
    int bad = unix_name(path, &name);
    if (bad) return bad;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    return start_connect(fd, (struct sockaddr *)&name, sizeof name, inProgress);
}

int clinux_socket_error(int fd) {
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) < 0) return -errno;
    return -code;
}

int clinux_local_address(int fd, struct clinux_address *address) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    if (getsockname(fd, (struct sockaddr *)&name, &length) < 0) return -errno;
    from_sockaddr(&name, address);
    return 0;
}

int clinux_original_destination(int fd, struct clinux_address *address) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    if (getsockopt(fd, SOL_IP, ORIGINAL_DST, &name, &length) < 0) {
        length = sizeof name;
        if (getsockopt(fd, SOL_IPV6, ORIGINAL_DST, &name, &length) < 0) return -errno;
    }
    from_sockaddr(&name, address);
    return 0;
}

int64_t clinux_peer_uid(int fd) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
    return (int64_t)credentials.uid;
}

int clinux_set_no_delay(int fd) {
    int one = 1;
    return result(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
}

int clinux_reset_on_close(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    return result(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

int clinux_shutdown_write(int fd) { return result(shutdown(fd, SHUT_WR)); }

ssize_t clinux_read(int fd, void *buffer, size_t count) {
    ssize_t got;
    do got = read(fd, buffer, count);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

ssize_t clinux_write(int fd, const void *buffer, size_t count) {
    ssize_t put;
    do put = send(fd, buffer, count, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

void clinux_close(int fd) { close(fd); }

int clinux_parse_address(const char *text, struct clinux_address *address) {
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, address->ip) == 1) {
        address->family = 4;
        return 0;
    }
    if (inet_pton(AF_INET6, text, address->ip) == 1) {
        address->family = 6;
        return 0;
    }
    return -EINVAL;
}

int clinux_format_address(const struct clinux_address *address, char *text, size_t room) {
    if (!inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->ip, text, (socklen_t)room)) return 0;
    return (int)strlen(text);
}

int clinux_resolve(const char *host, struct clinux_address *addresses, int room) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0) return -1;
    int count = 0;
    for (struct addrinfo *entry = found; entry && count < room; entry = entry->ai_next) {
        if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
        struct sockaddr_storage name;
        memset(&name, 0, sizeof name);
        memcpy(&name, entry->ai_addr, entry->ai_addrlen);
        from_sockaddr(&name, &addresses[count++]);
    }
    freeaddrinfo(found);
    return count;
}

int clinux_affinity_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

int clinux_cgroup_cpus(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return 0;
    long quota = 0, period = 0;
    int fields = fscanf(file, "%ld %ld", &quota, &period);
    fclose(file);
    return fields == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int clinux_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > 1000000 ? 1000000 : (int)limit.rlim_cur;
}

int clinux_lock_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

const char *clinux_error_text(int code) { return strerrordesc_np(code < 0 ? -code : code); }

struct start {
    clinux_thread_body body;
    void *context;
    char name[16];
};

static void *run_thread(void *argument) {
    struct start start = *(struct start *)argument;
    free(argument);
    pthread_setname_np(pthread_self(), start.name);
    start.body(start.context);
    return NULL;
}

int clinux_start_thread(const char *name, clinux_thread_body body, void *context) {
    struct start *start = calloc(1, sizeof *start);
    if (!start) return -ENOMEM;
    start->body = body;
    start->context = context;
    strncpy(start->name, name, sizeof start->name - 1);
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int code = pthread_create(&thread, &attributes, run_thread, start);
    pthread_attr_destroy(&attributes);
    if (code) free(start);
    return -code;
}

void clinux_trim(void) { malloc_trim(0); }
