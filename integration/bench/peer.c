/*
 * The peer that no packaged tool is: full handshakes in a row, an open loop at a fixed rate, connections that idle.
 *
 *   peer handshakes PORT SECONDS            one connection after the other: handshake, one GET, close
 *   peer dial PORT COUNT                    the same, COUNT of them
 *   peer latency PORT SECONDS RATE COUNT    RATE requests a second over COUNT connections, sent when they are due
 *   peer get PORT COUNT                     COUNT requests, one after the other, on one connection
 *   peer hold PORT http1|http2|tcp COUNT    COUNT connections, one GET on each, held until standard input ends
 *
 * TLS 1.3 with a client certificate. Environment: BENCH_CHAIN, BENCH_KEY (PEM files), BENCH_SNI, BENCH_SUITE, BENCH_GROUP,
 * BENCH_HOST (the Host header), BENCH_PATH. One line of JSON on standard output; any failure ends it with status 70.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    FAILED = 70,              /* EX_SOFTWARE of sysexits.h */
    MOST_CONNECTIONS = 4096,
    MOST_REQUESTS = 1000000,
    MOST_SECONDS = 60,
    MOST_RATE = 20000,
    HEAD_ROOM = 16384,        /* a response head must fit */
    STUCK_SECONDS = 10        /* nothing here takes longer */
};

static SSL_CTX *context;
static char request[1024];
static size_t request_length;

static void fail(const char *what) {
    fprintf(stderr, "peer: %s", what);
    if (errno) fprintf(stderr, " (%s)", strerror(errno));
    fputc('\n', stderr);
    ERR_print_errors_fp(stderr);
    exit(FAILED);
}

static const char *setting(const char *name) {
    const char *value = getenv(name);
    errno = 0;
    if (!value || !*value) {
        fprintf(stderr, "%s: ", name);
        fail("is not set");
    }
    return value;
}

static long number(const char *text, long most) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 1 || value > most) {
        fprintf(stderr, "peer: '%s' is not a number from 1 to %ld\n", text, most);
        exit(FAILED);
    }
    return value;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void prepare(const char *close_header) {
    context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_use_certificate_chain_file(context, setting("BENCH_CHAIN")) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, setting("BENCH_KEY"), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, setting("BENCH_SUITE")) != 1 ||
        SSL_CTX_set1_groups_list(context, setting("BENCH_GROUP")) != 1)
        fail("setting TLS up");
    /* Without it this side would send its root along, and every target would pay for reading it. */
    SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
                          getenv("BENCH_PATH") ? getenv("BENCH_PATH") : "/", setting("BENCH_HOST"), close_header);
    if (length < 0 || (size_t)length >= sizeof request) fail("the request is too long");
    request_length = (size_t)length;
}

static SSL *dial(int port, int http2) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = STUCK_SECONDS};
    int yes = 1;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    SSL *session = SSL_new(context);
    if (!session || SSL_set_fd(session, descriptor) != 1) fail("SSL_new");
    SSL_set_tlsext_host_name(session, setting("BENCH_SNI"));
    if (http2) SSL_set_alpn_protos(session, (const unsigned char *)"\x02h2", 3);
    if (SSL_connect(session) != 1) fail("handshake");
    return session;
}

static void hang_up(SSL *session) {
    int descriptor = SSL_get_fd(session);
    SSL_shutdown(session);
    SSL_free(session);
    close(descriptor);
}

/* One answer as it comes in: its head, then as many bytes as Content-Length says. */
struct answer {
    char head[HEAD_ROOM];
    size_t length;
    long missing; /* of the body; -1 while the head is incomplete */
};

static void begin(struct answer *answer) {
    answer->length = 0;
    answer->missing = -1;
}

/* True when the answer is complete. */
static int take(struct answer *answer, const char *bytes, size_t count) {
    if (answer->missing < 0) {
        if (answer->length + count >= HEAD_ROOM) fail("a response head is too long");
        memcpy(answer->head + answer->length, bytes, count);
        answer->length += count;
        answer->head[answer->length] = 0;
        char *end = strstr(answer->head, "\r\n\r\n");
        if (!end) return 0;
        if (strncmp(answer->head, "HTTP/1.1 200", 12) != 0) {
            errno = 0;
            fprintf(stderr, "%.60s\n", answer->head);
            fail("an answer that is not 200");
        }
        char *field = strcasestr(answer->head, "\r\ncontent-length:");
        if (!field || field > end) fail("an answer without Content-Length");
        answer->missing = strtol(field + 17, NULL, 10) - (long)(answer->head + answer->length - (end + 4));
        return answer->missing <= 0;
    }
    answer->missing -= (long)count;
    return answer->missing <= 0;
}

static void ask(SSL *session) {
    static struct answer answer;
    static char bytes[HEAD_ROOM];
    if (SSL_write(session, request, (int)request_length) != (int)request_length) fail("sending a request");
    begin(&answer);
    for (;;) {
        int count = SSL_read(session, bytes, sizeof bytes - 1);
        if (count <= 0) fail("an answer did not come");
        if (take(&answer, bytes, (size_t)count)) return;
    }
}

/* For a time, or `most` of them. */
static int handshakes(int port, long seconds, long most) {
    prepare("Connection: close\r\n");
    uint64_t end = now() + (uint64_t)seconds * 1000000000u;
    long done = 0;
    while (most ? done < most : now() < end) {
        SSL *session = dial(port, 0);
        ask(session);
        hang_up(session);
        done++;
    }
    printf("{\"done\": %ld}\n", done);
    return 0;
}

static int get(int port, long count) {
    prepare("");
    SSL *session = dial(port, 0);
    for (long done = 0; done < count; done++) ask(session);
    hang_up(session);
    printf("{\"done\": %ld}\n", count);
    return 0;
}

static int compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static int latency(int port, long seconds, long rate, long count) {
    prepare("");
    SSL **sessions = calloc((size_t)count, sizeof *sessions);
    struct pollfd *polled = calloc((size_t)count, sizeof *polled);
    uint64_t *due = calloc((size_t)count, sizeof *due); /* of the request on a connection; 0: it has none */
    struct answer *answers = calloc((size_t)count, sizeof *answers);
    long total = rate * seconds, sent = 0, done = 0;
    uint32_t *taken = calloc((size_t)total, sizeof *taken);
    if (!sessions || !polled || !due || !answers || !taken) fail("no memory");
    for (long i = 0; i < count; i++) {
        sessions[i] = dial(port, 0);
        ask(sessions[i]);
        int descriptor = SSL_get_fd(sessions[i]);
        fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
        polled[i] = (struct pollfd){.fd = descriptor, .events = POLLIN};
    }
    prctl(PR_SET_TIMERSLACK, 1ul);
    fputs("{\"begun\": true}\n", stdout);
    fflush(stdout);
    uint64_t start = now() + 1000000, step = 1000000000u / (uint64_t)rate, last = start;
    long next = 0;
    while (done < total) {
        uint64_t at = now();
        /* What is due goes out on the next connection without a request; where there is none its time runs all the same. */
        for (long tried = 0; sent < total && start + (uint64_t)sent * step <= at && tried < count; tried++) {
            long i = next++ % count;
            if (due[i]) continue;
            due[i] = start + (uint64_t)sent++ * step;
            begin(&answers[i]);
            if (SSL_write(sessions[i], request, (int)request_length) != (int)request_length) fail("sending a request");
            tried = -1;
        }
        uint64_t wake = sent < total ? start + (uint64_t)sent * step : now() + 1000000000u;
        at = now();
        if (at - last > STUCK_SECONDS * 1000000000ull && at > last) fail("no answer came any more");
        uint64_t wait = wake > at ? wake - at : sent - done >= count ? 1000000 : 0;
        struct timespec pause = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
        if (ppoll(polled, (nfds_t)count, &pause, NULL) <= 0) continue;
        for (long i = 0; i < count; i++) {
            if (!polled[i].revents) continue;
            char bytes[HEAD_ROOM];
            int got;
            while ((got = SSL_read(sessions[i], bytes, sizeof bytes - 1)) > 0) {
                if (!due[i]) fail("an answer that nobody asked for");
                if (!take(&answers[i], bytes, (size_t)got)) continue;
                last = now();
                uint64_t passed = (last - due[i]) / 1000; /* µs, from when it was due */
                taken[done++] = passed > UINT32_MAX ? UINT32_MAX : (uint32_t)passed;
                due[i] = 0;
            }
            if (SSL_get_error(sessions[i], got) != SSL_ERROR_WANT_READ) fail("a connection broke");
        }
    }
    qsort(taken, (size_t)total, sizeof *taken, compare);
    printf("{\"done\": %ld, \"p50\": %u, \"p99\": %u, \"p999\": %u, \"most\": %u}\n", done, taken[total / 2],
           taken[total * 99 / 100], taken[total * 999 / 1000], taken[total - 1]);
    return 0;
}

/* Preface, empty SETTINGS, and a GET on stream 1: indexed :method, :scheme, :path and a literal :authority. */
static void ask_http2(SSL *session) {
    unsigned char bytes[512] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", *at = bytes + 24 + 9;
    const char *host = setting("BENCH_HOST");
    size_t length = strlen(host);
    if (length > 126) fail("BENCH_HOST is too long");
    unsigned char head[] = {0, 0, (unsigned char)(5 + length), 1, 5, 0, 0, 0, 1, 0x82, 0x87, 0x84, 0x01, (unsigned char)length};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, host, length);
    int count = (int)(at + sizeof head + length - bytes);
    if (SSL_write(session, bytes, count) != count) fail("sending a request");
    /* Frames until stream 1 ends; the peer's SETTINGS are acknowledged. */
    static unsigned char input[1 << 17];
    for (size_t have = 0;;) {
        int got = SSL_read(session, input + have, (int)(sizeof input - have));
        if (got <= 0) fail("an answer did not come");
        have += (size_t)got;
        size_t used = 0;
        int ended = 0;
        while (have - used >= 9) {
            unsigned char *frame = input + used;
            size_t size = (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
            if (have - used < 9 + size) break;
            if (frame[3] == 4 && !(frame[4] & 1) && SSL_write(session, "\0\0\0\4\1\0\0\0\0", 9) != 9) fail("sending SETTINGS");
            if (frame[3] == 3 || frame[3] == 7) fail("the stream was refused");
            if ((frame[3] == 0 || frame[3] == 1) && frame[8] == 1 && (frame[4] & 1)) ended = 1;
            used += 9 + size;
        }
        memmove(input, input + used, have - used);
        have -= used;
        if (ended) return;
        if (have == sizeof input) fail("a frame is too long");
    }
}

static int hold(int port, const char *protocol, long count) {
    prepare("");
    int http2 = strcmp(protocol, "http2") == 0;
    for (long i = 0; i < count; i++) {
        SSL *session = dial(port, http2);
        if (http2) ask_http2(session); else ask(session);
    }
    printf("{\"holding\": %ld}\n", count);
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {}
    return 0;
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    errno = 0;
    if (count == 4 && !strcmp(words[1], "handshakes"))
        return handshakes((int)number(words[2], 65535), number(words[3], MOST_SECONDS), 0);
    if (count == 4 && !strcmp(words[1], "dial"))
        return handshakes((int)number(words[2], 65535), 0, number(words[3], MOST_REQUESTS));
    if (count == 4 && !strcmp(words[1], "get")) return get((int)number(words[2], 65535), number(words[3], MOST_REQUESTS));
    if (count == 6 && !strcmp(words[1], "latency"))
        return latency((int)number(words[2], 65535), number(words[3], MOST_SECONDS), number(words[4], MOST_RATE),
                       number(words[5], MOST_CONNECTIONS));
    if (count == 5 && !strcmp(words[1], "hold"))
        return hold((int)number(words[2], 65535), words[3], number(words[4], MOST_CONNECTIONS));
    fputs("usage: peer handshakes PORT SECONDS | dial PORT COUNT | latency PORT SECONDS RATE COUNT | get PORT COUNT |"
          " hold PORT http1|http2|tcp COUNT\n", stderr);
    return 64;
}
