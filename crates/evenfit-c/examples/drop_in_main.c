/* A program written for a teaching allocator, linked with drop_in.c instead. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void initialize(void);
void *allocate(size_t size);
void deallocate(void *pointer);

int main(void) {
    char *first, *second, *third, *again;
    initialize();
    first = allocate(100);
    second = allocate(200);
    third = allocate(300);
    if (!first || !second || !third) return 1;
    memset(first, 1, 100);
    memset(third, 3, 300);
    deallocate(second);
    again = allocate(200);
    if (again != second || first[99] != 1 || third[0] != 3) return 2;
    deallocate(first);
    deallocate(again);
    deallocate(third);
    deallocate(third); /* refused, harmless */
    if (allocate(1024) == NULL) return 3;
    puts("allocated, freed, merged: all as before");
    return 0;
}
