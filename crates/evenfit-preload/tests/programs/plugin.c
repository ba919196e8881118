/* A library that is loaded later, and whose memory its caller frees. */
#include <stdlib.h>
#include <string.h>

char *greet(const char *name) {
    char *greeting = malloc(strlen(name) + 8);
    if (greeting) strcat(strcpy(greeting, "hello, "), name);
    return greeting;
}
