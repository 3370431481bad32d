/* The limit below any Python: a blocking ping-pong over a unix socket.
 *
 *   c_ping_pong serve PATH
 *   c_ping_pong echo PATH BYTES SECONDS    each round trip on stdout, as nanoseconds in native uint64_t
 *   c_ping_pong stream PATH BYTES          nanoseconds in which so many bytes came
 *
 * A connection begins with two uint64_t: 0 and the bytes of each message, or 1 and the bytes to stream.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, LARGEST = 64 * 1024 * 1024 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int read_all(int fd, char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = read(fd, data, size);
        if (n <= 0)
            return 0;
        data += n;
        size -= (size_t)n;
    }
    return 1;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n <= 0)
            return 0;
        data += n;
        size -= (size_t)n;
    }
    return 1;
}

static char *buffer_of(uint64_t size)
{
    if (size == 0 || size > LARGEST) {
        fprintf(stderr, "c_ping_pong: a message has 1 to %d bytes\n", LARGEST);
        exit(1);
    }
    char *buffer = calloc(1, size);
    if (buffer == NULL)
        fail("calloc");
    return buffer;
}

static int endpoint(const char *path, struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        fail("socket");
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        fprintf(stderr, "c_ping_pong: the path is too long for a unix socket\n");
        exit(1);
    }
    strcpy(address->sun_path, path);
    return fd;
}

static void serve(const char *path)
{
    struct sockaddr_un address;
    int listener = endpoint(path, &address);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 8) < 0)
        fail(path);
    printf("{}\n");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        uint64_t wanted[2];
        if (fd < 0)
            fail("accept");
        if (read_all(fd, (char *)wanted, sizeof wanted)) {
            char *buffer = buffer_of(wanted[0] ? CHUNK : wanted[1]);
            if (wanted[0])
                for (uint64_t sent = 0; sent < wanted[1] && write_all(fd, buffer, CHUNK); sent += CHUNK)
                    ;
            else
                while (read_all(fd, buffer, wanted[1]) && write_all(fd, buffer, wanted[1]))
                    ;
            free(buffer);
        }
        close(fd);
    }
}

static int connected(const char *path, uint64_t mode, uint64_t size)
{
    struct sockaddr_un address;
    int fd = endpoint(path, &address);
    uint64_t wanted[2] = {mode, size};
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || !write_all(fd, (char *)wanted, sizeof wanted))
        fail(path);
    return fd;
}

static void echo(const char *path, uint64_t size, double seconds)
{
    int fd = connected(path, 0, size);
    char *buffer = buffer_of(size);
    uint64_t end = now(), deadline = end + (uint64_t)(seconds * 1e9);
    while (end < deadline) {
        uint64_t start = now();
        if (!write_all(fd, buffer, size) || !read_all(fd, buffer, size))
            fail("echo");
        end = now();
        uint64_t taken = end - start;
        fwrite(&taken, sizeof taken, 1, stdout);
    }
}

static void stream(const char *path, uint64_t size)
{
    uint64_t start = now();
    int fd = connected(path, 1, size);
    char *buffer = buffer_of(CHUNK);
    for (uint64_t got = 0; got < size; got += CHUNK)
        if (!read_all(fd, buffer, CHUNK))
            fail("stream");
    uint64_t taken = now() - start;
    fwrite(&taken, sizeof taken, 1, stdout);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    else if (argc == 5 && strcmp(argv[1], "echo") == 0)
        echo(argv[2], strtoull(argv[3], NULL, 10), strtod(argv[4], NULL));
    else if (argc == 4 && strcmp(argv[1], "stream") == 0)
        stream(argv[2], strtoull(argv[3], NULL, 10));
    else {
        fprintf(stderr, "usage: c_ping_pong serve PATH | echo PATH BYTES SECONDS | stream PATH BYTES\n");
        return 2;
    }
    return 0;
}
