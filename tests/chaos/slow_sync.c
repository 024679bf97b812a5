/* Stands between a server and the kernel's fdatasync and fsync (LD_PRELOAD): waits, or fails, as the file named by
 * DOORBUSTER_SYNC_CONTROL says. Its first line is "MICROSECONDS ERRNO"; ERRNO is 0 for none. No file: nothing is done. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int controlled(int (*sync)(int), int file) {
    const char *path = getenv("DOORBUSTER_SYNC_CONTROL");
    char text[64] = {0};
    long microseconds = 0;
    int error = 0;
    int control = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (control >= 0) {
        if (read(control, text, sizeof text - 1) > 0) sscanf(text, "%ld %d", &microseconds, &error);
        close(control);
    }
    if (microseconds > 0) {
        struct timespec pause = {microseconds / 1000000, (microseconds % 1000000) * 1000};
        nanosleep(&pause, NULL);
    }
    if (error != 0) {
        errno = error;
        return -1;
    }
    return sync(file);
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return controlled(real, file);
}

int fsync(int file) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return controlled(real, file);
}
