// SPDX-License-Identifier: Apache-2.0
/* What the verbs of the `tiercel` command share: options, output, paths.
 *
 * One process, one thread, one verb. Sentences go to standard error as `tiercel: thing: cause; remedy`, results to
 * standard output, progress to standard error and only on a terminal. */
#ifndef TL_CLI_CLI_H
#define TL_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tiercel/tiercel.h>

/* Exit codes, documented in tiercel(1). */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_RUN_FAILED = 125, CLI_CANNOT_EXECUTE = 126, CLI_NOT_FOUND = 127 };
#define CLI_GO (-1) /* cli_parse: nothing is decided yet, go on */

#define CLI_CALL_TIMEOUT_MS 15000

struct cli_verb {
    const char *name;
    const char *group;   /* heading of `tiercel --help`; NULL: not listed */
    const char *usage;   /* arguments, as in the synopsis */
    const char *summary; /* one line */
    const char *more;    /* paragraphs for `tiercel VERB --help`, or NULL */
    int (*run)(const struct cli_verb *self, int argc, char **argv);
};

/* ---- options (options.c) ---- */

enum cli_kind {
    CLI_FLAG,    /* bool */
    CLI_TEXT,    /* const char * */
    CLI_COUNT,   /* int, 1 or more */
    CLI_RANK,    /* int, 0 or more */
    CLI_SIZE,    /* const char *: digits with K, M or G, checked and handed on as text */
    CLI_AUTO,    /* const char *: a whole number from 1, or "auto", handed on as text */
    CLI_SECONDS, /* int, ms; fractions allowed */
    CLI_EPOCH,   /* uint64_t, a number from 1 */
    CLI_BYTES,   /* uint64_t: digits, perhaps with K, M, G or T */
    CLI_LIST,    /* struct cli_list, one more item each time */
};

struct cli_list {
    const char **items; /* NULL-terminated, owned */
    size_t count;
};

struct cli_option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum cli_kind kind;
    void *out;
    const char *value; /* its name in the help, NULL for flags */
    const char *help;
};

#define CLI_OPTION_NAME(var)                                                                                           \
    {                                                                                                                  \
        "name", 0, CLI_TEXT, (var), "TIER", "which tier (default: $TIERCEL_NAME, the job's, or \"default\")"           \
    }
#define CLI_OPTION_RANK(var)                                                                                           \
    {                                                                                                                  \
        "rank", 0, CLI_RANK, (var), "N", "which of this machine's nodes (default: the lowest that answers)"            \
    }
#define CLI_OPTION_JSON(var)                                                                                           \
    {                                                                                                                  \
        "json", 0, CLI_FLAG, (var), NULL, "print JSON"                                                                 \
    }

/* Reads options up to the first operand or "--". Returns CLI_GO with *argc and *argv on the operands, CLI_OK after
 * --help, or CLI_USAGE after a sentence. At most operands_max operands are accepted (-1: any number). */
int cli_parse(const struct cli_verb *self, const struct cli_option *options, size_t count, int *argc, char ***argv,
              int operands_max);
/* The same with options anywhere, up to "--". */
int cli_parse_mixed(const struct cli_verb *self, const struct cli_option *options, size_t count, int *argc,
                    char ***argv, int operands_max);
bool cli_number(const char *text, uint64_t *out); /* decimal digits, nothing else, below 2^64 */
/* A usage error of a verb: prints `tiercel VERB: sentence` and where to read more. Returns CLI_USAGE. */
int cli_usage(const struct cli_verb *self, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_list_fini(struct cli_list *list);

/* ---- tables of verbs (verbs.c) ---- */

/* By name; of "cont create" only the last word counts. NULL: none. */
const struct cli_verb *cli_verb_find(const struct cli_verb *verbs, size_t count, const char *name);
/* Says so, and what was perhaps meant. of: "" or the verb that these belong to. Returns CLI_USAGE. */
int cli_verb_unknown(const struct cli_verb *verbs, size_t count, const char *of, const char *name);
/* A verb that has verbs: runs the one that argv names, or lists them for --help. */
int cli_verb_group(const struct cli_verb *self, const struct cli_verb *verbs, size_t count, int argc, char **argv);

/* ---- output (output.c) ---- */

/* Fills err and returns code (negative). */
int cli_error(struct tiercel_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Prints the sentence, with `json` an object on standard output too. Returns CLI_FAILED. */
int cli_report(const struct tiercel_error *err, bool json);
/* `tiercel: ` and a line on standard error. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Progress: a line that the next one overwrites; nothing unless standard error is a terminal. */
void cli_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_progress_end(void);
/* JSON text on standard output, with a newline. Returns CLI_OK, or CLI_FAILED if it could not be written. */
int cli_print_json_text(const char *text);
/* The same for a value, which is consumed. */
int cli_print_json(json_t *value);
/* Flushes standard output: CLI_OK, or CLI_FAILED with a sentence (a full disk, a closed pipe). */
int cli_finish(void);
bool cli_color(void); /* standard output is a terminal that knows colours */

#define CLI_UNIT_SIZE 24
#define CLI_RANKS_MAX 4096                                      /* daemons of a tier on one machine */
const char *cli_bytes(char out[CLI_UNIT_SIZE], uint64_t bytes); /* "1.5 GiB" */
const char *cli_count(char out[CLI_UNIT_SIZE], uint64_t n);     /* "12.3 k" above 99,999, else digits with commas */
const char *cli_duration(char out[CLI_UNIT_SIZE], uint64_t seconds); /* "3 min 12 s" */
const char *cli_percent(char out[CLI_UNIT_SIZE], uint64_t part, uint64_t whole);

/* A table of text with aligned columns. */
struct cli_table;
/* columns: names separated by '|'; one that begins with '>' is right-aligned. NULL when memory is out. */
struct cli_table *cli_table_new(const char *columns);
/* As many strings as there are columns. Copied. */
void cli_table_row(struct cli_table *t, ...);
void cli_table_print(struct cli_table *t); /* and frees */
void cli_table_free(struct cli_table *t);  /* without printing */

/* ---- JSON (output.c) ---- */
uint64_t cli_json_u64(const json_t *object, const char *key);     /* 0 if it is not there */
const char *cli_json_text(const json_t *object, const char *key); /* "" if it is not there */

/* ---- places (paths.c) ---- */

/* Path of a helper program: tierceld, tiercel-sim, tiercel-launch. 0, -ENOENT with the places that were looked at. */
int cli_helper(const char *name, char out[TIERCEL_PATH_SIZE], struct tiercel_error *err);
/* This program's own path. */
int cli_self(char out[TIERCEL_PATH_SIZE], struct tiercel_error *err);
/* An absolute path without links; the last component need not exist. */
int cli_absolute(const char *path, char out[TIERCEL_PATH_SIZE], struct tiercel_error *err);
/* snprintf that refuses to cut. 0, -ENAMETOOLONG with a sentence. */
int cli_path(char out[TIERCEL_PATH_SIZE], struct tiercel_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- calls (call.c) ---- */

/* Connects, calls, closes. argv: NULL-terminated. *json to be freed with tiercel_free; may be NULL. */
int cli_call(const char *tier, int rank, const char *const argv[], char **json, struct tiercel_error *err);
/* The same, parsed; *out to be json_decref'd. */
int cli_call_json(const char *tier, int rank, const char *const argv[], json_t **out, struct tiercel_error *err);

/* For verbs that show an answer: true with *out to be shown, and json_decref'd; else all is done, and *code is the exit code:
 * with json, the answer has been printed as it is; or there is none, and the reason is told. */
bool cli_ask(const char *tier, int rank, bool json, const char *const argv[], json_t **out, int *code);

/* ---- verbs ---- */
int cmd_up(const struct cli_verb *self, int argc, char **argv);
int cmd_down(const struct cli_verb *self, int argc, char **argv);
int cmd_rekey(const struct cli_verb *self, int argc, char **argv);
int cmd_restart(const struct cli_verb *self, int argc, char **argv);
int cmd_wait(const struct cli_verb *self, int argc, char **argv);
int cmd_run(const struct cli_verb *self, int argc, char **argv);
int cmd_mount(const struct cli_verb *self, int argc, char **argv);
int cmd_umount(const struct cli_verb *self, int argc, char **argv);
int cmd_status(const struct cli_verb *self, int argc, char **argv);
int cmd_stat(const struct cli_verb *self, int argc, char **argv);
int cmd_pin(const struct cli_verb *self, int argc, char **argv);
int cmd_unpin(const struct cli_verb *self, int argc, char **argv);
int cmd_flush(const struct cli_verb *self, int argc, char **argv);
int cmd_timeline(const struct cli_verb *self, int argc, char **argv);
int cmd_warm(const struct cli_verb *self, int argc, char **argv);
int cmd_profile(const struct cli_verb *self, int argc, char **argv);
int cmd_tree(const struct cli_verb *self, int argc, char **argv);
int cmd_top(const struct cli_verb *self, int argc, char **argv);
int cmd_where(const struct cli_verb *self, int argc, char **argv);
int cmd_doctor(const struct cli_verb *self, int argc, char **argv);
int cmd_export(const struct cli_verb *self, int argc, char **argv);
int cmd_import(const struct cli_verb *self, int argc, char **argv);
int cmd_sim(const struct cli_verb *self, int argc, char **argv);
int cmd_cache(const struct cli_verb *self, int argc, char **argv);
int cmd_pool(const struct cli_verb *self, int argc, char **argv);
int cmd_cont(const struct cli_verb *self, int argc, char **argv);
int cmd_put(const struct cli_verb *self, int argc, char **argv);
int cmd_get(const struct cli_verb *self, int argc, char **argv);
int cmd_ls(const struct cli_verb *self, int argc, char **argv);
int cmd_rm(const struct cli_verb *self, int argc, char **argv);
int cmd_call(const struct cli_verb *self, int argc, char **argv);

#endif
