/* Counts the calls by which a process changes files under one folder; ends the process, or fails, at the n-th. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { COUNT, KILL_BEFORE, KILL_INSIDE, FULL, READ_ONLY };

static char folder[PATH_MAX];
static long nth, calls;
static int action, report = -1;

/* From Python: faults_arm(folder, n, action, file descriptor that is told the call). */
void faults_arm(const char *under, long n, int what, int fd) {
    strncpy(folder, under, sizeof folder - 1);
    nth = n, action = what, report = fd, calls = 0;
}

long faults_calls(void) { return calls; }

static void tell(const char *call, const char *path) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    if (report >= 0) syscall(SYS_write, report, line, length);
}

static void die(const char *call, const char *path) {
    tell(call, path);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* The absolute path of a name below a directory handle, or of a handle itself where name is NULL. */
static int locate(int handle, const char *name, char *path) {
    char link[64];
    path[0] = 0;
    if (name && (name[0] == '/' || handle == AT_FDCWD)) {
        strncpy(path, name, PATH_MAX - 1);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
        ssize_t length = readlink(link, path, PATH_MAX - 1);
        if (length < 0) return 0;
        path[length] = 0;
        if (name) snprintf(path + length, PATH_MAX - length, "/%s", name);
    }
    return folder[0] && !strncmp(path, folder, strlen(folder));
}

/* 0: go on. 1: go on, then end the process. -1: fail, errno is set. */
static int meet(const char *call, int handle, const char *name, int takes_room) {
    char path[PATH_MAX];
    if (!locate(handle, name, path)) return 0;
    calls++;
    if (nth == 0 || calls < nth) return 0;
    if (action == KILL_BEFORE) die(call, path);
    if (action == KILL_INSIDE) return 1;
    if (action == READ_ONLY || (action == FULL && takes_room)) {
        if (calls == nth) tell(call, path);
        errno = action == FULL ? ENOSPC : EROFS;
        return -1;
    }
    return 0;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define AFTER(call, value) do { \
    if (m) { char path[PATH_MAX]; locate(at, file, path); die("after " call, path); } \
    return value; } while (0)

#define OPENER(symbol, first, at_, ...) \
    int symbol(first const char *file, int flags, ...) { \
        mode_t mode = 0; int at = at_; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        REAL(symbol); \
        int changes = (flags & (O_CREAT | O_TRUNC)) != 0; \
        int m = changes ? meet("open", at, file, 1) : 0; \
        if (m < 0) return -1; \
        int result = real(__VA_ARGS__ file, flags, mode); \
        AFTER("open", result); \
    }
OPENER(open, , AT_FDCWD)
OPENER(open64, , AT_FDCWD)
#define HANDLE int handle,
OPENER(openat, HANDLE, handle, handle,)
OPENER(openat64, HANDLE, handle, handle,)

ssize_t write(int handle, const void *data, size_t size) {
    REAL(write);
    int m = handle == report ? 0 : meet("write", handle, NULL, 1);
    if (m < 0) return -1;
    if (m) {
        char path[PATH_MAX];
        real(handle, data, size / 2);
        locate(handle, NULL, path);
        die("inside write", path);
    }
    return real(handle, data, size);
}

#define BY_HANDLE(symbol, label, params, ...) \
    int symbol params { \
        REAL(symbol); const char *file = NULL; int at = handle; \
        int m = meet(label, at, file, 0); \
        if (m < 0) return -1; \
        int result = real(__VA_ARGS__); \
        AFTER(label, result); \
    }
BY_HANDLE(fsync, "fsync", (int handle), handle)
BY_HANDLE(fdatasync, "fsync", (int handle), handle)
BY_HANDLE(ftruncate, "truncate", (int handle, off_t size), handle, size)
BY_HANDLE(ftruncate64, "truncate", (int handle, off64_t size), handle, size)

#define BY_NAME(symbol, label, room, at_, params, ...) \
    int symbol params { \
        REAL(symbol); int at = at_; \
        int m = meet(label, at, file, room); \
        if (m < 0) return -1; \
        int result = real(__VA_ARGS__); \
        AFTER(label, result); \
    }
BY_NAME(mkdir, "mkdir", 1, AT_FDCWD, (const char *file, mode_t mode), file, mode)
BY_NAME(unlink, "remove", 0, AT_FDCWD, (const char *file), file)
BY_NAME(rmdir, "remove", 0, AT_FDCWD, (const char *file), file)
BY_NAME(unlinkat, "remove", 0, handle, (int handle, const char *file, int flags), handle, file, flags)
BY_NAME(rename, "rename", 0, AT_FDCWD, (const char *file, const char *to), file, to)
