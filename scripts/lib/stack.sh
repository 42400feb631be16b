# shellcheck shell=bash disable=SC2034 # what it sets, its callers read
# A whole Penstock on loopback: the double (or a given upstream), a development identity provider,
# the recorder and the gateway, in one private folder. Sourced, never run; needs say.sh and
# install.sh, and ROOT.
#
#   stack_build release|dev     builds the binaries; sets BIN
#   stack_start RUN_DIR         starts everything; sets the PENSTOCK_* variables that DESIGN names
#   stack_mint SUBJECT GROUPS   prints a token of the development provider
#   stack_write_env FILE        those variables, in shell syntax
#   stack_stop                  ends what stack_start started, by process id
#
# What stack_start reads: STACK_UPSTREAM (URL; empty: the double), STACK_CONFIG (a gateway.toml with
# @RUN@, @ISSUER@, @UPSTREAM@ in it; addresses written out are served at just those), and
# STACK_POLICIES (folder, copied; default policies/examples).

STACK_READY_S=30        # how long a process may take until it listens
STACK_STOP_S=10         # how long it may take to end
SOCKET_PATH_BYTES=100   # Unix socket paths end at 107 bytes; this leaves room for the name

STACK_UPSTREAM="${STACK_UPSTREAM:-}"
STACK_CONFIG="${STACK_CONFIG:-}"
STACK_POLICIES="${STACK_POLICIES:-}"
STACK_DOUBLE_FLAGS=()
STACK_DOUBLE_ADMIN=''     # where the double tells what it was sent, apart from its own API
STACK_PIDS=()
STACK_NAMES=()

stack_build() {
    local profile="$1"
    need_build_tools
    need_commands curl python3
    local flags=(--locked -p penstock-gateway -p penstock-recorder -p penstock-loadgen --bins)
    case "$profile" in
        release) flags+=(--release) BIN="$ROOT/target/release" ;;
        # The whole workspace, so that features are those of the test build and nothing is built twice.
        dev) flags=(--locked --workspace --bins) BIN="$ROOT/target/debug" ;;
        *) usage_error "--build-profile is release or dev, not $profile" ;;
    esac
    (cd "$ROOT" && cargo build "${flags[@]}")
}

# Starts one process with its log in the run folder and remembers it.
#   stack_spawn NAME COMMAND…
stack_spawn() {
    local name="$1"
    shift
    # nohup, so that a stack that is kept outlives the terminal it was started from.
    nohup "$@" >"$RUN/$name.log" 2>&1 </dev/null &
    STACK_PIDS+=("$!")
    STACK_NAMES+=("$name")
    printf '%s %s\n' "$!" "$name" >>"$RUN/pids"
}

# Waits until the newest process made PATH (a ready file or a socket).
stack_await() {
    local path="$1" name="${STACK_NAMES[-1]}" pid="${STACK_PIDS[-1]}" tries=$((STACK_READY_S * 20))
    while ((tries-- > 0)); do
        [[ -S "$path" || -s "$path" ]] && return 0
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -n 20 "$RUN/$name.log" >&2
            die "$name ended at once; its log is $RUN/$name.log"
        fi
        sleep 0.05
    done
    tail -n 20 "$RUN/$name.log" >&2
    die "$name did not become ready in $STACK_READY_S s; its log is $RUN/$name.log"
}

# HOST:PORT of a URL, or unix:/path as it is. A path behind the port means nothing to the gateway:
# callers' own paths go through.
stack_address() {
    local url="$1"
    case "$url" in
        unix:*) printf '%s' "$url"; return ;;
        https://*) die "--upstream $url: the gateway stands on the model's own node and speaks plain HTTP to it" ;;
    esac
    url="${url#http://}"
    url="${url%%/*}"
    [[ "$url" == *:* ]] || url="$url:80"
    printf '%s' "$url"
}

stack_listens() {
    local address="$1"
    (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null
}

stack_json() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }

stack_toml() { python3 "$ROOT/scripts/lib/toml_value.py" "$@"; }

# The private folder. A stack that an earlier --keep left there is ended first.
stack_folder() {
    RUN="$1"
    if [[ -s "$RUN/pids" ]]; then stack_stop_kept "$RUN"; fi
    mkdir -p "$RUN"
    chmod 700 "$RUN"
    RUN="$(cd "$RUN" && pwd)"
    rm -f "$RUN"/*.ready "$RUN"/*.sock "$RUN"/pids
    rm -rf "$RUN/log" "$RUN/policies"
    mkdir -m 700 "$RUN/log"
    # A deep clone would make socket paths too long for the kernel.
    SOCKETS="$RUN"
    if ((${#RUN} > SOCKET_PATH_BYTES - 20)); then
        SOCKETS="$(mktemp -d "${TMPDIR:-/tmp}/penstock.XXXXXX")"
        ln -sfn "$SOCKETS" "$RUN/sockets"
    fi
}

stack_double() {
    local listen="${1:-127.0.0.1:0}"
    stack_spawn double "$BIN/penstock-loadgen" upstream --listen "$listen" --admin 127.0.0.1:0 \
        --models llama-3-8b --ready-file "$RUN/double.ready" "${STACK_DOUBLE_FLAGS[@]}"
    stack_await "$RUN/double.ready"
    PENSTOCK_UPSTREAM="$(stack_json "$RUN/double.ready" url)"
    STACK_DOUBLE_ADMIN="$(stack_json "$RUN/double.ready" admin)"
}

stack_issuer() {
    local listen="${1:-127.0.0.1:0}"
    stack_spawn issuer "$BIN/penstock-loadgen" token serve --listen "$listen" \
        --keys "$RUN/issuer-keys" --ready-file "$RUN/issuer.ready"
    stack_await "$RUN/issuer.ready"
    PENSTOCK_ISSUER="$(head -n 1 "$RUN/issuer.ready")"
}

# The upstream and the provider: new ones at free ports where the configuration has a placeholder,
# else at the loopback addresses it names, unless something already listens there.
stack_backends() {
    local template="$1" address
    if [[ -n "$STACK_UPSTREAM" ]]; then
        PENSTOCK_UPSTREAM="$STACK_UPSTREAM"
    elif grep -q @UPSTREAM@ "$template"; then
        stack_double
    else
        address="$(stack_toml "$template" upstream.address)"
        PENSTOCK_UPSTREAM="$address"
        if [[ "$address" == 127.* ]]; then
            stack_listens "$address" || stack_double "$address"
            PENSTOCK_UPSTREAM="http://$address"
        fi
    fi
    if grep -q @ISSUER@ "$template"; then
        stack_issuer
    else
        PENSTOCK_ISSUER="$(stack_toml "$template" issuer.0.url)"
        address="$(stack_address "$PENSTOCK_ISSUER")"
        if [[ "$address" == 127.* ]] && ! stack_listens "$address"; then stack_issuer "$address"; fi
    fi
}

stack_render() {
    local template="$1" text
    text="$(cat "$template")"
    text="${text//@RUN@/"$RUN"}"
    text="${text//@SOCKETS@/"$SOCKETS"}"
    text="${text//@UID@/"$(id -u)"}"
    text="${text//@ISSUER@/"${PENSTOCK_ISSUER:-}"}"
    text="${text//@UPSTREAM@/"$(stack_address "${PENSTOCK_UPSTREAM:-}")"}"
    printf '%s\n' "$text"
}

stack_recorder() {
    local socket="$1"
    cat >"$RUN/recorder.toml" <<TOML
# Written by scripts/quickstart. The recorder writes what the gateway hands over, and nobody else
# can: it takes connections from these user ids only.
socket = "$socket"
directory = "$PENSTOCK_LOG"
allowed_uids = [$(id -u)]
TOML
    rm -f "$socket"
    stack_spawn recorder "$BIN/penstock-recorder" run --config "$RUN/recorder.toml" \
        --ready-file "$RUN/recorder.ready"
    stack_await "$RUN/recorder.ready"
}

stack_gateway() {
    PENSTOCK_CONFIG="$RUN/gateway.toml"
    local listen ready
    listen="$(stack_toml "$PENSTOCK_CONFIG" listen.tcp)"
    ready="$(stack_toml "$PENSTOCK_CONFIG" listen.ready_file)"
    [[ -n "$listen" ]] || die "--config: [listen] needs tcp, which the scripts speak to"
    if [[ -z "$ready" ]]; then
        ready="$RUN/gateway.ready"
        sed -i "s|^\[listen\].*|&\nready_file = \"$ready\"|" "$PENSTOCK_CONFIG"
    fi
    rm -f "$ready"
    stack_spawn gateway "$BIN/penstock-gateway" run --config "$PENSTOCK_CONFIG"
    stack_await "$ready"
    PENSTOCK_URL="http://$(head -n 1 "$ready" | sed 's|^http://||')"
}

stack_start() {
    stack_folder "$1"
    local template="${STACK_CONFIG:-$ROOT/scripts/lib/gateway.toml}"
    local policies="${STACK_POLICIES:-$ROOT/policies/examples}"
    cp -r "$policies" "$RUN/policies"
    PENSTOCK_LOG="$RUN/log"
    stack_backends "$template"
    stack_render "$template" >"$RUN/gateway.toml"
    PENSTOCK_CONTROL="$(stack_toml "$RUN/gateway.toml" control.socket)"
    PENSTOCK_POLICIES="$(stack_toml "$RUN/gateway.toml" policy.dir)"
    local socket
    socket="$(stack_toml "$RUN/gateway.toml" recorder.socket)"
    [[ -z "$socket" ]] || stack_recorder "$socket"
    stack_gateway
    PENSTOCK_TOKEN="$(stack_mint ada ml-engineers)"
    PENSTOCK_TOKEN_OTHER="$(stack_mint mallory marketing)"
    PENSTOCK_TOKEN_APPROVER="$(stack_mint grace security)"
    PENSTOCK_CONSOLE="$("$BIN/penstock-gateway" status --json --control "$PENSTOCK_CONTROL" |
        python3 -c 'import json,sys; print(json.load(sys.stdin)["control"]["url"] or "")' 2>/dev/null)" || true
    PENSTOCK_PIDS="${STACK_PIDS[*]}"
}

stack_mint() { "$BIN/penstock-loadgen" token mint --issuer "$PENSTOCK_ISSUER" --sub "$1" --groups "$2" --ttl "${3:-12h}"; }

stack_write_env() {
    local file="$1" name
    (
        umask 077 # it holds tokens
        for name in URL CONTROL CONSOLE UPSTREAM ISSUER TOKEN TOKEN_OTHER TOKEN_APPROVER CONFIG POLICIES LOG PIDS; do
            name="PENSTOCK_$name"
            printf 'export %s=%q\n' "$name" "${!name:-}"
        done >"$file"
    )
}

# A process that ended, and that nobody has asked for its exit code yet, is not alive.
stack_alive() { kill -0 "$1" 2>/dev/null && ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }

# Ends processes by id, the gateway first so that its last records reach the recorder.
stack_stop() {
    local index pid tries
    for ((index = ${#STACK_PIDS[@]} - 1; index >= 0; index--)); do
        pid="${STACK_PIDS[index]}"
        kill -TERM "$pid" 2>/dev/null || continue
        tries=$((STACK_STOP_S * 20))
        while stack_alive "$pid" && ((tries-- > 0)); do sleep 0.05; done
        if stack_alive "$pid" && kill -KILL "$pid" 2>/dev/null; then note "${STACK_NAMES[index]} had to be killed"; fi
        wait "$pid" 2>/dev/null || true
    done
    STACK_PIDS=() STACK_NAMES=()
    if [[ -n "${RUN:-}" ]]; then rm -f "$RUN/pids"; fi
    if [[ -n "${SOCKETS:-}" && "$SOCKETS" != "${RUN:-}" ]]; then rm -rf "$SOCKETS"; fi
}

# Ends a stack that an earlier run kept: only processes that are still our own binaries.
stack_stop_kept() {
    local run="$1" pid name
    while read -r pid name; do
        case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in
            */penstock-*)
                note "ending the $name that an earlier run left (process $pid)"
                STACK_PIDS+=("$pid") STACK_NAMES+=("$name")
                ;;
        esac
    done <"$run/pids"
    (RUN="$run" stack_stop)
    STACK_PIDS=() STACK_NAMES=()
    rm -f "$run/pids"
}
