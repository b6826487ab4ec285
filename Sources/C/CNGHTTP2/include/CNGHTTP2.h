// libnghttp2 as the distribution ships it. Only Wire imports this.
#ifndef MESHFED_CNGHTTP2_H
#define MESHFED_CNGHTTP2_H
#include <nghttp2/nghttp2.h>
#endif
