#include "COpenSSL.h"
#include <pthread.h>

/* Fetching by name takes locks and a look-up; one fetch serves the process. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

static void fetch(void) { sha256 = EVP_MD_fetch(NULL, "SHA256", NULL); }

const EVP_MD *shim_sha256(void) {
    pthread_once(&once, fetch);
    return sha256;
}
