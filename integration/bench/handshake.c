/*
 * What each way of making OpenSSL's handshake cheaper is worth (docs/decisions/0040): both ends in one process, over memory.
 *
 *   handshake COUNT [auto-chain] [tickets] [known] [fetched] [own-library] [threads=N]
 *
 * auto-chain: the server builds its own chain for each handshake (OpenSSL's default)    tickets: two are sent (its default)
 * known: peers are not verified again, as a hit in a cache of verified chains           fetched: algorithms fetched at the start
 * own-library: a library context (OSSL_LIB_CTX) for each thread                          threads=N: N at a time, COUNT each
 * Environment: BENCH_CERTIFICATES, a folder with root.pem, gateway.pem, gateway.key, load.pem, load.key. Prints CPU µs and wall µs
 * per handshake of both ends; under `valgrind --tool=none` or callgrind two COUNTs are subtracted.
 */
#define _GNU_SOURCE
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int auto_chain, tickets, known, fetched, own_library;
static long count, threads = 1;

static void fail(const char *what) {
    fprintf(stderr, "handshake: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(70);
}

static const char *file(const char *name) {
    static _Thread_local char path[4][512];
    static _Thread_local int next;
    const char *folder = getenv("BENCH_CERTIFICATES");
    if (!folder) fail("BENCH_CERTIFICATES is not set");
    char *made = path[next++ % 4];
    snprintf(made, sizeof path[0], "%s/%s", folder, name);
    return made;
}

static int believe(X509_STORE_CTX *store, void *argument) {
    (void)store;
    (void)argument;
    return 1;
}

static SSL_CTX *side(OSSL_LIB_CTX *library, int server) {
    const char *name = server ? "gateway" : "load";
    char certificate[64], key[64];
    snprintf(certificate, sizeof certificate, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    SSL_CTX *context = SSL_CTX_new_ex(library, NULL, server ? TLS_server_method() : TLS_client_method());
    if (!context || SSL_CTX_use_certificate_file(context, file(certificate), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, file(key), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_file(context, file("root.pem")) != 1)
        fail("setting a side up");
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_groups_list(context, "X25519");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    long mode = SSL_MODE_RELEASE_BUFFERS;
    if (!auto_chain) mode |= SSL_MODE_NO_AUTO_CHAIN;
    SSL_CTX_set_mode(context, mode);
    if (!tickets) {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
    }
    if (known) SSL_CTX_set_cert_verify_callback(context, believe, NULL);
    return context;
}

static void shake(SSL_CTX *server, SSL_CTX *client) {
    BIO *near, *far;
    if (BIO_new_bio_pair(&near, 65536, &far, 65536) != 1) fail("BIO_new_bio_pair");
    SSL *here = SSL_new(client), *there = SSL_new(server);
    SSL_set_bio(here, near, near);
    SSL_set_bio(there, far, far);
    SSL_set_connect_state(here);
    SSL_set_accept_state(there);
    for (int turn = 0; turn < 8 && (!SSL_is_init_finished(here) || !SSL_is_init_finished(there)); turn++) {
        SSL_do_handshake(here);
        SSL_do_handshake(there);
    }
    if (!SSL_is_init_finished(here) || !SSL_is_init_finished(there)) fail("a handshake did not end");
    SSL_set_quiet_shutdown(here, 1);
    SSL_set_quiet_shutdown(there, 1);
    SSL_free(here);
    SSL_free(there);
}

/* Held to the end: implicit fetches of the same algorithms then always find them. */
static void fetch_all(OSSL_LIB_CTX *library) {
    static const char *digests[] = {"SHA256", "SHA384"}, *ciphers[] = {"AES-128-GCM", "AES-256-GCM"};
    for (int i = 0; i < 2; i++)
        if (!EVP_MD_fetch(library, digests[i], NULL) || !EVP_CIPHER_fetch(library, ciphers[i], NULL)) fail("fetching");
    if (!EVP_KDF_fetch(library, "TLS13-KDF", NULL) || !EVP_KDF_fetch(library, "HKDF", NULL) ||
        !EVP_MAC_fetch(library, "HMAC", NULL) || !EVP_SIGNATURE_fetch(library, "ECDSA", NULL) ||
        !EVP_KEYEXCH_fetch(library, "X25519", NULL) || !EVP_KEYMGMT_fetch(library, "EC", NULL) ||
        !EVP_KEYMGMT_fetch(library, "X25519", NULL))
        fail("fetching");
}

static void *work(void *argument) {
    OSSL_LIB_CTX *library = NULL;
    if (own_library && (!(library = OSSL_LIB_CTX_new()) || !OSSL_PROVIDER_load(library, "default"))) fail("a library context");
    if (fetched) fetch_all(library);
    SSL_CTX *server = side(library, 1), *client = side(library, 0);
    for (long i = 0; i < count; i++) shake(server, client);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    return argument;
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int words, char **word) {
    if (words < 2 || (count = strtol(word[1], NULL, 10)) < 1 || count > 100000) fail("usage: handshake COUNT [option…]");
    for (int i = 2; i < words; i++) {
        if (!strcmp(word[i], "auto-chain")) auto_chain = 1;
        else if (!strcmp(word[i], "tickets")) tickets = 1;
        else if (!strcmp(word[i], "known")) known = 1;
        else if (!strcmp(word[i], "fetched")) fetched = 1;
        else if (!strcmp(word[i], "own-library")) own_library = 1;
        else if (!strncmp(word[i], "threads=", 8) && (threads = strtol(word[i] + 8, NULL, 10)) >= 1 && threads <= 64) continue;
        else fail(word[i]);
    }
    pthread_t made[64];
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < threads; i++)
        if (pthread_create(&made[i], NULL, work, NULL) != 0) fail("pthread_create");
    for (long i = 0; i < threads; i++) pthread_join(made[i], NULL);
    double done = (double)(count * threads);
    printf("%.0f handshakes: %.1f CPU µs, %.1f wall µs each\n", done, (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / done * 1e6,
           (seconds(CLOCK_MONOTONIC) - wall) / done * 1e6);
    return 0;
}
