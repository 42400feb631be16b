# shellcheck shell=bash
# Installs what is missing, once, and says so. Sourced, never run; needs say.sh.
#
# Nothing here asks a question, reads standard input, or touches what is already there. Where a
# thing is missing and cannot be installed (no root, another distribution), the message names it.

# The file whose absence says that a package is missing → the Debian package that brings it.
declare -A DEBIAN_PACKAGE=(
    [cc]=gcc [make]=make [curl]=curl [git]=git [python3]=python3 [jq]=jq
    [shellcheck]=shellcheck [pkg-config]=pkg-config [node]=nodejs [npm]=npm
)

# need_commands NAME…: each is on PATH afterwards, or the script ends with the names of those missing.
need_commands() {
    local name missing=() packages=()
    for name in "$@"; do
        command -v "$name" >/dev/null && continue
        missing+=("$name")
        packages+=("${DEBIAN_PACKAGE[$name]:-$name}")
    done
    ((${#missing[@]})) || return 0
    install_debian "${packages[@]}" || die "missing: ${missing[*]} (Debian: apt-get install ${packages[*]})"
}

# install_debian PACKAGE…: fails, quietly, where this is no Debian or we are not root.
install_debian() {
    command -v apt-get >/dev/null && [[ "$(id -u)" == 0 ]] || return 1
    note "installing Debian packages: $*"
    local log
    log="$(mktemp)"
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
        --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# What the workspace is built with: the pinned toolchain, and cc and make for the C libraries inside
# crates (aws-lc, zstd, liburing).
need_build_tools() {
    need_commands cc make
    command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup, then run this again"
    # rust-toolchain.toml pins a release by its number, and rustup fetches it when it can. Where it
    # cannot, and the installed stable is that very release, the pin has nothing more to say.
    local pinned
    pinned="$(sed -n 's/^channel = "\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml")"
    if ! (cd "$ROOT" && cargo --version) >/dev/null 2>&1; then
        if RUSTUP_TOOLCHAIN=stable rustc --version 2>/dev/null | grep -q "^rustc $pinned "; then
            export RUSTUP_TOOLCHAIN=stable
            note "toolchain $pinned: the installed stable is that release"
        else
            die "the toolchain $pinned is missing and cannot be fetched: rustup toolchain install $pinned"
        fi
    fi
}

# private_packages DIRECTORY: the npm packages of its package-lock.json, and none of their scripts. Made
# anew only when the lock file changed.
private_packages() {
    local directory="$1" stamp
    stamp="$(cksum <"$directory/package-lock.json")"
    [[ "$(cat "$directory/node_modules/.stamp" 2>/dev/null)" == "$stamp" ]] && return 0
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        install_debian nodejs npm || return 1
    fi
    note "installing npm packages in ${directory#"$ROOT"/}"
    npm ci --prefix "$directory" --ignore-scripts --no-audit --no-fund --loglevel=error \
        >/dev/null </dev/null || return 1
    printf '%s' "$stamp" >"$directory/node_modules/.stamp"
}

# private_venv DIRECTORY REQUIREMENTS: a Python environment with exactly those packages. Made anew
# only when the requirements changed.
private_venv() {
    local directory="$1" requirements="$2" stamp
    stamp="$(cksum <"$requirements")"
    if [[ -x "$directory/bin/python" && "$(cat "$directory/.stamp" 2>/dev/null)" == "$stamp" ]]; then
        return 0
    fi
    need_commands python3
    note "installing $(grep -c '^[a-z]' "$requirements") Python packages in ${directory#"$ROOT"/}"
    rm -rf "$directory"
    if ! python3 -m venv "$directory" >/dev/null 2>&1; then
        install_debian python3-venv || die "python3 -m venv fails (Debian: apt-get install python3-venv)"
        python3 -m venv "$directory"
    fi
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$requirements" </dev/null || die "pip could not install $requirements"
    printf '%s' "$stamp" >"$directory/.stamp"
}
