/* Forks beside threads that hold the C library's own locks while they allocate: those of all
   streams, of one stream, of the loader, of the name services, of the time zone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int is_over;
static FILE *shared;

static void *flush_all(void *unused) {
    while (!is_over) fflush(NULL);
    return unused;
}

static void *read_lines(void *unused) {
    while (!is_over) {
        char *line = NULL;
        size_t room = 0;
        rewind(shared);
        while (getline(&line, &room, shared) > 0) free(line), line = NULL, room = 0;
        free(line);
    }
    return unused;
}

static void *open_streams(void *unused) {
    while (!is_over) {
        FILE *stream = fopen("/dev/null", "w");
        if (stream) fprintf(stream, "%s", "text"), fclose(stream);
    }
    return unused;
}

static void *load(void *unused) {
    while (!is_over) {
        void *library = dlopen("libm.so.6", RTLD_NOW);
        if (library) dlsym(library, "cos"), dlclose(library);
    }
    return unused;
}

static void *look_up(void *unused) {
    while (!is_over) {
        struct addrinfo *found = NULL, hints = {.ai_flags = AI_NUMERICSERV, .ai_family = AF_INET};
        if (!getaddrinfo("localhost", "80", &hints, &found)) freeaddrinfo(found);
    }
    return unused;
}

static void *tell_time(void *unused) {
    for (time_t now = 0; !is_over; now += 86400) {
        struct tm parts;
        setenv("TZ", now & 1 ? "Europe/Berlin" : "America/Lima", 1);
        localtime_r(&now, &parts);
        tzset();
    }
    return unused;
}

static void *resize(void *unused) {
    while (!is_over) {
        char *block = NULL;
        for (size_t size = 1; size < 5000; size += 97) {
            block = realloc(block, size);
            block[size - 1] = 1;
        }
        free(block);
    }
    return unused;
}

int main(int argc, char **argv) {
    int forks = argc > 1 ? atoi(argv[1]) : 1000;
    void *(*works[])(void *) = {flush_all, read_lines, open_streams, load, look_up, tell_time, resize};
    enum { COUNT = sizeof works / sizeof *works };
    pthread_t threads[COUNT];
    shared = tmpfile();
    for (int line = 0; line < 50; line++) fprintf(shared, "line %0*d\n", line * 7 % 200, line);
    for (int i = 0; i < COUNT; i++) pthread_create(&threads[i], NULL, works[i], NULL);
    for (int i = 0; i < forks; i++) {
        pid_t child = fork();
        if (child < 0) return 2;
        if (!child) {
            char *text = NULL;
            size_t room = 0;
            FILE *stream = open_memstream(&text, &room);
            fprintf(stream, "%d", i);
            fclose(stream);
            free(text);
            free(strdup("and so on"));
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status) return 3;
    }
    is_over = 1;
    for (int i = 0; i < COUNT; i++) pthread_join(threads[i], NULL);
    puts("forked");
    return 0;
}
