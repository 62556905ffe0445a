/* The files of broker/web as bytes; generated into the build by cmake/embed.cmake. */
#ifndef BROKER_WEB_FILES_H
#define BROKER_WEB_FILES_H

#include <stddef.h>

struct web_file {
    const char *name; /* "client.js"; NULL ends the list */
    const unsigned char *data;
    size_t size;
};

extern const struct web_file web_files[];

#endif
