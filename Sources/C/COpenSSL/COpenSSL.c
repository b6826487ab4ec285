#include "COpenSSL.h"
#include <pthread.h>
#include <stdlib.h>

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
