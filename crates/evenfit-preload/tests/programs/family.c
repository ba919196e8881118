/* A program without evenfit in its source, which checks every way of allocating. Its argument chooses
 * the part. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPECT(condition)                                                        \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);      \
            _exit(1);                                                            \
        }                                                                        \
    } while (0)

/* Volatile, so that the compiler can't leave the calls out or see through them. */
static void *volatile kept;
static volatile size_t huge = SIZE_MAX;

static int is_aligned(void *pointer, size_t alignment) { return (uintptr_t)pointer % alignment == 0; }

static void family(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), i;
    void *pointer;
    unsigned char *bytes;
    for (i = 0; i < 5000; i++) {
        size_t size = i * 13 % 3000;
        bytes = malloc(size);
        EXPECT(bytes && malloc_usable_size(bytes) >= size && (size < 9 || is_aligned(bytes, 16)));
        memset(bytes, 0xA5, size);
        bytes = realloc(bytes, size + 1 + i % 700);
        EXPECT(bytes && (size == 0 || (bytes[0] == 0xA5 && bytes[size - 1] == 0xA5)));
        if (i % 40) free(bytes); /* the rest stays */
    }
    for (i = 1; i < 3000; i += 7) {
        bytes = calloc(i, 3);
        for (size_t j = 0; j < i * 3; j++) EXPECT(bytes[j] == 0);
        memset(bytes, 0xFF, i * 3);
        free(bytes);
    }
    for (size_t alignment = 8; alignment <= 65536; alignment *= 2) {
        EXPECT(posix_memalign(&pointer, alignment, 100) == 0 && is_aligned(pointer, alignment));
        free(pointer);
        pointer = aligned_alloc(alignment, 3 * alignment);
        EXPECT(pointer && is_aligned(pointer, alignment));
        pointer = realloc(pointer, 4 * alignment);
        EXPECT(pointer);
        free(pointer);
        pointer = memalign(alignment, 1);
        EXPECT(pointer && is_aligned(pointer, alignment));
        free(pointer);
    }
    pointer = valloc(10);
    EXPECT(pointer && is_aligned(pointer, page));
    free(pointer);
    pointer = pvalloc(page + 1);
    EXPECT(pointer && is_aligned(pointer, page) && malloc_usable_size(pointer) >= 2 * page);
    free(pointer);

    errno = 0;
    kept = malloc(huge);
    EXPECT(!kept && errno == ENOMEM);
    errno = 0;
    kept = calloc(huge / 2, 3);
    EXPECT(!kept && errno == ENOMEM);
    bytes = strdup("kept");
    errno = 0;
    kept = reallocarray(bytes, huge / 2, 3);
    EXPECT(!kept && errno == ENOMEM && strcmp((char *)bytes, "kept") == 0);
    kept = realloc(bytes, huge - 100);
    EXPECT(!kept && strcmp((char *)bytes, "kept") == 0);
    EXPECT(posix_memalign(&pointer, 24, 8) == EINVAL && posix_memalign(&pointer, 4, 8) == EINVAL);
    /* A compiler that knows the function by name believes that it leaves errno alone. */
    int (*volatile any_posix_memalign)(void **, size_t, size_t) = posix_memalign;
    errno = 0;
    EXPECT(any_posix_memalign(&pointer, 16, huge) == ENOMEM && errno == ENOMEM);
    errno = 77;
    free(bytes);
    free(NULL);
    EXPECT(errno == 77 && malloc_usable_size(NULL) == 0);
    kept = realloc(NULL, 30);
    EXPECT(kept);
    EXPECT(realloc(kept, 0) == NULL);
    kept = malloc(0);
    pointer = malloc(0);
    EXPECT(kept && pointer && kept != pointer);
}

/* C23. The C library of today may not declare them. */
void free_sized(void *block, size_t bytes) __attribute__((weak));
void free_aligned_sized(void *block, size_t alignment, size_t bytes) __attribute__((weak));

/* What a program may ask about its heap. */
static void statistics(void) {
    struct mallinfo2 before = mallinfo2(), after;
    char *text, *block = malloc(100000);
    size_t length;
    FILE *stream;
    after = mallinfo2();
    EXPECT(before.uordblks > 0 && after.uordblks >= before.uordblks + 100000);
    EXPECT(after.uordblks < before.uordblks + 110000 && after.ordblks > 0);
    EXPECT(after.arena > 800000 && after.uordblks + after.fordblks == after.arena);
    EXPECT((size_t)mallinfo().uordblks == after.uordblks);
    EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1 && mallopt(M_MXFAST, 1 << 20) == 0);
    EXPECT(malloc_info(1, stdout) == EINVAL);
    stream = open_memstream(&text, &length);
    EXPECT(malloc_info(0, stream) == 0 && fclose(stream) == 0);
    EXPECT(strstr(text, "<malloc version=\"1\">") == text && strstr(text, "</malloc>\n"));
    EXPECT(strstr(text, "<system type=\"current\" size=\"") && strstr(text, "</heap>"));
    free(text);
    malloc_stats();
    if (free_sized) free_sized(block, 100000);
    EXPECT(free_sized && mallinfo2().uordblks < after.uordblks);
    EXPECT(free_aligned_sized);
    free_aligned_sized(aligned_alloc(256, 512), 256, 512);
}

/* What any malloc answers. */
static void any_statistics(void) {
    struct mallinfo2 before = mallinfo2(), after;
    kept = malloc(100000);
    after = mallinfo2();
    EXPECT(after.uordblks >= before.uordblks + 100000 && (size_t)mallinfo().uordblks > 100000);
    EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    EXPECT(malloc_info(1, stdout) == EINVAL);
    EXPECT(malloc_usable_size(kept) >= 100000);
    malloc_stats();
    free_sized(kept, 100000);
}

/* Threads that allocate, pass blocks on and free each other's, while the process forks. */
enum { SHELVES = 512 };
static void *_Atomic shelf[SHELVES];
static _Atomic int forking_is_over;

static void *worker(void *seed_pointer) {
    unsigned seed = (unsigned)(uintptr_t)seed_pointer;
    long rounds = 0;
    while (!forking_is_over || rounds < 20000) {
        size_t size = 8 + (size_t)rand_r(&seed) % (rounds % 50 ? 300 : 20000);
        size_t *block = malloc(size);
        EXPECT(block);
        memset(block, (int)(size & 0xFF), size);
        *block = size;
        block = __atomic_exchange_n(&shelf[(size_t)rand_r(&seed) % SHELVES], block, __ATOMIC_ACQ_REL);
        if (block) {
            size = *block;
            EXPECT(malloc_usable_size(block) >= size);
            for (size_t i = sizeof size; i < size; i++) EXPECT(((unsigned char *)block)[i] == (size & 0xFF));
            free(block);
        }
        rounds++;
    }
    return NULL;
}

static void threads(void) {
    pthread_t workers[4];
    for (uintptr_t i = 0; i < 4; i++) EXPECT(pthread_create(&workers[i], NULL, worker, (void *)(i + 1)) == 0);
    for (int i = 0; i < 60; i++) {
        int status = 0;
        pid_t child = fork();
        EXPECT(child >= 0);
        if (child == 0) {
            /* Whatever the other threads were doing, the child can allocate. */
            for (size_t j = 1; j < 2000; j++) {
                char *block = malloc(j);
                EXPECT(block);
                block[j - 1] = 'c';
                if (j % 2) free(block);
            }
            _exit(7);
        }
        EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    forking_is_over = 1;
    for (int i = 0; i < 4; i++) pthread_join(workers[i], NULL);
    for (int i = 0; i < SHELVES; i++) free(shelf[i]);
}

/* Ends in a signal handler, most likely in the midst of an allocation. */
static void end(int signal_number) {
    (void)signal_number;
    _exit(9);
}

static void *churn(void *unused) {
    for (;;) {
        void *volatile block = malloc(100000);
        free(block);
    }
    return unused;
}

static void signals(void) {
    pthread_t other;
    signal(SIGALRM, end);
    EXPECT(pthread_create(&other, NULL, churn, NULL) == 0);
    ualarm(20000, 0);
    for (;;) {
        void *volatile block = malloc(50);
        free(block);
    }
}

static void plugin(const char *path, int flags) {
    void *library = dlopen(path, RTLD_NOW | flags);
    EXPECT(library);
    char *(*greet)(const char *) = (char *(*)(const char *))dlsym(library, "greet");
    EXPECT(greet);
    char *greeting = greet("pool");
    EXPECT(strcmp(greeting, "hello, pool") == 0);
    free(greeting);
    void (*dismiss)(char *) = (void (*)(char *))dlsym(library, "dismiss");
    EXPECT(dismiss);
    dismiss(strdup("goodbye"));
    /* A recording names call sites at the end, in what is still loaded. */
    if (flags == 0) dlclose(library);
}

/* Before main and after exit. */
static char *early;

__attribute__((constructor)) static void before_main(void) { early = strdup("allocated before main"); }

__attribute__((destructor)) static void after_exit(void) {
    char *late = malloc(100);
    EXPECT(late);
    snprintf(late, 100, "%s, freed after exit", early);
    free(early);
    if (kept == (void *)&kept) puts(late);
    free(late);
}

static void at_exit(void) { EXPECT(calloc(10, 10)); }

static void fill(void) {
    void **list = NULL;
    size_t count = 0;
    for (;;) {
        void **block = malloc(10000);
        if (!block) break;
        *block = list;
        list = block;
        count++;
    }
    EXPECT(errno == ENOMEM);
    while (list) {
        void **next = *list;
        free(list);
        list = next;
    }
    kept = malloc(count * 10000);
    EXPECT(kept); /* what was freed can be had again, in one piece */
    free(kept);
    printf("%zu blocks of 10000\n", count);
}

/* In a full pool a block still becomes shorter, and grows into what is free before it. */
static void full(void) {
    char *before = malloc(100000), *block = malloc(200000), *slot = malloc(400), *grown;
    EXPECT(before && block && slot);
    memset(block, 'd', 200000);
    memset(slot, 's', 400);
    for (size_t step = 1 << 20; step > 0; step /= 2) do kept = malloc(step);
        while (kept);
    grown = realloc(slot, 40);
    EXPECT(grown == slot && grown[39] == 's');
    errno = 0;
    kept = realloc(block, 250000);
    EXPECT(!kept && errno == ENOMEM && block[199999] == 'd');
    free(before);
    grown = realloc(block, 250000);
    EXPECT(grown == before && grown[0] == 'd' && grown[199999] == 'd');
    grown = realloc(grown, 10);
    EXPECT(grown == before && malloc_usable_size(grown) < 100);
}

static size_t resident_bytes(void) {
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file && fscanf(file, "%*u %zu", &pages) == 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* What nobody has used yet isn't brought into memory, neither the pool nor what describes it. */
static void untouched(void) {
    size_t gib = (size_t)1 << 30, mib = (size_t)1 << 20;
    /* Volatile, since the compiler knows what calloc promises. */
    volatile unsigned char *zeroed = calloc(3, gib);
    EXPECT(zeroed && zeroed[0] == 0 && zeroed[3 * gib - 1] == 0);
    EXPECT(resident_bytes() < 32 * mib);
    for (size_t i = 0; i < 5000; i++) zeroed[mib + i] = 1;
    free((void *)zeroed);
    zeroed = calloc(2, mib);
    EXPECT(zeroed && zeroed[mib] == 0 && zeroed[mib + 4999] == 0);
}

int main(int argc, char **argv) {
    const char *part = argc > 1 ? argv[1] : "family";
    if (!strcmp(part, "family")) family();
    if (!strcmp(part, "threads")) threads();
    if (!strcmp(part, "plugin")) plugin(argv[2], 0);
    if (!strcmp(part, "deepbind")) plugin(argv[2], RTLD_DEEPBIND);
    if (!strcmp(part, "statistics")) statistics();
    if (!strcmp(part, "mallinfo")) any_statistics();
    if (!strcmp(part, "fill")) fill();
    if (!strcmp(part, "full")) full();
    if (!strcmp(part, "untouched")) untouched();
    if (!strcmp(part, "signals")) signals();
    if (!strcmp(part, "life")) {
        atexit(at_exit);
        kept = (void *)&kept;
    }
    if (!strcmp(part, "_exit")) {
        kept = malloc(123456);
        _exit(5);
    }
    if (!strcmp(part, "vfork")) {
        pid_t child = vfork();
        if (child == 0) _exit(3);
        int status = 0;
        EXPECT(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
    }
    if (!strcmp(part, "double")) {
        void *volatile block = malloc(50);
        free(block);
        free(block);
        puts("still here");
    }
    if (!strcmp(part, "foreign")) {
        char *volatile local = (char *)&argc;
        free(local);
        puts("still here");
    }
    return 0;
}
