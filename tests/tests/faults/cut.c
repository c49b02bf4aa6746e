/* Preloaded into a daemon: one of its calls does less than it was asked to, as every kernel may.
 *
 * CUT_BOARD names a file of sizeof(struct board) bytes, on which is counted. CUT_CALL, CUT_TURN and
 * CUT_LENGTH say which call is cut: the turn-th of those that moved more than one byte moves that
 * many bytes at most. With a length of 0 a call that reads finds that its peer has ended.
 *
 * Nothing is made up: a call that is cut is made, and so is the end. Only streams are cut; what a
 * packet has lost a kernel tells.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { READ, READV, RECV, RECVFROM, RECVMSG, WRITE, WRITEV, SEND, SENDTO, SENDMSG, SPLICE, CALLS };

static const char *const names[CALLS] = {
    "read", "readv", "recv", "recvfrom", "recvmsg", "write", "writev", "send", "sendto", "sendmsg", "splice",
};

/* What has been seen, for the test that reads the file. */
struct board {
    uint32_t moved[CALLS];
    uint32_t could_end[CALLS];
    uint32_t met;
};

static struct board nobody_reads, *board = &nobody_reads;
static int planned = -1;
static uint32_t turn;
static size_t most;

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("CUT_BOARD"), *call = getenv("CUT_CALL");
    const int descriptor = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (descriptor < 0)
        abort();
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (board == MAP_FAILED)
        abort();
    if (!call)
        return;
    turn = (uint32_t)strtoul(getenv("CUT_TURN"), NULL, 10);
    most = strtoul(getenv("CUT_LENGTH"), NULL, 10);
    for (int one = 0; one < CALLS; one++)
        if (!strcmp(call, names[one]))
            planned = one;
}

static int is_stream_socket(int descriptor)
{
    int kind = 0;
    socklen_t length = sizeof kind;
    return !getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &kind, &length) && kind == SOCK_STREAM;
}

static int is_of(int descriptor, mode_t kind)
{
    struct stat facts;
    return !fstat(descriptor, &facts) && (facts.st_mode & S_IFMT) == kind;
}

/* What the kernel makes up for who reads it, as in /proc, has no length, and ends where it ends. */
static int can_end(int descriptor)
{
    struct stat facts;
    if (fstat(descriptor, &facts))
        return 0;
    return (S_ISREG(facts.st_mode) && facts.st_size) || is_stream_socket(descriptor);
}

static int is_stream(int descriptor)
{
    return is_of(descriptor, S_IFREG) || is_of(descriptor, S_IFIFO) || is_stream_socket(descriptor);
}

/* Whether this call is the one, by how many of its kind have been counted. */
static int is_next(enum call call, const uint32_t *counts)
{
    return planned == (int)call && !board->met && counts[call] + 1 >= turn;
}

/* How many bytes of so many a call may move. */
static size_t allowed(enum call call, int descriptor, size_t length)
{
    const int is_cut = most && length > most && is_next(call, board->moved) && is_stream(descriptor);
    return is_cut ? most : length;
}

/* Whoever writes to this descriptor ends now, and what he has written before is lost. */
static void end(enum call call, int descriptor)
{
    char lost[4096];
    if (most || !is_next(call, board->could_end) || !can_end(descriptor))
        return;
    if (!is_stream_socket(descriptor)) {
        if (lseek(descriptor, 0, SEEK_END) < 0)
            return;
    } else {
        if (shutdown(descriptor, SHUT_RDWR))
            return;
        while (syscall(SYS_recvfrom, descriptor, lost, sizeof lost, MSG_DONTWAIT, NULL, NULL) > 0)
            ;
    }
    board->met = 1;
}

/* Counts what a call has moved, that was to move so many bytes and allowed to move so many. */
static ssize_t moved(enum call call, int descriptor, size_t length, size_t allowed, ssize_t count)
{
    const int error = errno;
    if (allowed < length && count == (ssize_t)allowed)
        board->met = 1;
    if (count > 0 && length > 1 && is_stream(descriptor)) {
        if (count > 1)
            __atomic_add_fetch(&board->moved[call], 1, __ATOMIC_RELAXED);
        if (can_end(descriptor))
            __atomic_add_fetch(&board->could_end[call], 1, __ATOMIC_RELAXED);
    }
    errno = error;
    return count;
}

static size_t sum(const struct iovec *parts, size_t count)
{
    size_t bytes = 0;
    while (count--)
        bytes += parts++->iov_len;
    return bytes;
}

/* The first part that is not empty, and of that no more than allowed, where less is allowed than
 * all. */
static size_t cut(const struct iovec **parts, size_t *count, struct iovec *first, size_t allowed)
{
    if (allowed == sum(*parts, *count))
        return allowed;
    while (!(*parts)->iov_len)
        ++*parts;
    *first = **parts;
    if (first->iov_len > allowed)
        first->iov_len = allowed;
    *parts = first;
    *count = 1;
    return first->iov_len;
}

ssize_t read(int descriptor, void *to, size_t length)
{
    const size_t some = allowed(READ, descriptor, length);
    end(READ, descriptor);
    return moved(READ, descriptor, length, some, syscall(SYS_read, descriptor, to, some));
}

static ssize_t receive(enum call call, int descriptor, void *to, size_t length, int flags,
                       struct sockaddr *from, socklen_t *from_length)
{
    const size_t some = allowed(call, descriptor, length);
    end(call, descriptor);
    const ssize_t count = syscall(SYS_recvfrom, descriptor, to, some, flags, from, from_length);
    return moved(call, descriptor, length, some, count);
}

ssize_t recv(int descriptor, void *to, size_t length, int flags)
{
    return receive(RECV, descriptor, to, length, flags, NULL, NULL);
}

ssize_t recvfrom(int descriptor, void *restrict to, size_t length, int flags,
                 struct sockaddr *restrict from, socklen_t *restrict from_length)
{
    return receive(RECVFROM, descriptor, to, length, flags, from, from_length);
}

ssize_t write(int descriptor, const void *from, size_t length)
{
    const size_t some = allowed(WRITE, descriptor, length);
    return moved(WRITE, descriptor, length, some, syscall(SYS_write, descriptor, from, some));
}

static ssize_t send_to(enum call call, int descriptor, const void *from, size_t length, int flags,
                       const struct sockaddr *to, socklen_t to_length)
{
    const size_t some = allowed(call, descriptor, length);
    const ssize_t count = syscall(SYS_sendto, descriptor, from, some, flags, to, to_length);
    return moved(call, descriptor, length, some, count);
}

ssize_t send(int descriptor, const void *from, size_t length, int flags)
{
    return send_to(SEND, descriptor, from, length, flags, NULL, 0);
}

ssize_t sendto(int descriptor, const void *from, size_t length, int flags,
               const struct sockaddr *to, socklen_t to_length)
{
    return send_to(SENDTO, descriptor, from, length, flags, to, to_length);
}

static ssize_t move_parts(enum call call, long number, int descriptor, const struct iovec *parts, size_t count)
{
    struct iovec first;
    const size_t length = sum(parts, count);
    const size_t some = cut(&parts, &count, &first, allowed(call, descriptor, length));
    return moved(call, descriptor, length, some, syscall(number, descriptor, parts, count));
}

ssize_t readv(int descriptor, const struct iovec *parts, int count)
{
    end(READV, descriptor);
    return move_parts(READV, SYS_readv, descriptor, parts, (size_t)count);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
    return move_parts(WRITEV, SYS_writev, descriptor, parts, (size_t)count);
}

static ssize_t move_message(enum call call, long number, int descriptor, struct msghdr *message, int flags)
{
    struct iovec first;
    const struct iovec *parts = message->msg_iov;
    const size_t length = sum(parts, message->msg_iovlen);
    const size_t some = cut(&parts, &message->msg_iovlen, &first, allowed(call, descriptor, length));
    message->msg_iov = (struct iovec *)parts;
    return moved(call, descriptor, length, some, syscall(number, descriptor, message, flags));
}

ssize_t recvmsg(int descriptor, struct msghdr *message, int flags)
{
    struct iovec *const parts = message->msg_iov;
    const size_t count = message->msg_iovlen;
    end(RECVMSG, descriptor);
    const ssize_t bytes = move_message(RECVMSG, SYS_recvmsg, descriptor, message, flags);
    message->msg_iov = parts;
    message->msg_iovlen = count;
    return bytes;
}

ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags)
{
    struct msghdr own = *message;
    return move_message(SENDMSG, SYS_sendmsg, descriptor, &own, flags);
}

ssize_t splice(int from, off64_t *from_place, int to, off64_t *to_place, size_t length, unsigned flags)
{
    const size_t some = allowed(SPLICE, from, length);
    end(SPLICE, from);
    return moved(SPLICE, from, length, some, syscall(SYS_splice, from, from_place, to, to_place, some, flags));
}
