// SPDX-License-Identifier: Apache-2.0
/* Contents through a real mount: reading, mapping, executing; waiting, being interrupted; many at once. */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "front/fixture.h"

#define BIG_SIZE (8u << 20)

static uint32_t pattern(uint32_t i)
{
    return i * 2654435761u ^ 0x5bd1e995u;
}

static void spill_big(const struct fixture *fx, const char *name)
{
    char path[256];
    uint32_t *words = malloc(BIG_SIZE);
    assert_non_null(words);
    for (uint32_t i = 0; i < BIG_SIZE / 4; i++)
        words[i] = pattern(i);
    fixture_path(path, sizeof path, fx->source, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && write(fd, words, BIG_SIZE) == BIG_SIZE && ftruncate(fd, BIG_SIZE + 3) == 0);
    close(fd);
    free(words);
}

static void read_big(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    static uint32_t words[65536 / 4];
    fixture_path(path, sizeof path, fx->mnt, "big");
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0);
    for (uint32_t at = 0; at < BIG_SIZE; at += sizeof words) {
        EXPECT(read(fd, words, sizeof words) == (ssize_t)sizeof words);
        for (uint32_t i = 0; i < sizeof words / 4; i++)
            EXPECT(words[i] == pattern(at / 4 + i));
    }
    EXPECT(read(fd, words, sizeof words) == 3);
    EXPECT(read(fd, words, sizeof words) == 0);
    uint32_t *map = mmap(NULL, BIG_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    EXPECT(map != MAP_FAILED);
    for (uint32_t i = 0; i < BIG_SIZE / 4; i += 997)
        EXPECT(map[i] == pattern(i));
    uint32_t *shared = mmap(NULL, BIG_SIZE, PROT_READ, MAP_SHARED, fd, 0); /* np.memmap does this */
    EXPECT(shared != MAP_FAILED && shared[BIG_SIZE / 4 - 1] == pattern(BIG_SIZE / 4 - 1));
    EXPECT(lseek(fd, -100, SEEK_END) == BIG_SIZE + 3 - 100 && read(fd, words, sizeof words) == 100);
}

static void contents_are_right_and_travel_once_for_twelve_readers(void **state)
{
    (void)state;
    struct fixture fx;
    pid_t pids[12];
    fixture_new(&fx);
    spill_big(&fx, "big");
    fixture_mount(&fx, NULL);
    for (int i = 0; i < 12; i++)
        pids[i] = fixture_fork(&fx, read_big, NULL);
    for (int i = 0; i < 12; i++)
        assert_int_equal(fixture_serve(&fx, pids[i]), 0);
    struct tl_fuse_stats s;
    tl_fuse_stats(fx.fuse, &s);
    assert_true(s.read_bytes >= BIG_SIZE + 3);
    assert_true(s.read_bytes < 2 * BIG_SIZE); /* not once a reader; others may have the kernel drop pages meanwhile */
    assert_int_equal(s.errors, 0);
    fixture_free(&fx);
}

static void copy_file(const char *from, const char *to)
{
    char buf[4096];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_true(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, buf, sizeof buf)) > 0;)
        assert_int_equal(write(out, buf, (size_t)n), n);
    close(in);
    close(out);
}

static void execute(struct fixture *fx, const void *arg)
{
    (void)arg;
    char program[256], library[256], script[256];
    fixture_path(library, sizeof library, fx->mnt, "library.so");
    fixture_path(program, sizeof program, fx->mnt, "program");
    fixture_path(script, sizeof script, fx->mnt, "script");
    void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    EXPECT(lib != NULL && dlsym(lib, "_cmocka_run_group_tests") != NULL);
    EXPECT(dlsym(lib, "_cmocka_run_group_tests") != (void *)(uintptr_t)_cmocka_run_group_tests);
    pid_t pid = fork();
    int status;
    EXPECT(pid >= 0);
    if (pid == 0)
        execl(script, "script", (char *)NULL);
    EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    execl(program, "sh", "-c", "exit 42", (char *)NULL);
    EXPECT(false);
}

static void programs_scripts_and_libraries_run_from_the_mount(void **state)
{
    (void)state;
    struct fixture fx;
    Dl_info info;
    char path[256], text[300];
    fixture_new(&fx);
    fixture_path(path, sizeof path, fx.source, "program");
    copy_file("/bin/sh", path);
    assert_int_not_equal(dladdr((void *)(uintptr_t)_cmocka_run_group_tests, &info), 0);
    fixture_path(path, sizeof path, fx.source, "library.so");
    copy_file(info.dli_fname, path);
    snprintf(text, sizeof text, "#!%s/program\nexit 7\n", fx.mnt);
    fixture_spill(&fx, "script", text);
    fixture_path(path, sizeof path, fx.source, "script");
    assert_int_equal(chmod(path, 0755), 0);
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, execute, NULL), 42);
    fixture_free(&fx);
}

#define HUGE_SIZE (1ll << 40)

static void read_huge(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256], buf[64];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, "huge");
    EXPECT(stat(path, &st) == 0 && st.st_size == HUGE_SIZE && st.st_blocks < 1000);
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0);
    EXPECT(pread(fd, buf, 9, HUGE_SIZE / 2) == 9 && memcmp(buf, "in the mi", 9) == 0);
    EXPECT(pread(fd, buf, sizeof buf, HUGE_SIZE - 4) == 4 && memcmp(buf, "end\n", 4) == 0);
    EXPECT(pread(fd, buf, sizeof buf, HUGE_SIZE) == 0);
    EXPECT(pread(fd, buf, 8, HUGE_SIZE / 4) == 8 && memcmp(buf, "\0\0\0\0\0\0\0\0", 8) == 0);
}

static void a_sparse_file_of_a_tebibyte_is_read_where_it_is_asked_for(void **state)
{
    (void)state;
    struct fixture fx;
    char path[256];
    fixture_new(&fx);
    fixture_path(path, sizeof path, fx.source, "huge");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, HUGE_SIZE), 0);
    assert_int_equal(pwrite(fd, "in the middle", 13, HUGE_SIZE / 2), 13);
    assert_int_equal(pwrite(fd, "end\n", 4, HUGE_SIZE - 4), 4);
    close(fd);
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, read_huge, NULL), 0);
    struct tl_fuse_stats s;
    tl_fuse_stats(fx.fuse, &s);
    assert_true(s.read_bytes < 4u << 20);
    fixture_free(&fx);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void be_interrupted(struct fixture *fx, const void *arg)
{
    const char *name = arg;
    char path[256];
    void *page = NULL;
    EXPECT(posix_memalign(&page, 4096, 4096) == 0);
    fixture_path(path, sizeof path, fx->mnt, "dir");
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    EXPECT(dir >= 0);
    struct sigaction act = {.sa_handler = on_alarm}; /* without SA_RESTART */
    EXPECT(sigaction(SIGALRM, &act, NULL) == 0);
    struct itimerval soon = {.it_value = {.tv_usec = 50000}, .it_interval = {.tv_usec = 50000}};
    EXPECT(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    if (strcmp(name, "dir") == 0) {
        struct stat st;
        EXPECT(fstatat(dir, "file", &st, 0) != 0 && errno == EINTR);
    } else {
        int fd = openat(dir, "file", O_RDONLY | O_DIRECT);
        EXPECT(fd >= 0 && read(fd, page, 4096) < 0 && errno == EINTR);
    }
}

static void be_patient(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256], buf[8];
    fixture_path(path, sizeof path, fx->mnt, "dir/file");
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0 && read(fd, buf, sizeof buf) == 5);
}

static void a_signal_ends_the_wait(void **state)
{
    (void)state;
    static const char *const what[] = {"dir", "dir/file"}; /* a look-up; a read */
    struct fixture fx;
    fixture_new(&fx);
    fixture_make_dir(&fx, "dir", 0755);
    fixture_spill(&fx, "dir/file", "hello");
    fixture_mount(&fx, NULL);
    for (int i = 0; i < 2; i++) {
        uint64_t before = fx.host.cancels;
        fixture_path(fx.host.held, sizeof fx.host.held, fx.source, what[i]);
        assert_int_equal(fixture_run(&fx, be_interrupted, what[i]), 0);
        assert_true(fx.host.cancels > before);
        fx.host.held[0] = '\0';
        assert_int_equal(fixture_run(&fx, be_patient, NULL), 0);
    }
    fixture_free(&fx);
}

static bool one_waits(struct fixture *fx)
{
    return fx->host.queue_len == 1;
}

static void a_process_that_waits_can_be_killed(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_make_dir(&fx, "dir", 0755);
    fixture_spill(&fx, "dir/file", "hello");
    fixture_path(fx.host.held, sizeof fx.host.held, fx.source, "dir");
    fixture_mount(&fx, NULL);
    pid_t pid = fixture_fork(&fx, be_patient, NULL);
    fixture_serve_until(&fx, one_waits);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(fixture_serve(&fx, pid), 128 + SIGKILL);
    fixture_free(&fx);
}

static void expect_error(struct fixture *fx, const void *arg)
{
    char path[256], buf[16];
    fixture_path(path, sizeof path, fx->mnt, "file");
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0 && read(fd, buf, sizeof buf) < 0);
    if (errno != *(const int *)arg)
        fprintf(stderr, "errno %d, not %d\n", errno, *(const int *)arg);
    EXPECT(errno == *(const int *)arg);
}

static void read_file(struct fixture *fx, const void *arg)
{
    const char *want = arg;
    char path[256], buf[64];
    fixture_path(path, sizeof path, fx->mnt, "file");
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0 && read(fd, buf, sizeof buf) == (ssize_t)strlen(want) && memcmp(buf, want, strlen(want)) == 0);
}

static void a_read_that_fails_is_an_error_and_never_an_empty_file(void **state)
{
    (void)state;
    static const int errors[] = {EIO, EHOSTUNREACH, EACCES, EBADMSG};
    struct fixture fx;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_mount(&fx, NULL);
    fixture_path(fx.host.failing, sizeof fx.host.failing, fx.source, "file");
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        fx.host.fail_status = -errors[i];
        assert_int_equal(fixture_run(&fx, expect_error, &errors[i]), 0);
    }
    fx.host.failing[0] = '\0';
    assert_int_equal(fixture_run(&fx, read_file, "hello"), 0);
    fixture_free(&fx);
}

#define THREADS (TL_PENDING_MAX + 100)

static char crowd_dir[256];

static void *look_up_one(void *arg)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "%s/%zu", crowd_dir, (size_t)(uintptr_t)arg);
    EXPECT(stat(path, &st) != 0 && errno == ENOENT);
    return NULL;
}

static void crowd(struct fixture *fx, const void *arg)
{
    (void)arg;
    static pthread_t threads[THREADS];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128u << 10);
    fixture_path(crowd_dir, sizeof crowd_dir, fx->mnt, "dir");
    for (size_t i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], &attr, look_up_one, (void *)(uintptr_t)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
}

static bool all_places_taken(struct fixture *fx)
{
    return fx->host.queue_len == TL_PENDING_MAX;
}

static void more_waiting_requests_than_places_wait_in_the_kernel(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_make_dir(&fx, "dir", 0755);
    fixture_mount(&fx, NULL);
    fixture_path(fx.host.held, sizeof fx.host.held, fx.source, "dir");
    pid_t pid = fixture_fork(&fx, crowd, NULL);
    fixture_serve_until(&fx, all_places_taken);
    struct pollfd p = {.fd = tl_fuse_fd(fx.fuse), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0); /* the host's loop sleeps: it is not told of what cannot be taken */
    assert_int_equal(tl_fuse_ready(fx.fuse, 10), 0);
    fx.host.held[0] = '\0';
    assert_int_equal(fixture_serve(&fx, pid), 0);
    fixture_free(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contents_are_right_and_travel_once_for_twelve_readers),
        cmocka_unit_test(programs_scripts_and_libraries_run_from_the_mount),
        cmocka_unit_test(a_sparse_file_of_a_tebibyte_is_read_where_it_is_asked_for),
        cmocka_unit_test(a_signal_ends_the_wait),
        cmocka_unit_test(a_process_that_waits_can_be_killed),
        cmocka_unit_test(a_read_that_fails_is_an_error_and_never_an_empty_file),
        cmocka_unit_test(more_waiting_requests_than_places_wait_in_the_kernel),
    };
    return fixture_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
