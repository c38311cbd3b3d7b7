# SPDX-License-Identifier: Apache-2.0
# strace's output (-f -y -s 0) to a trace for bench/replay: the file operations below a prefix, in order.
#
#   awk -v prefix=/srv/pfs -f strace2trace.awk strace.out strace.out > trace
#
# A line of a trace: OP SLOT OFFSET LENGTH EXPECTED PATH, "-" where there is none. Paths are relative to the prefix; SLOT is
# the recorded descriptor; EXPECTED is 0 or the errno's name. OPs:
#   exec   the program itself: mapped and touched          open   SLOT becomes PATH
#   stat   lstat   access   readlink   of PATH             fstat  tty   of SLOT (tty: the ioctl that Python makes)
#   list   SLOT's directory to its end                     read   LENGTH bytes at OFFSET of SLOT
#   map    LENGTH bytes at OFFSET of SLOT: touched sparsely (see replay.c)      close  SLOT
# One process, any number of threads; children that it runs are left out (the file is read twice to know them). What is outside the prefix is counted in the last line (a comment).

function below(path) { return substr(path, 1, length(prefix) + 1) == prefix "/" || path == prefix }
function relative(path) { return path == prefix ? "." : substr(path, length(prefix) + 2) }
function emit(op, slot, offset, len, expected, path) { print op, slot, offset, len, expected, path }

# The first quoted string of the line: the path (strace escapes odd bytes; imports have none).
function quoted(line,    from, rest) {
    from = index(line, "\"")
    if (from == 0) return ""
    rest = substr(line, from + 1)
    return substr(rest, 1, index(rest, "\"") - 1)
}
# The descriptor that is the call's first argument.
function first_fd(args) { return match(args, /^[0-9]+/) ? substr(args, 1, RLENGTH) : "" }
function count_open(path, result) {
    if (result < 0) return
    if (below(path)) inside++
    else if (path ~ /^\/usr\/share\/zoneinfo/) zones++
    else if (path !~ /^\/(proc|sys|dev)\//) { outside++; if (outside <= 20) outside_names = outside_names " " path }
}

# First reading: the first program is the recorded one; whoever executes another is a child.
NR == FNR {
    if (FNR == 1) recorded = $1
    if ($2 ~ /^execve\(/ && $1 != recorded) child[$1] = 1
    next
}
$1 in child { next }

{
    pid = $1
    line = $0
    sub(/^[0-9]+ +/, "", line)
    # A call that another thread interrupted comes in two parts.
    if (line ~ /<unfinished \.\.\.>$/) { sub(/ *<unfinished \.\.\.>$/, "", line); part[pid] = line; next }
    if (line ~ /^<\.\.\. [a-z0-9_]+ resumed>/) { sub(/^<\.\.\. [a-z0-9_]+ resumed>/, "", line); line = part[pid] line; delete part[pid] }
    if (!match(line, /\) += -?(0x)?[0-9a-f]+/)) next
    tail = substr(line, RSTART)
    sub(/^\) += /, "", tail)
    split(tail, words, /[ <]/)
    result = words[1]
    expected = "0"
    if (result == "-1") { split(tail, words, " "); expected = words[2]; result = -1 }
    call = substr(line, 1, index(line, "(") - 1)
    args = substr(line, index(line, "(") + 1)
    fd = first_fd(args)
    path = quoted(line)
}

call == "execve" && expected == "0" { count_open(path, 0); if (below(path)) emit("exec", "-", 0, 0, 0, relative(path)); next }
call == "open" || call == "openat" {
    count_open(path, result)
    if (!below(path)) { if (result >= 0) delete open_at[result]; next }
    slot = expected == "0" ? result : "-"
    emit("open", slot, 0, 0, expected, relative(path))
    if (slot != "-") open_at[slot] = 0
    next
}
call ~ /stat/ && args ~ /""/ && fd in open_at { emit("fstat", fd, 0, 0, expected, "-"); next }
call == "fstat" { if (fd in open_at) emit("fstat", fd, 0, 0, expected, "-"); next }
call == "lstat" || (call ~ /newfstatat|statx/ && args ~ /AT_SYMLINK_NOFOLLOW/) { if (below(path)) emit("lstat", "-", 0, 0, expected, relative(path)); next }
call == "stat" || call == "newfstatat" || call == "statx" { if (below(path)) emit("stat", "-", 0, 0, expected, relative(path)); next }
call ~ /access/ { if (below(path)) emit("access", "-", 0, 0, expected, relative(path)); next }
call ~ /readlink/ { if (below(path)) emit("readlink", "-", 0, 0, expected, relative(path)); next }
!(fd in open_at) && call != "mmap" { next }
call == "getdents64" { if (result > 0) emit("list", fd, 0, 0, 0, "-"); next }
call == "read" { if (result >= 0) { emit("read", fd, open_at[fd], result, 0, "-"); open_at[fd] += result } next }
call == "lseek" { if (expected == "0") open_at[fd] = result; next }
call == "pread64" {
    offset = args; sub(/\) += .*$/, "", offset); sub(/^.*, /, "", offset)
    if (result >= 0) emit("read", fd, offset, result, 0, "-")
    next
}
call == "ioctl" { if (args ~ /TCGETS/) emit("tty", fd, 0, 0, expected, "-"); next }
call == "mmap" {
    n = split(args, words, ", ")
    if (n < 6 || expected != "0") next
    fd = first_fd(words[5])
    if (!(fd in open_at)) next
    offset = words[6]; sub(/\).*$/, "", offset)
    emit("map", fd, offset, words[2], 0, "-")
    next
}
call == "close" { emit("close", fd, 0, 0, 0, "-"); delete open_at[fd]; next }

END { print "# inside", inside + 0, "outside", outside + 0, "time zones", zones + 0 outside_names }
