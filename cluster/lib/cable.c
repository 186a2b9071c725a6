// A switch with a cable to each of several hosts, all on this machine: Ethernet frames between TAP interfaces, each
// direction of each cable with a delay, a rate, a share of lost frames, or cut. The kernel's own TCP runs over it.
//
//     cable SEED HOSTS
//
// It makes the interfaces cable0, cable1, … in its network namespace, from where they are moved to the hosts', and
// prints "ready". The interface of host N has a hardware address that ends in N. Each line of standard input sets one
// direction of a cable, and is answered with "ok"; at its end the program ends, and the interfaces with it:
//
//     HOST up|down MICROSECONDS BYTES_PER_SECOND LOST_PER_MILLION CUT      up: from the host; rate 0: without a limit
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

// Offloads make frames of up to 64 KiB, which stand for as many packets as their headers say.
enum { MOST_HOSTS = 16, MOST_BYTES = 66 * 1024, MOST_FRAMES = 4096, PREAMBLE_AND_GAP = 24 };
/// A frame that would wait longer for its turn is dropped, as by a router's queue.
static const int64_t longest_queue = 50 * 1000000;  // nanoseconds

struct frame {
    int64_t due;  // nanoseconds
    size_t count;
    unsigned char bytes[];
};

/// One direction of a cable.
struct line {
    int64_t delay, bytes_per_second, busy_until;
    uint32_t lost_per_million;
    int cut;
    struct frame *frames[MOST_FRAMES];
    size_t first, count;
};

static struct host {
    int descriptor;
    struct line up, down;
} hosts[MOST_HOSTS];
static size_t host_count;
static uint64_t randomness;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint32_t random_below(uint32_t limit) {
    randomness ^= randomness << 13;
    randomness ^= randomness >> 7;
    randomness ^= randomness << 17;
    return (uint32_t)(randomness >> 32) % limit;
}

static int open_interface(size_t index) {
    int descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(request.ifr_name, IFNAMSIZ, "cable%zu", index);
    if (descriptor < 0 || ioctl(descriptor, TUNSETIFF, &request) < 0) fail("making an interface");
    if (ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) fail("setting an interface's offloads");
    return descriptor;
}

/// What a frame takes on the wire, as the packets that it stands for.
static int64_t wire_bytes(const unsigned char *bytes, size_t count) {
    struct virtio_net_hdr header;
    memcpy(&header, bytes, sizeof header);
    int64_t length = (int64_t)(count - sizeof header), packets = 1;
    if (header.gso_size > 0 && length > header.hdr_len) {
        packets = (length - header.hdr_len + header.gso_size - 1) / header.gso_size;
    }
    return length + (packets - 1) * header.hdr_len + packets * PREAMBLE_AND_GAP;
}

/// Puts a frame on a line. One that comes from another line has been serialised by it, and is passed on as it comes.
static void put(struct line *line, const unsigned char *bytes, size_t count, int64_t time, int is_passed_on) {
    if (line->cut || line->count == MOST_FRAMES || random_below(1000000) < line->lost_per_million) return;
    int64_t due = time;
    if (line->bytes_per_second > 0) {
        int64_t duration = wire_bytes(bytes, count) * 1000000000 / line->bytes_per_second;
        int64_t begin = is_passed_on ? time - duration : time;
        if (begin < line->busy_until) begin = line->busy_until;
        if (begin - time > longest_queue) return;
        due = line->busy_until = begin + duration;
    }
    struct frame *frame = malloc(sizeof *frame + count);
    if (!frame) fail("allocating");
    frame->due = due + line->delay;
    frame->count = count;
    memcpy(frame->bytes, bytes, count);
    line->frames[(line->first + line->count++) % MOST_FRAMES] = frame;
}

static void receive(size_t from, int64_t time) {
    static unsigned char bytes[MOST_BYTES];
    ssize_t count;
    while ((count = read(hosts[from].descriptor, bytes, sizeof bytes)) > 0) {
        if ((size_t)count >= sizeof(struct virtio_net_hdr) + 14) put(&hosts[from].up, bytes, (size_t)count, time, 0);
    }
}

/// The switch: by the last byte of the destination, or to everyone.
static void pass_on(size_t from, const struct frame *frame) {
    const unsigned char *destination = frame->bytes + sizeof(struct virtio_net_hdr);
    for (size_t to = 0; to < host_count; to++) {
        if (to != from && (destination[0] & 1 || destination[5] == to)) {
            put(&hosts[to].down, frame->bytes, frame->count, frame->due, 1);
        }
    }
}

/// The line's next frame, where it has arrived by then; the caller frees it.
static struct frame *take(struct line *line, int64_t time) {
    if (line->count == 0 || line->frames[line->first]->due > time) return NULL;
    struct frame *frame = line->frames[line->first];
    line->first = (line->first + 1) % MOST_FRAMES;
    line->count--;
    return frame;
}

static void deliver(int64_t time) {
    struct frame *frame;
    for (size_t i = 0; i < host_count; i++) {
        while ((frame = take(&hosts[i].up, time))) {
            pass_on(i, frame);
            free(frame);
        }
    }
    for (size_t i = 0; i < host_count; i++) {
        while ((frame = take(&hosts[i].down, time))) {
            // An interface that is down or full loses it, as a real one would.
            ssize_t ignored = write(hosts[i].descriptor, frame->bytes, frame->count);
            (void)ignored;
            free(frame);
        }
    }
}

static int64_t next_due(void) {
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < host_count; i++) {
        struct line *lines[] = {&hosts[i].up, &hosts[i].down};
        for (size_t j = 0; j < 2; j++) {
            if (lines[j]->count > 0 && lines[j]->frames[lines[j]->first]->due < due) due = lines[j]->frames[lines[j]->first]->due;
        }
    }
    return due;
}

static void obey(const char *command) {
    size_t host;
    char direction[5];
    long long microseconds, rate;
    unsigned lost;
    int cut;
    int count = sscanf(command, "%zu %4s %lld %lld %u %d", &host, direction, &microseconds, &rate, &lost, &cut);
    if (count != 6 || host >= host_count || rate < 0 || microseconds < 0) {
        fprintf(stderr, "not understood: %s\n", command);
        exit(2);
    }
    struct line *line = strcmp(direction, "up") == 0 ? &hosts[host].up : &hosts[host].down;
    line->delay = microseconds * 1000;
    line->bytes_per_second = rate;
    line->lost_per_million = lost;
    line->cut = cut;
    line->busy_until = 0;
    puts("ok");
}

int main(int count, char **arguments) {
    if (count != 3) return fputs("usage: cable SEED HOSTS\n", stderr), 2;
    randomness = strtoull(arguments[1], NULL, 10) * 2 + 1;
    host_count = strtoul(arguments[2], NULL, 10);
    if (host_count < 2 || host_count > MOST_HOSTS) return fprintf(stderr, "2 to %d hosts\n", MOST_HOSTS), 2;
    for (size_t i = 0; i < host_count; i++) hosts[i].descriptor = open_interface(i);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);

    for (;;) {
        struct pollfd polls[1 + MOST_HOSTS] = {{.fd = STDIN_FILENO, .events = POLLIN}};
        for (size_t i = 0; i < host_count; i++) polls[1 + i] = (struct pollfd){.fd = hosts[i].descriptor, .events = POLLIN};
        int64_t due = next_due(), wait = due - now();
        if (wait < 0) wait = 0;
        struct timespec timeout = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        if (ppoll(polls, 1 + host_count, due == INT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR) fail("polling");
        // One line at a time: whoever writes them waits for each answer.
        char command[128];
        if (polls[0].revents) {
            if (!fgets(command, sizeof command, stdin)) return 0;
            obey(command);
        }
        int64_t time = now();
        for (size_t i = 0; i < host_count; i++)
            if (polls[1 + i].revents & POLLIN) receive(i, time);
        deliver(now());
    }
}
