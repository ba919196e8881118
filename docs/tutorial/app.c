/* A sensor hub, as the tutorial records it: packets of any size, two frame buffers, many timers. */
#include <stdlib.h>
#include <string.h>

static unsigned state = 1;
static unsigned below(unsigned end) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % end;
}

static void *packet_new(unsigned size) { return memset(malloc(size), 0, size); }
static void *timer_new(void) { return malloc(40); }
static void *frame_new(void) { return aligned_alloc(64, 4096); }

int main(void) {
    void *packets[4] = {0}, *timers[32] = {0}, *frames[2] = {0};
    for (int tick = 0; tick < 4000; tick++) {
        unsigned p = below(4), t = below(32), f = below(2);
        free(packets[p]);
        packets[p] = packet_new(20 + below(1481));
        free(timers[t]);
        timers[t] = below(3) ? timer_new() : 0;
        if (tick % 10 == 0) {
            free(frames[f]);
            frames[f] = below(2) ? frame_new() : 0;
        }
    }
    for (int i = 0; i < 4; i++) free(packets[i]);
    for (int i = 0; i < 32; i++) free(timers[i]);
    for (int i = 0; i < 2; i++) free(frames[i]);
    return 0;
}
