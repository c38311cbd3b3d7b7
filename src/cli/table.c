// SPDX-License-Identifier: Apache-2.0
/* A table of text: columns as wide as their widest cell. Cells are ASCII. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16

struct cli_table {
    size_t columns, rows, room;
    bool right[COLUMNS_MAX];
    size_t width[COLUMNS_MAX];
    char **cells; /* row by row, the heading first */
};

static void add_cell(struct cli_table *t, size_t row, size_t column, const char *text, size_t len)
{
    char *copy = strndup(text, len); /* NULL prints as an empty cell */
    t->cells[row * t->columns + column] = copy;
    if (copy != NULL && len > t->width[column])
        t->width[column] = len;
}

static bool add_row(struct cli_table *t)
{
    if (t->rows == t->room) {
        size_t room = t->room == 0 ? 32 : 2 * t->room;
        char **cells = realloc(t->cells, room * t->columns * sizeof *cells);
        if (cells == NULL)
            return false;
        t->cells = cells;
        t->room = room;
    }
    t->rows++;
    return true;
}

struct cli_table *cli_table_new(const char *columns)
{
    struct cli_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->columns = 1;
    for (const char *p = columns; *p != '\0'; p++)
        t->columns += *p == '|' && t->columns < COLUMNS_MAX;
    if (!add_row(t)) {
        free(t);
        return NULL;
    }
    for (size_t i = 0; i < t->columns; i++) {
        t->right[i] = *columns == '>';
        columns += t->right[i];
        size_t len = strcspn(columns, "|");
        add_cell(t, 0, i, columns, len);
        columns += len + (columns[len] == '|');
    }
    return t;
}

void cli_table_row(struct cli_table *t, ...)
{
    if (t == NULL || !add_row(t))
        return;
    va_list args;
    va_start(args, t);
    for (size_t i = 0; i < t->columns; i++) {
        const char *text = va_arg(args, const char *);
        add_cell(t, t->rows - 1, i, text, strlen(text));
    }
    va_end(args);
}

void cli_table_free(struct cli_table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->rows * t->columns; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}

void cli_table_print(struct cli_table *t)
{
    if (t == NULL)
        return;
    bool bold = cli_color();
    for (size_t r = 0; r < t->rows; r++) {
        fputs(r == 0 && bold ? "\033[1m" : "", stdout);
        for (size_t c = 0; c < t->columns; c++) {
            char *text = t->cells[r * t->columns + c];
            int width = (int)t->width[c];
            bool last = c + 1 == t->columns;
            if (t->right[c])
                printf("%*s", width, text != NULL ? text : "");
            else
                printf("%-*s", last ? 0 : width, text != NULL ? text : "");
            fputs(last ? "" : "  ", stdout);
            free(text);
        }
        puts(r == 0 && bold ? "\033[0m" : "");
    }
    free(t->cells);
    free(t);
}
