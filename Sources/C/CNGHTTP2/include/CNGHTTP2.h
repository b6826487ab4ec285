// libnghttp2 as the distribution ships it. Only the tests of Wire import this: what our HPACK is compared with.
#ifndef MESHFED_CNGHTTP2_H
#define MESHFED_CNGHTTP2_H
#include <nghttp2/nghttp2.h>
#endif
