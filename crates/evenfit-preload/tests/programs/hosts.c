/* Programs that change what they run in: each part is one such change, with allocations before and
   after it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The most that is live at once is 3,000,000 bytes. */
static void work(void) {
    char *volatile large = malloc(3000000);
    memset(large, 1, 3000000);
    for (int i = 0; i < 20000; i++) {
        void *volatile block = malloc(i % 500 + 1);
        free(block);
    }
    free(large);
}

static long size_of_file(const char *name) {
    struct stat found;
    return stat(name, &found) ? -1 : (long)found.st_size;
}

#define ALLOW(n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, n, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Only what the program itself needs from here on: no files, no time, no signals. */
static void lock_in(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_write), ALLOW(SYS_brk), ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_mremap),
        ALLOW(SYS_madvise), ALLOW(SYS_futex), ALLOW(SYS_exit_group), ALLOW(SYS_getrandom),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) abort();
}

int main(int argc, char **argv) {
    const char *part = argv[1];
    char *file = argc > 2 ? argv[2] : "";
    if (!strcmp(part, "descriptors")) {
        /* As daemons do; then its own file gets a number that was free. */
        work();
        closefrom(3);
        int fd = open(file, O_CREAT | O_TRUNC | O_RDWR, 0600);
        if (write(fd, "PRECIOUS", 8) != 8) return 2;
        work();
        return fd == 3 && size_of_file(file) == 8 ? 0 : 3;
    }
    if (!strcmp(part, "stderr")) {
        /* The data file becomes descriptor 2. */
        close(0), close(1), close(2);
        open("/dev/null", O_RDWR), open("/dev/null", O_RDWR);
        if (open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600) != 2 || write(2, "DATA", 4) != 4) return 2;
        work();
        if (argc > 3) { char *block = malloc(10); free(block); free(block); }
        return 0;
    }
    if (!strcmp(part, "environment")) { clearenv(); work(); return 0; }
    if (!strcmp(part, "root")) {
        if (chroot(file) || chdir("/")) return 77;
        work();
        return 0;
    }
    if (!strcmp(part, "user")) {
        if (setgroups(0, 0) || setgid(65534) || setuid(65534)) return 77;
        work();
        return 0;
    }
    if (!strcmp(part, "limits")) {
        struct rlimit none = {0, 0}, three = {3, 3};
        signal(SIGXFSZ, SIG_DFL);
        setrlimit(RLIMIT_FSIZE, &none), setrlimit(RLIMIT_NOFILE, &three);
        work();
        return 0;
    }
    if (!strcmp(part, "filter")) { lock_in(); work(); if (write(1, "done\n", 5) != 5) return 2; return 0; }
    if (!strcmp(part, "strict")) {
        /* Nothing but read, write, exit. */
        work();
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        free(malloc(100));
        syscall(SYS_exit, 0);
    }
    if (!strcmp(part, "pipe")) {
        /* Nobody reads what it says on standard error. */
        int ends[2];
        if (pipe(ends) || dup2(ends[1], 2) != 2) return 2;
        close(ends[0]), close(ends[1]);
        execl(argv[0], argv[0], "pipe-exec", (char *)0);
        return 3;
    }
    if (!strcmp(part, "pipe-exec")) { work(); return 0; }
    if (!strcmp(part, "_exit")) { work(); _exit(0); }
    if (!strcmp(part, "exit_group")) { work(); syscall(SYS_exit_group, 0); }
    if (!strcmp(part, "abort")) { work(); abort(); }
    if (!strcmp(part, "kill")) { work(); raise(SIGKILL); }
    if (!strcmp(part, "exec")) { work(); execl("/bin/true", "true", (char *)0); }
    if (!strcmp(part, "fork")) {
        /* In every way: the child allocates more than its parent. */
        pid_t child;
        work();
        if (!(child = fork())) { free(memset(malloc(4000000), 1, 4000000)); return 0; }
        waitpid(child, 0, 0);
        if (!(child = vfork())) _exit(0);
        waitpid(child, 0, 0);
        /* Behind the C library's back: the parent's numbers stay its own. */
        if (!(child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))) {
            free(memset(malloc(5000000), 1, 5000000));
            syscall(SYS_exit_group, 0);
        }
        waitpid(child, 0, 0);
        return 0;
    }
    if (!strcmp(part, "daemon")) {
        if (fork()) return 0;
        setsid();
        if (fork()) return 0;
        if (chdir("/")) return 2;
        for (int i = 0; i < 1024; i++) close(i);
        usleep(300000);
        work();
        return 0;
    }
    return 1;
}
