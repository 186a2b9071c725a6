// A TCP proxy that delivers every byte a fixed time after it came: a long cable, not a thin one. Both directions of each
// connection are delay lines of unlimited throughput, served by one thread.
//
//     delay MICROSECONDS PORT...
//
// It listens on 127.0.0.2 at each PORT and connects to the same port of 127.0.0.1, so that whoever reaches a coordinator
// at 127.0.0.2 finds its other port there too. Prints "ready", and ends when standard input does.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PORTS = 8, MOST_LINES = 64, CHUNK = 256 * 1024, MOST_CHUNKS = 256 };

/// Bytes that came together.
struct chunk {
    int64_t due;  // nanoseconds
    size_t count, written;
    unsigned char *bytes;
};

/// One direction of a connection: a queue of chunks from one socket to another.
struct line {
    int from, to;
    struct line *reverse;
    struct chunk chunks[MOST_CHUNKS];
    size_t first, count;
    int ended;
};

static struct line *lines[MOST_LINES];
static size_t line_count;
static int64_t delay;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(int number, int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x7F000000 + (uint32_t)number)};
}

static int listen_on(int port) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = loopback(2, port);
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (descriptor < 0 || bind(descriptor, (void *)&address, sizeof address) < 0 || listen(descriptor, 16) < 0) fail("listening");
    return descriptor;
}

static struct line *make_line(int from, int to) {
    struct line *line = calloc(1, sizeof *line);
    if (!line) fail("allocating");
    line->from = from;
    line->to = to;
    int one = 1;
    setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(to, F_SETFL, O_NONBLOCK);
    lines[line_count++] = line;
    return line;
}

static void take_connection(int listener, int port) {
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) return;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(1, port);
    if (line_count + 2 > MOST_LINES || connect(server, (void *)&address, sizeof address) < 0) {
        close(client);
        close(server);
        return;
    }
    struct line *there = make_line(client, server), *back = make_line(server, client);
    there->reverse = back;
    back->reverse = there;
}

static void receive(struct line *line) {
    if (line->count == MOST_CHUNKS) return;
    struct chunk *chunk = &line->chunks[(line->first + line->count) % MOST_CHUNKS];
    if (!chunk->bytes && !(chunk->bytes = malloc(CHUNK))) fail("allocating");
    ssize_t count = read(line->from, chunk->bytes, CHUNK);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
        line->ended = 1;
        return;
    }
    chunk->due = now() + delay;
    chunk->count = (size_t)count;
    chunk->written = 0;
    line->count++;
}

static void deliver(struct line *line, int64_t time) {
    while (line->count > 0) {
        struct chunk *chunk = &line->chunks[line->first];
        if (chunk->due > time) return;
        ssize_t count = send(line->to, chunk->bytes + chunk->written, chunk->count - chunk->written, MSG_NOSIGNAL);
        // Nobody takes the rest any more.
        if (count < 0 && errno != EAGAIN && errno != EINTR) line->ended = 1, line->count = 0;
        if (count < 0) return;
        chunk->written += (size_t)count;
        if (chunk->written < chunk->count) return;
        line->first = (line->first + 1) % MOST_CHUNKS;
        line->count--;
    }
}

static void release(struct line *line) {
    for (size_t i = 0; i < MOST_CHUNKS; i++) free(line->chunks[i].bytes);
    free(line);
}

/// Closes connections of which one side has ended and everything is delivered.
static void sweep(void) {
    for (size_t i = 0; i < line_count;) {
        struct line *line = lines[i];
        if (line->reverse == NULL) {
            lines[i] = lines[--line_count];
            release(line);
        } else if (line->ended && line->count == 0) {
            close(line->from);
            close(line->to);
            line->reverse->reverse = NULL;
            lines[i] = lines[--line_count];
            release(line);
            i = 0;
        } else {
            i++;
        }
    }
}

int main(int count, char **arguments) {
    int listeners[MOST_PORTS], ports[MOST_PORTS];
    size_t port_count = 0;
    if (count < 3) return fputs("usage: delay MICROSECONDS PORT...\n", stderr), 2;
    delay = strtoll(arguments[1], NULL, 10) * 1000;
    for (int i = 2; i < count && port_count < MOST_PORTS; i++, port_count++) {
        ports[port_count] = atoi(arguments[i]);
        listeners[port_count] = listen_on(ports[port_count]);
    }
    puts("ready");
    fflush(stdout);
    // Woken when it is time, where that is allowed, whatever else computes.
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});

    for (;;) {
        struct pollfd polls[1 + MOST_PORTS + MOST_LINES];
        nfds_t used = 0;
        polls[used++] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        for (size_t i = 0; i < port_count; i++) polls[used++] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
        int64_t time = now(), next = INT64_MAX;
        for (size_t i = 0; i < line_count; i++) {
            struct line *line = lines[i];
            int has_room = !line->ended && line->count < MOST_CHUNKS;
            polls[used++] = (struct pollfd){.fd = line->from, .events = has_room ? POLLIN : 0};
            if (line->count == 0) continue;
            int64_t due = line->chunks[line->first].due;
            // Due, and still here: its socket is full.
            if (due <= time) due = time + 20000;
            if (due < next) next = due;
        }
        int64_t wait = next - time;
        struct timespec timeout = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        if (ppoll(polls, used, next == INT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR) fail("polling");

        char ignored[64];
        if (polls[0].revents && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) return 0;
        for (size_t i = 0; i < line_count; i++) {
            if (polls[1 + port_count + i].revents && !lines[i]->ended) receive(lines[i]);
        }
        time = now();
        for (size_t i = 0; i < line_count; i++) deliver(lines[i], time);
        sweep();
        for (size_t i = 0; i < port_count; i++)
            if (polls[1 + i].revents) take_connection(listeners[i], ports[i]);
    }
}
