/*
 * LD_PRELOAD shim for wrk and h2load: neither takes a client certificate, and neither sends a chosen SNI to an IP address.
 * SSL_CTX_new loads chain and key; SSL_new fixes version, suite, group and SNI; the tool's own SNI is replaced.
 * No OpenSSL headers are needed: the prototypes and numbers below are OpenSSL 3's stable ABI.
 * Environment: BENCH_CHAIN, BENCH_KEY (PEM files), BENCH_SNI, BENCH_SUITE, BENCH_GROUP.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;
typedef struct ssl_method_st SSL_METHOD;

enum {
    PEM_FORMAT = 1,            /* SSL_FILETYPE_PEM */
    SET_SESSION_CACHE = 44,    /* SSL_CTRL_SET_SESS_CACHE_MODE */
    SET_HOST_NAME = 55,        /* SSL_CTRL_SET_TLSEXT_HOSTNAME */
    SET_GROUPS = 92,           /* SSL_CTRL_SET_GROUPS_LIST */
    SET_LEAST_VERSION = 123,   /* SSL_CTRL_SET_MIN_PROTO_VERSION */
    SET_MOST_VERSION = 124,    /* SSL_CTRL_SET_MAX_PROTO_VERSION */
    VERSION_1_3 = 0x0304,
    FAILED = 70                /* EX_SOFTWARE of sysexits.h */
};

int SSL_CTX_use_certificate_chain_file(SSL_CTX *, const char *);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *, const char *, int);
int SSL_CTX_check_private_key(const SSL_CTX *);
long SSL_CTX_ctrl(SSL_CTX *, int, long, void *);
int SSL_set_ciphersuites(SSL *, const char *);

static const char *setting(const char *name) {
    const char *value = getenv(name);
    if (!value || !*value) {
        fprintf(stderr, "load shim: %s is not set\n", name);
        _Exit(FAILED);
    }
    return value;
}

static void require(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "load shim: %s failed\n", what);
    _Exit(FAILED);
}

/* dlsym returns an object pointer; POSIX wants it stored through a void ** to become a function pointer. */
static void resolve(void **function, const char *name) {
    if (!*function) *function = dlsym(RTLD_NEXT, name);
    require(*function != NULL, name);
}

SSL_CTX *SSL_CTX_new(const SSL_METHOD *method) {
    static SSL_CTX *(*next)(const SSL_METHOD *);
    resolve((void **)&next, "SSL_CTX_new");
    SSL_CTX *context = next(method);
    if (!context) return NULL;
    require(SSL_CTX_use_certificate_chain_file(context, setting("BENCH_CHAIN")) == 1, "loading BENCH_CHAIN");
    require(SSL_CTX_use_PrivateKey_file(context, setting("BENCH_KEY"), PEM_FORMAT) == 1, "loading BENCH_KEY");
    require(SSL_CTX_check_private_key(context) == 1, "matching BENCH_KEY to BENCH_CHAIN");
    SSL_CTX_ctrl(context, SET_SESSION_CACHE, 0, NULL);
    return context;
}

static long control(SSL *session, int command, long number, void *pointer) {
    static long (*next)(SSL *, int, long, void *);
    resolve((void **)&next, "SSL_ctrl");
    return next(session, command, number, pointer);
}

/* What the tool sets on its SSL_CTX later cannot undo this: it is set on each session. */
SSL *SSL_new(SSL_CTX *context) {
    static SSL *(*next)(SSL_CTX *);
    resolve((void **)&next, "SSL_new");
    SSL *session = next(context);
    if (!session) return NULL;
    require(control(session, SET_MOST_VERSION, VERSION_1_3, NULL) == 1, "setting TLS 1.3");
    require(control(session, SET_LEAST_VERSION, VERSION_1_3, NULL) == 1, "setting TLS 1.3");
    require(SSL_set_ciphersuites(session, setting("BENCH_SUITE")) == 1, "setting BENCH_SUITE");
    require(control(session, SET_GROUPS, 0, (void *)(uintptr_t)setting("BENCH_GROUP")) == 1, "setting BENCH_GROUP");
    require(control(session, SET_HOST_NAME, 0, (void *)(uintptr_t)setting("BENCH_SNI")) == 1, "setting BENCH_SNI");
    return session;
}

/* SSL_set_tlsext_host_name is a macro over this: wrk names the IP address it dials. */
long SSL_ctrl(SSL *session, int command, long number, void *pointer) {
    if (command == SET_HOST_NAME) pointer = (void *)(uintptr_t)setting("BENCH_SNI");
    return control(session, command, number, pointer);
}
