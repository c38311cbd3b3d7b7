// SPDX-License-Identifier: Apache-2.0
/* tiercel cont copy: a container, with all its epochs that can be read, into another pool. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/pools.h"

#define BAR         20
#define TELL_NS     100000000u /* between two lines of progress */
#define RECORD_COST 512u       /* bytes of payload that take as long as a record without any */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- progress ---- */

struct watch {
    uint64_t begun_ns, told_ns;
    uint64_t stage_ns; /* when this stage began */
    uint32_t stage;
};

static uint64_t cost(uint64_t records, uint64_t bytes)
{
    return bytes + records * RECORD_COST;
}

/* `copying [######--------------] 30 %, 77 MiB of 256 MiB, 92 MiB/s, 2 s left` */
static void show(const struct watch *w, const struct tiercel_copied *c, uint64_t now)
{
    const bool verifies = c->stage == TIERCEL_COPY_VERIFIES;
    char bytes[CLI_UNIT_SIZE], all[CLI_UNIT_SIZE], rate[CLI_UNIT_SIZE], left[CLI_UNIT_SIZE], bar[BAR + 1];
    uint64_t done_bytes = verifies ? c->verified_bytes : c->copied_bytes + c->skipped_bytes;
    uint64_t done = verifies ? cost(c->verified, done_bytes) : cost(c->copied + c->skipped, done_bytes);
    uint64_t whole = cost(c->records, c->bytes), fresh = verifies ? done : cost(c->copied, c->copied_bytes);
    double share = whole > 0 && done < whole ? (double)done / (double)whole : 1,
           seconds = (double)(now - w->stage_ns) / 1e9;
    if (c->stage == TIERCEL_COPY_COUNTS) {
        cli_progress("looking: %s records, %s", cli_count(all, c->records), cli_bytes(bytes, c->bytes));
        return;
    }
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(share * BAR) ? '#' : '-';
    bar[BAR] = '\0';
    double speed = seconds > 0 ? (double)fresh / seconds : 0;
    uint64_t rest = speed > 0 ? (uint64_t)((double)(whole > done ? whole - done : 0) / speed) : 0;
    cli_progress("%s [%s] %d %%, %s of %s, %s/s, %s left", verifies ? "verifying" : "copying", bar, (int)(share * 100),
                 cli_bytes(bytes, done_bytes), cli_bytes(all, c->bytes), cli_bytes(rate, (uint64_t)speed),
                 cli_duration(left, rest));
}

static int watch(void *ctx, const struct tiercel_copied *c)
{
    struct watch *w = ctx;
    uint64_t now = now_ns();
    if (c->stage != w->stage) {
        w->stage = c->stage;
        w->stage_ns = now;
    }
    if (now - w->told_ns >= TELL_NS) {
        w->told_ns = now;
        show(w, c, now);
    }
    return interrupted != 0;
}

/* ---- the verb ---- */

/* POOL/LABEL, or a pool: then *label is NULL, and the copy keeps that of the source. */
static int parse_destination(const char *given, struct cli_cont *to, const char **label, struct tiercel_error *err)
{
    *label = NULL;
    if (cli_is_pool(given)) {
        *to = (struct cli_cont){.given = given, .label = ""};
        return cli_path(to->uri, err, "%s", given);
    }
    *to = (struct cli_cont){.given = given};
    int rc = cli_cont_name(to, given, err);
    *label = to->label;
    return rc;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static int print(const char *from, const struct cli_cont *to, const char *label, const struct tiercel_copied *c,
                 bool verify, double seconds)
{
    char records[CLI_UNIT_SIZE], bytes[CLI_UNIT_SIZE], uuid[CLI_UUID_SIZE], skipped[CLI_UNIT_SIZE];
    char text[TIERCEL_PATH_SIZE];
    printf("container %s is copied to %s; its UUID is %s\n", from,
           label != NULL ? cli_cont_text(text, to->uri, label) : to->uri, cli_uuid(uuid, c->uuid));
    printf("%s record%s with %s in %.1f s", cli_count(records, c->copied), plural(c->copied),
           cli_bytes(bytes, c->copied_bytes), seconds);
    if (c->skipped > 0)
        printf("; %s record%s there already", cli_count(skipped, c->skipped), c->skipped == 1 ? " was" : "s were");
    printf("%s\n", verify ? "; all were read back, and are the same" : "");
    if (c->readable_from < c->epoch)
        printf("readable from epoch %" PRIu64 " to %" PRIu64, c->readable_from, c->epoch);
    else
        printf("readable at epoch %" PRIu64, c->epoch);
    if (c->snapshots > 0)
        printf(", and at %" PRIu32 " snapshot%s", c->snapshots, plural(c->snapshots));
    puts("");
    if (c->other_class > 0)
        cli_say("%s: %s record%s of object classes that the pool does not offer: written as its default", from,
                cli_count(records, c->other_class), plural(c->other_class));
    if (c->snapshots_gone > 0)
        cli_say("%s: %" PRIu32 " of its snapshots were destroyed meanwhile, and are not in the copy", from,
                c->snapshots_gone);
    return cli_finish();
}

static json_t *as_json(const char *from, const struct cli_cont *to, const struct tiercel_copied *c, double seconds)
{
    char uuid[CLI_UUID_SIZE];
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
                     "from", from, "to", to->given, "uuid", cli_uuid(uuid, c->uuid), "epoch", cli_json_epoch(c->epoch),
                     "readable_from", cli_json_epoch(c->readable_from), "snapshots", (json_int_t)c->snapshots,
                     "snapshots_gone", (json_int_t)c->snapshots_gone, "records", (json_int_t)c->records, "bytes",
                     (json_int_t)c->bytes, "copied", (json_int_t)c->copied, "copied_bytes", (json_int_t)c->copied_bytes,
                     "skipped", (json_int_t)c->skipped, "skipped_bytes", (json_int_t)c->skipped_bytes, "erased",
                     (json_int_t)c->erased, "other_class", (json_int_t)c->other_class, "verified",
                     (json_int_t)c->verified, "verified_bytes", (json_int_t)c->verified_bytes, "seconds", seconds);
}

/* The first signal ends it in order, at the next record; a second one at once. */
static void hear_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static int copy(const char *from, struct cli_cont *to, const char *label, struct tiercel_copy_options *o,
                struct tiercel_copied *done, struct tiercel_error *err)
{
    struct cli_cont c;
    int rc = cli_cont_open(&c, from, TIERCEL_RO, err);
    if (rc < 0)
        return rc;
    rc = tiercel_pool_connect(&to->pool, to->uri, TIERCEL_RW, err);
    if (rc == 0) {
        hear_signals();
        rc = tiercel_cont_copy(c.cont, to->pool, label, o, done, err);
        cli_progress_end();
        tiercel_pool_disconnect(to->pool);
    }
    cli_cont_close(&c);
    return rc;
}

int cmd_cont_copy(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false, verify = false, no_verify = false;
    const char *label;
    struct cli_cont to;
    struct tiercel_copied done;
    struct tiercel_error err = {0};
    struct watch w = {.begun_ns = now_ns()};
    const struct cli_option options[] = {
        {"verify", 0, CLI_FLAG, &verify, NULL, "read the copy back, and compare it with the source (default)"},
        {"no-verify", 0, CLI_FLAG, &no_verify, NULL, "trust the checksums that the destination has made"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse_mixed(self, options, sizeof options / sizeof options[0], &argc, &argv, 2);
    if (go != CLI_GO)
        return go;
    if (argc < 2)
        return cli_usage(self, "name the container, POOL/LABEL, and where it goes: a pool, or POOL/LABEL");
    if (verify && no_verify)
        return cli_usage(self, "--verify and --no-verify exclude each other");
    struct tiercel_copy_options o = {.flags = no_verify ? TIERCEL_COPY_UNVERIFIED : 0, .progress = watch, .ctx = &w};
    int rc = parse_destination(argv[1], &to, &label, &err);
    rc = rc == 0 ? copy(argv[0], &to, label, &o, &done, &err) : rc;
    if (rc < 0)
        return cli_report(&err, json);
    double seconds = (double)(now_ns() - w.begun_ns) / 1e9;
    return json ? cli_print_json(as_json(argv[0], &to, &done, seconds))
                : print(argv[0], &to, label, &done, !no_verify, seconds);
}
