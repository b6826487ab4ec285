/* What Swift may see of OpenSSL 3.0: its headers, and a static-inline function for each macro that the importer cannot
   read. Names: `shim_` and the macro's own name. Functions that OpenSSL exports are called under their own names. */
#ifndef MESHFED_COPENSSL_H
#define MESHFED_COPENSSL_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <string.h>

/* ---- errors ---- */

static inline int shim_ERR_GET_LIB(unsigned long code) { return ERR_GET_LIB(code); }
static inline int shim_ERR_GET_REASON(unsigned long code) { return ERR_GET_REASON(code); }

/* ---- SSL_CTX ---- */

static inline int shim_SSL_CTX_set_min_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_min_proto_version(context, version);
}
static inline int shim_SSL_CTX_set_max_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_max_proto_version(context, version);
}
static inline long shim_SSL_CTX_set_mode(SSL_CTX *context, long mode) { return SSL_CTX_set_mode(context, mode); }
static inline uint64_t shim_SSL_CTX_set_options(SSL_CTX *context, uint64_t options) {
    return SSL_CTX_set_options(context, options);
}
static inline long shim_SSL_CTX_set_session_cache_mode(SSL_CTX *context, long mode) {
    return SSL_CTX_set_session_cache_mode(context, mode);
}
static inline long shim_SSL_CTX_set_tlsext_servername_callback(
    SSL_CTX *context, int (*callback)(SSL *session, int *alert, void *user)) {
    return SSL_CTX_set_tlsext_servername_callback(context, callback);
}
static inline long shim_SSL_CTX_set_tlsext_servername_arg(SSL_CTX *context, void *user) {
    return SSL_CTX_set_tlsext_servername_arg(context, user);
}
/* Takes over the caller's reference to `certificate` when it returns 1. */
static inline int shim_SSL_CTX_add0_chain_cert(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add0_chain_cert(context, certificate);
}
/* Adds a reference of its own when it returns 1. */
static inline int shim_SSL_CTX_add1_chain_cert(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}
static inline int shim_SSL_CTX_clear_chain_certs(SSL_CTX *context) { return (int)SSL_CTX_clear_chain_certs(context); }
static inline int shim_SSL_CTX_set1_groups_list(SSL_CTX *context, const char *list) {
    return (int)SSL_CTX_set1_groups_list(context, list);
}
static inline int shim_SSL_CTX_set1_sigalgs_list(SSL_CTX *context, const char *list) {
    return (int)SSL_CTX_set1_sigalgs_list(context, list);
}
static inline int shim_SSL_CTX_set_max_send_fragment(SSL_CTX *context, long bytes) {
    return (int)SSL_CTX_set_max_send_fragment(context, bytes);
}
static inline long shim_SSL_CTX_set_read_ahead(SSL_CTX *context, long on) {
    SSL_CTX_set_read_ahead(context, (int)on);
    return 1;
}
static inline long shim_SSL_CTX_set_max_cert_list(SSL_CTX *context, long bytes) {
    return SSL_CTX_set_max_cert_list(context, bytes);
}

/* ---- SSL ---- */

static inline int shim_SSL_set_tlsext_host_name(SSL *session, const char *name) {
    return (int)SSL_set_tlsext_host_name(session, name);
}
static inline long shim_SSL_set_mode(SSL *session, long mode) { return SSL_set_mode(session, mode); }
static inline uint64_t shim_SSL_set_options(SSL *session, uint64_t options) {
    return SSL_set_options(session, options);
}
/* The peer's leaf with a reference of the caller's own, or NULL. */
static inline X509 *shim_SSL_get1_peer_certificate(const SSL *session) { return SSL_get1_peer_certificate(session); }
static inline int shim_SSL_is_init_finished(const SSL *session) { return SSL_is_init_finished(session); }

/* SSL_OP_* are 64-bit expressions that the importer leaves out. */
static const uint64_t shim_SSL_OP_NO_TICKET = SSL_OP_NO_TICKET;
static const uint64_t shim_SSL_OP_NO_RENEGOTIATION = SSL_OP_NO_RENEGOTIATION;
static const uint64_t shim_SSL_OP_NO_COMPRESSION = SSL_OP_NO_COMPRESSION;
static const uint64_t shim_SSL_OP_CIPHER_SERVER_PREFERENCE = SSL_OP_CIPHER_SERVER_PREFERENCE;
static const uint64_t shim_SSL_OP_ENABLE_KTLS = SSL_OP_ENABLE_KTLS;
static const uint64_t shim_SSL_OP_IGNORE_UNEXPECTED_EOF = SSL_OP_IGNORE_UNEXPECTED_EOF;
static const uint64_t shim_SSL_OP_NO_ANTI_REPLAY = SSL_OP_NO_ANTI_REPLAY;
static const uint64_t shim_SSL_OP_ALL = SSL_OP_ALL;
static const long shim_SSL_MODE_ENABLE_PARTIAL_WRITE = SSL_MODE_ENABLE_PARTIAL_WRITE;
static const long shim_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER;
static const long shim_SSL_MODE_RELEASE_BUFFERS = SSL_MODE_RELEASE_BUFFERS;
static const long shim_SSL_SESS_CACHE_OFF = SSL_SESS_CACHE_OFF;

/* ---- BIO ---- */

static inline void shim_BIO_set_mem_eof_return(BIO *bio, long value) { BIO_set_mem_eof_return(bio, value); }
/* The bytes that wait in a memory BIO; they stay owned by it. */
static inline long shim_BIO_get_mem_data(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }
static inline int shim_BIO_reset(BIO *bio) { return (int)BIO_reset(bio); }
static inline int shim_BIO_pending(BIO *bio) { return (int)BIO_pending(bio); }
static inline void shim_BIO_clear_retry_flags(BIO *bio) { BIO_clear_retry_flags(bio); }
static inline void shim_BIO_set_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline void shim_BIO_set_retry_write(BIO *bio) { BIO_set_retry_write(bio); }

/* ---- keys ---- */

/* A new P-256 key, or NULL. */
static inline EVP_PKEY *shim_EVP_EC_gen_P256(void) { return EVP_EC_gen("P-256"); }

/* 1 when the key is an EC key on P-256 with a named curve. */
static inline int shim_is_P256(const EVP_PKEY *key) {
    char name[32];
    size_t length = 0;
    if (!EVP_PKEY_is_a(key, "EC")) return 0;
    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name, &length) != 1) return 0;
    return strcmp(name, "prime256v1") == 0 || strcmp(name, "P-256") == 0;
}

/* 1 when a CA key is one that is cheap and strong enough to check a signature with: P-256, P-384, RSA 2048–4096. */
static inline int shim_is_usable_CA_key(const EVP_PKEY *key) {
    if (EVP_PKEY_is_a(key, "EC")) {
        char name[32];
        size_t length = 0;
        if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name, &length) != 1) return 0;
        return strcmp(name, "prime256v1") == 0 || strcmp(name, "P-256") == 0 || strcmp(name, "secp384r1") == 0 ||
               strcmp(name, "P-384") == 0;
    }
    if (EVP_PKEY_is_a(key, "RSA")) {
        int bits = EVP_PKEY_get_bits(key);
        return bits >= 2048 && bits <= 4096;
    }
    return 0;
}

/* ---- X.509 ---- */

static inline int shim_sk_X509_num(const STACK_OF(X509) *stack) { return sk_X509_num(stack); }
static inline X509 *shim_sk_X509_value(const STACK_OF(X509) *stack, int index) { return sk_X509_value(stack, index); }
static inline STACK_OF(X509) *shim_sk_X509_new_null(void) { return sk_X509_new_null(); }
/* Does not add a reference: the stack must not outlive its certificates. */
static inline int shim_sk_X509_push(STACK_OF(X509) *stack, X509 *certificate) {
    return sk_X509_push(stack, certificate);
}
/* Frees the stack, not the certificates in it. */
static inline void shim_sk_X509_free(STACK_OF(X509) *stack) { sk_X509_free(stack); }

/* The subject alternative names, owned by the caller, or NULL; *critical is -1 when absent, -2 when present twice. */
static inline GENERAL_NAMES *shim_X509_get_san(const X509 *certificate, int *critical) {
    return X509_get_ext_d2i(certificate, NID_subject_alt_name, critical, NULL);
}
static inline void shim_GENERAL_NAMES_free(GENERAL_NAMES *names) { GENERAL_NAMES_free(names); }
static inline int shim_GENERAL_NAMES_num(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
/* The bytes of name `index` when it is a URI (owned by `names`, any byte may stand in them), else NULL. */
static inline const unsigned char *shim_GENERAL_NAMES_uri(const GENERAL_NAMES *names, int index, int *length) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    if (name == NULL || name->type != GEN_URI) return NULL;
    *length = ASN1_STRING_length(name->d.uniformResourceIdentifier);
    return ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
}

/* Whether the extension with `nid` stands exactly once: 0 absent, 1 present, 2 present and critical, -1 repeated. */
static inline int shim_X509_extension_state(const X509 *certificate, int nid) {
    int first = X509_get_ext_by_NID(certificate, nid, -1);
    if (first < 0) return 0;
    if (X509_get_ext_by_NID(certificate, nid, first) >= 0) return -1;
    return X509_EXTENSION_get_critical(X509_get_ext(certificate, first)) ? 2 : 1;
}

/* Seconds since 1970 of a certificate's time; 0 on a malformed one, else 1. */
static inline int shim_ASN1_TIME_seconds(const ASN1_TIME *time, int64_t *seconds) {
    struct tm parts;
    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1) return 0;
    /* Days from the civil date (proleptic Gregorian), without the process's time zone. */
    int64_t year = (int64_t)parts.tm_year + 1900, month = parts.tm_mon + 1, day = parts.tm_mday;
    if (month <= 2) year -= 1;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t yearOfEra = year - era * 400;
    int64_t dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear;
    int64_t days = era * 146097 + dayOfEra - 719468;
    *seconds = ((days * 24 + parts.tm_hour) * 60 + parts.tm_min) * 60 + parts.tm_sec;
    return 1;
}

/* The DER of a private key as PKCS#8 in *bytes, to be given to shim_free_secret; its length, or -1. */
static inline int shim_i2d_PKCS8(const EVP_PKEY *key, unsigned char **bytes) {
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    if (info == NULL) return -1;
    *bytes = NULL;
    int length = i2d_PKCS8_PRIV_KEY_INFO(info, bytes);
    PKCS8_PRIV_KEY_INFO_free(info);
    return length;
}
static inline void shim_free_secret(void *bytes, size_t length) { OPENSSL_clear_free(bytes, length); }
static inline void shim_free(void *bytes) { OPENSSL_free(bytes); }

/* ---- the BIO of one worker ---- */

/* What one thread's TLS sessions read from and write to: bytes that a socket gave, and bytes for a socket. One BIO serves all
   sessions of the thread, because only one of them works at a time. */
struct shim_wire {
    const uint8_t *input;
    size_t input_count;
    uint8_t *output;
    size_t output_count;
    size_t output_capacity;
};

/* A BIO on a new wire, which it owns and frees with itself; NULL when memory is short. */
BIO *shim_wire_bio(struct shim_wire **wire);
/* Gives the output memory back when it grew beyond `capacity`. */
void shim_wire_trim(struct shim_wire *wire, size_t capacity);

/* ---- certificates that a thread has verified and need not decode again (docs/decisions/0043) ---- */

/* From now on this thread's d2i_X509 hands `certificate` out for exactly these bytes. `places`: the size of the thread's table,
 * fixed by the first call; 0 keeps nothing. */
void shim_known_certificate(X509 *certificate, const uint8_t *der, size_t count, size_t places);
/* Certificates that this thread did not decode again. */
uint64_t shim_known_certificate_hits(void);

static inline int shim_SSL_set_app_data(SSL *session, void *data) { return SSL_set_app_data(session, data); }
static inline void *shim_SSL_get_app_data(const SSL *session) { return SSL_get_app_data(session); }
static inline SSL *shim_X509_STORE_CTX_session(X509_STORE_CTX *context) {
    return X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
}
static inline const char *shim_SSL_server_name(const SSL *session) {
    return SSL_get_servername(session, TLSEXT_NAMETYPE_host_name);
}
static const long shim_SSL_MODE_NO_AUTO_CHAIN = SSL_MODE_NO_AUTO_CHAIN;

/* SHA-256, fetched once for the process; NULL when the provider has none. */
const EVP_MD *shim_sha256(void);

#endif
