// What Swift's Glibc module lacks of Linux: epoll, eventfd, signalfd, socket calls with plain arguments. Nothing else.
// Every function returns -errno on failure, so that Swift never reads errno after another call.
#ifndef MESHFED_CLINUX_H
#define MESHFED_CLINUX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// An IPv4 or IPv6 address with port, or (family AF_UNIX) none. IPv4 in the first four bytes of `ip`.
struct clinux_address {
    uint8_t ip[16];
    uint32_t scope;
    uint16_t port;
    uint8_t family; // 4, 6 or 0
};

struct clinux_event {
    uint64_t token;
    uint32_t flags; // CLINUX_READABLE …
};

enum {
    CLINUX_READABLE = 1,
    CLINUX_WRITABLE = 2,
    CLINUX_HANGUP = 4,
};

int clinux_epoll_create(void);
int clinux_epoll_set(int epoll, int fd, uint32_t flags, uint64_t token, int add);
int clinux_epoll_remove(int epoll, int fd);
int clinux_epoll_wait(int epoll, struct clinux_event *events, int count, int milliseconds);

int clinux_eventfd(void);
void clinux_eventfd_wake(int fd);
void clinux_eventfd_drain(int fd);

// Blocks SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 for this thread and all later ones, ignores SIGPIPE.
int clinux_block_signals(void);
int clinux_signalfd(void);
// The next pending signal, or 0.
int clinux_signal_read(int fd);

uint64_t clinux_boottime(void);
int64_t clinux_walltime(void);
int64_t clinux_walltime_nanoseconds(void);

// Binds and listens. `flags`: 1 reuse port, 2 IPv6 only.
int clinux_listen(const struct clinux_address *address, int backlog, int flags);
int clinux_listen_unix(const char *path, int backlog);
int clinux_accept(int listener, struct clinux_address *peer);
// Starts a non-blocking connect; the descriptor, or -errno. *inProgress is 1 while it goes on.
int clinux_connect(const struct clinux_address *address, int *inProgress);
// A bound UDP socket (`address` of port 0 picks one), and its datagrams.
int clinux_udp_bind(const struct clinux_address *address);
// A UDP socket that speaks to one address only.
int clinux_udp_connect(const struct clinux_address *address);
ssize_t clinux_udp_receive(int fd, void *buffer, size_t count, struct clinux_address *from);
ssize_t clinux_udp_send(int fd, const void *buffer, size_t count, const struct clinux_address *to);
int clinux_connect_unix(const char *path, int *inProgress);
// Result of a finished connect: 0 or -errno.
int clinux_socket_error(int fd);
int clinux_local_address(int fd, struct clinux_address *address);
int clinux_original_destination(int fd, struct clinux_address *address);
// uid of the process at the other end of a UNIX socket, or -errno.
int64_t clinux_peer_uid(int fd);
// Marks (SO_MARK) every socket made from now on; tries it on one first. For the whole process, before any thread.
int clinux_use_mark(uint32_t mark);
// Gives free memory of the heap back to the kernel.
void clinux_trim(void);
int clinux_set_no_delay(int fd);
int clinux_reset_on_close(int fd);
int clinux_shutdown_write(int fd);

ssize_t clinux_read(int fd, void *buffer, size_t count);
// What would be read, left where it is.
ssize_t clinux_peek(int fd, void *buffer, size_t count);
ssize_t clinux_write(int fd, const void *buffer, size_t count);
void clinux_close(int fd);

int clinux_parse_address(const char *text, struct clinux_address *address);
// Writes the IP without port; the number of bytes.
int clinux_format_address(const struct clinux_address *address, char *text, size_t room);

// Resolves a host name with the system's resolver (blocking: start-up and control plane only). Number found or -1.
int clinux_resolve(const char *host, struct clinux_address *addresses, int room);

int clinux_affinity_count(void);
// CPUs that the cgroup allows, rounded up; 0 where there is no limit.
int clinux_cgroup_cpus(void);
int clinux_raise_descriptor_limit(void);

// Whole packets between two processes of one user, each with at most one descriptor.
int clinux_listen_packets(const char *path);
// Blocking; reads and writes give up after so many milliseconds.
int clinux_connect_packets(const char *path, int milliseconds);
// `passed` is -1 for none.
ssize_t clinux_send_packet(int fd, const void *bytes, size_t count, int passed);
// 0 at the end. *passed is the descriptor that came, close-on-exec, or -1.
ssize_t clinux_receive_packet(int fd, void *bytes, size_t room, int *passed);

// The smallest memory limit of the cgroups that hold this process (v2 or v1); 0 where there is none. Once, before threads.
int64_t clinux_memory_limit(void);
// What that cgroup uses without the page cache; 0 where it cannot be read.
int64_t clinux_cgroup_memory(void);
// Resident memory of this process.
int64_t clinux_resident_memory(void);
int clinux_open_descriptors(void);
// Gives free memory back to the kernel.
void clinux_trim_memory(void);

int clinux_lock_file(const char *path);
const char *clinux_error_text(int code);
typedef void (*clinux_thread_body)(void *context);
int clinux_start_thread(const char *name, clinux_thread_body body, void *context);

#endif
