#include "COpenSSL.h"
#include <pthread.h>
#include <openssl/asn1t.h>
#include <stdlib.h>
#include <string.h>

/* Fetching by name takes locks and a look-up; one fetch serves the process. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

static void fetch(void) { sha256 = EVP_MD_fetch(NULL, "SHA256", NULL); }

const EVP_MD *shim_sha256(void) {
    pthread_once(&once, fetch);
    return sha256;
}

/* ---- the BIO of one worker ---- */

static pthread_once_t wire_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *wire_method;

static int wire_read(BIO *bio, char *bytes, int count) {
    struct shim_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (count <= 0) return 0;
    if (wire->input_count == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t taken = wire->input_count < (size_t)count ? wire->input_count : (size_t)count;
    memcpy(bytes, wire->input, taken);
    wire->input += taken;
    wire->input_count -= taken;
    return (int)taken;
}

static int wire_write(BIO *bio, const char *bytes, int count) {
    struct shim_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (count <= 0) return 0;
    size_t needed = wire->output_count + (size_t)count;
    if (needed > wire->output_capacity) {
        size_t capacity = wire->output_capacity ? wire->output_capacity : 32768;
        while (capacity < needed) capacity *= 2;
        uint8_t *larger = realloc(wire->output, capacity);
        if (larger == NULL) return -1;
        wire->output = larger;
        wire->output_capacity = capacity;
    }
    memcpy(wire->output + wire->output_count, bytes, (size_t)count);
    wire->output_count = needed;
    return count;
}

static long wire_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int wire_destroy(BIO *bio) {
    struct shim_wire *wire = BIO_get_data(bio);
    if (wire != NULL) {
        free(wire->output);
        free(wire);
    }
    BIO_set_data(bio, NULL);
    return 1;
}

static void make_wire_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "meshfed wire");
    if (method == NULL) return;
    BIO_meth_set_read(method, wire_read);
    BIO_meth_set_write(method, wire_write);
    BIO_meth_set_ctrl(method, wire_control);
    BIO_meth_set_destroy(method, wire_destroy);
    wire_method = method;
}

BIO *shim_wire_bio(struct shim_wire **wire) {
    pthread_once(&wire_once, make_wire_method);
    if (wire_method == NULL) return NULL;
    struct shim_wire *fresh = calloc(1, sizeof *fresh);
    BIO *bio = BIO_new(wire_method);
    if (fresh == NULL || bio == NULL) {
        free(fresh);
        BIO_free(bio);
        return NULL;
    }
    BIO_set_data(bio, fresh);
    BIO_set_init(bio, 1);
    *wire = fresh;
    return bio;
}

void shim_wire_trim(struct shim_wire *wire, size_t capacity) {
    if (wire->output_count == 0 && wire->output_capacity > capacity) {
        free(wire->output);
        wire->output = NULL;
        wire->output_capacity = 0;
    }
}

/* ---- certificates that a thread has verified and need not decode again (docs/decisions/0043) ---- */

enum {
    KNOWN_MOST = 4096,      /* places of a table */
    KNOWN_LENGTH = 4096     /* bytes of DER: an SVID has 500 to 1,000 */
};

struct known {
    uint64_t hash;
    size_t length;
    uint8_t *der;
    X509 *certificate;
};

struct known_table {
    size_t mask;
    uint64_t hits;
    struct known places[];
};

static pthread_once_t known_once = PTHREAD_ONCE_INIT;
static pthread_key_t known_key;
static int known_works;
static _Thread_local struct known_table *known;

static void known_clear(struct known *place) {
    X509_free(place->certificate);
    free(place->der);
    *place = (struct known){0};
}

static void known_drop(void *value) {
    struct known_table *table = value;
    known = NULL;
    for (size_t i = 0; i <= table->mask; i++) known_clear(&table->places[i]);
    free(table);
}

static void known_make_key(void) { known_works = pthread_key_create(&known_key, known_drop) == 0; }

/* Where a certificate would stand. Only what was verified is put there, so nobody gains by choosing a place. */
static uint64_t known_hash(const uint8_t *bytes, size_t count) {
    uint64_t state = count * 0x9E3779B97F4A7C15u, word;
    for (; count >= 8; bytes += 8, count -= 8) {
        memcpy(&word, bytes, 8);
        state = (state ^ word) * 0xFF51AFD7ED558CCDu;
        state ^= state >> 32;
    }
    for (; count > 0; bytes++, count--) state = (state ^ *bytes) * 0xC4CEB9FE1A85EC53u;
    return state ^ state >> 29;
}

/* The length of the DER sequence that `bytes` begin with; 0 for what is kept by nobody. */
static size_t known_length(const uint8_t *bytes, long count) {
    if (bytes == NULL || count < 4 || bytes[0] != 0x30 || bytes[1] != 0x82) return 0;
    size_t length = 4 + ((size_t)bytes[2] << 8 | bytes[3]);
    return length <= (size_t)count && length <= KNOWN_LENGTH ? length : 0;
}

void shim_known_certificate(X509 *certificate, const uint8_t *der, size_t count, size_t places) {
    size_t length = known_length(der, (long)count);
    if (length == 0 || length != count || places == 0) return;
    if (known == NULL) {
        pthread_once(&known_once, known_make_key);
        size_t size = 16;
        while (size < places && size < KNOWN_MOST) size *= 2;
        struct known_table *fresh = known_works ? calloc(1, sizeof *fresh + size * sizeof fresh->places[0]) : NULL;
        if (fresh == NULL) return;
        fresh->mask = size - 1;
        if (pthread_setspecific(known_key, fresh) != 0) {
            free(fresh);
            return;
        }
        known = fresh;
    }
    uint64_t hash = known_hash(der, length);
    struct known *place = &known->places[hash & known->mask];
    if (place->hash == hash && place->length == length && memcmp(place->der, der, length) == 0) return;
    uint8_t *copy = malloc(length);
    if (copy == NULL || X509_up_ref(certificate) != 1) {
        free(copy);
        return;
    }
    memcpy(copy, der, length);
    known_clear(place);
    *place = (struct known){.hash = hash, .length = length, .der = copy, .certificate = certificate};
}

uint64_t shim_known_certificate_hits(void) { return known == NULL ? 0 : known->hits; }

/*
 * In the place of libcrypto's, for libssl too: a certificate whose every byte is one that this thread has verified is handed out
 * again; all others are decoded as ever. What is handed out is shared, and nobody changes a certificate that was read.
 */
X509 *d2i_X509(X509 **place, const unsigned char **in, long count) {
    size_t length = known != NULL && in != NULL ? known_length(*in, count) : 0;
    if (length > 0) {
        uint64_t hash = known_hash(*in, length);
        struct known *found = &known->places[hash & known->mask];
        if (found->hash == hash && found->length == length && memcmp(found->der, *in, length) == 0 &&
            X509_up_ref(found->certificate) == 1) {
            known->hits++;
            *in += length;
            if (place != NULL) {
                X509_free(*place);
                *place = found->certificate;
            }
            return found->certificate;
        }
    }
    return (X509 *)ASN1_item_d2i((ASN1_VALUE **)place, in, count, ASN1_ITEM_rptr(X509));
}
