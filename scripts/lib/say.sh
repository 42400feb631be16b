# shellcheck shell=bash
# How the scripts speak: one place for headings, notes and failures, so that all of them read alike
# on a terminal and stay free of escape codes in a log. Sourced, never run.

if [[ -t 1 && -z "${NO_COLOR:-}" && "${TERM:-dumb}" != dumb ]]; then
    SAY_BOLD=$'\e[1m' SAY_DIM=$'\e[2m' SAY_RED=$'\e[31m' SAY_GREEN=$'\e[32m' SAY_OFF=$'\e[0m'
else
    SAY_BOLD='' SAY_DIM='' SAY_RED='' SAY_GREEN='' SAY_OFF=''
fi

# A step of the script. The time since its start is in front: where the minutes go is no secret.
heading() { printf '\n%s== %s%s%s\n' "$SAY_BOLD" "$*" "$SAY_OFF" "$SAY_DIM ($((SECONDS / 60))m$((SECONDS % 60))s)$SAY_OFF"; }

# Something worth knowing that changes nothing.
note() { printf '%s   %s%s\n' "$SAY_DIM" "$*" "$SAY_OFF"; }

# Something that was not done, and why: never silently.
skip() { printf '   SKIPPED: %s\n' "$*"; }

good() { printf '   %s%s%s\n' "$SAY_GREEN" "$*" "$SAY_OFF"; }

# The script cannot go on. Says what, and ends it with exit code 1.
die() {
    printf '%serror:%s %s\n' "$SAY_RED" "$SAY_OFF" "$*" >&2
    exit 1
}

# Wrong command line: exit code 2.
usage_error() {
    printf '%serror:%s %s\n' "$SAY_RED" "$SAY_OFF" "$*" >&2
    exit 2
}
