# Condenses the log of a failed step to at most 30 lines: the names of failed tests, errors of the compiler, the linker and
# cargo, panic messages without backtraces. If there are none, as after a kill, the end of the log.

BEGIN { NAMES = 0; ERRORS = 1; PANICS = 2; MOST = 30; TAIL = 15 }

{
    sub(/\r$/, "")
    gsub(/\033\[[0-9;]*m/, "")
    line = substr($0, 1, 300)
    last[NR % TAIL] = line
}

# libtest lists the failed tests of a program after "failures:", each on an indented line of its own.
/^failures:$/ { listing = 1; next }
listing && /^    [^ ]+$/ { note(NAMES, line); next }
listing && /[^ ]/ { listing = 0 }

# Test programs name a failed case in a line of its own.
/^(FAIL|FAILED|not ok)[: ]/ && !/^FAILED: .* \(exit status/ { note(NAMES, line) }

# The line after an error message has its place. The cause that cargo prints has the signal that ended a test program.
/^(error|checked: )/ || /process didn't exit successfully/ || (after_error && /^ *-->/) { note(ERRORS, line) }
{ after_error = /^error/ }

# A panic message ends at a note, a backtrace or an empty line.
/^thread .* panicked at / { finish(); panic = line; lines = 0; next }
panic && (/^(note: |stack backtrace:|$)/ || lines == 5) { finish() }
panic { panic = panic "\n  " line; lines++ }

END {
    finish()
    for (kind = NAMES; kind <= PANICS; kind++)
        for (at = 1; at <= count[kind]; at++) show(noted[kind, at])
    if (!count[NAMES] && !count[PANICS])
        for (at = NR > TAIL ? NR - TAIL + 1 : 1; at <= NR; at++) show(last[at % TAIL])
}

function finish() {
    if (panic) note(PANICS, panic)
    panic = ""
}

# Keeps a text once, and at most ten of a kind, so that there is room for the others.
function note(kind, text) {
    if (!((kind, text) in seen) && count[kind] < 10) noted[kind, ++count[kind]] = text
    seen[kind, text]
}

function show(text,    parts, n, i) {
    n = split(text, parts, "\n")
    for (i = 1; i <= n && shown < MOST; i++) { print "  " parts[i]; shown++ }
}
