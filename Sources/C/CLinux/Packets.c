#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int packet_name(const char *path, struct sockaddr_un *name) {
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof name->sun_path) return -ENAMETOOLONG;
    strcpy(name->sun_path, path);
    return 0;
}

// Bound beside the path and moved over it: whoever dials meets the old listener or the new one, never none.
int clinux_listen_packets(const char *path) {
    char beside[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside) return -ENAMETOOLONG;
    struct sockaddr_un name;
    int bad = packet_name(beside, &name);
    if (bad) return bad;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    unlink(beside);
    mode_t before = umask(0177);
    int failed = bind(fd, (struct sockaddr *)&name, sizeof name);
    int code = errno;
    umask(before);
    if (failed == 0 && (listen(fd, 4) < 0 || rename(beside, path) < 0)) {
        failed = -1;
        code = errno;
        unlink(beside);
    }
    if (failed) {
        close(fd);
        return -code;
    }
    return fd;
}

int clinux_connect_packets(const char *path, int milliseconds) {
    struct sockaddr_un name;
    int bad = packet_name(path, &name);
    if (bad) return bad;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    struct timeval limit = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&name, sizeof name) < 0) {
        int code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

union control {
    char room[CMSG_SPACE(sizeof(int))];
    struct cmsghdr head;
};

ssize_t clinux_send_packet(int fd, const void *bytes, size_t count, int passed) {
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
    union control control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (passed >= 0) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &passed, sizeof(int));
    }
    ssize_t put;
    do put = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

ssize_t clinux_receive_packet(int fd, void *bytes, size_t room, int *passed) {
    *passed = -1;
    struct iovec part = {.iov_base = bytes, .iov_len = room};
    union control control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t got;
    do got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        if (*passed < 0) memcpy(passed, CMSG_DATA(head), sizeof(int));
    }
    return got;
}
