/* A library that is loaded later. Its caller frees its memory, and it the caller's. */
#include <stdlib.h>
#include <string.h>

char *greet(const char *name) {
    char *greeting = malloc(strlen(name) + 8);
    if (greeting) strcat(strcpy(greeting, "hello, "), name);
    return greeting;
}

void dismiss(char *greeting) { free(greeting); }
