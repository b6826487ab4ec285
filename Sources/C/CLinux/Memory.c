#define _GNU_SOURCE
#include "CLinux.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Above this a limit is none: cgroup v1 says 2^63 rounded down to a page.
static const int64_t unlimited = (int64_t)1 << 60;

static char usage_file[600];
static char detail_file[600];
static const char *cache_word;

static int64_t read_number(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    long long value = 0;
    int fields = fscanf(file, "%lld", &value);
    fclose(file);
    return fields == 1 && value > 0 && value < unlimited ? value : 0;
}

// Looks at `group` and all groups above it below `mount`.
static void walk(const char *mount, const char *group, int version, int64_t *limit) {
    char path[512], file[600];
    snprintf(path, sizeof path, "%s", group);
    for (;;) {
        snprintf(file, sizeof file, "%.200s%.300s/%s", mount, path, version == 2 ? "memory.max" : "memory.limit_in_bytes");
        int64_t found = read_number(file);
        if (found && (!*limit || found < *limit)) {
            *limit = found;
            snprintf(usage_file, sizeof usage_file, "%.200s%.300s/%s", mount, path,
                     version == 2 ? "memory.current" : "memory.usage_in_bytes");
            snprintf(detail_file, sizeof detail_file, "%.200s%.300s/memory.stat", mount, path);
            cache_word = version == 2 ? "file" : "total_cache";
        }
        char *slash = strrchr(path, '/');
        if (!slash) return;
        *slash = 0;
    }
}

int64_t clinux_memory_limit(void) {
    int64_t limit = 0;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return 0;
    char line[700];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':');
        char *group = names ? strchr(names + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        names++;
        if (strcmp(group, "/") == 0) group = "";
        if (!*names) {
            walk("/sys/fs/cgroup", group, 2, &limit);
            walk("/sys/fs/cgroup/unified", group, 2, &limit);
            continue;
        }
        for (char *name = strtok(names, ","); name; name = strtok(NULL, ","))
            if (strcmp(name, "memory") == 0) walk("/sys/fs/cgroup/memory", group, 1, &limit);
    }
    fclose(file);
    return limit;
}

int64_t clinux_cgroup_memory(void) {
    if (!*usage_file) return 0;
    int64_t used = read_number(usage_file);
    FILE *file = fopen(detail_file, "re");
    if (!file) return used;
    char word[64];
    long long value;
    while (fscanf(file, "%63s %lld", word, &value) == 2)
        if (strcmp(word, cache_word) == 0) used -= value;
    fclose(file);
    return used > 0 ? used : 0;
}

int64_t clinux_resident_memory(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t count = read(fd, text, sizeof text - 1);
    close(fd);
    if (count <= 0) return 0;
    text[count] = 0;
    long long total = 0, resident = 0;
    return sscanf(text, "%lld %lld", &total, &resident) == 2 ? resident * (int64_t)sysconf(_SC_PAGESIZE) : 0;
}

int clinux_open_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) return 0;
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
    closedir(folder);
    // Its own descriptor is one of them.
    return count - 1;
}

void clinux_trim_memory(void) { malloc_trim(0); }
