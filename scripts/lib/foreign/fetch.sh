# shellcheck shell=bash
# Fetches the packages whose tests and generators `gather.py` reads, each at a fixed version, from
# the registries that pip, cargo and npm are set up for. Sourced, never run; needs say.sh and
# install.sh. Nothing of these packages is kept in the repository.

# Source distributions for Python: name, version, as pip knows them.
FOREIGN_PYTHON=(
    coinaddrvalidator==1.2.3 datafog==4.9.0 django-localflavor==5.1 email-validator==2.4.0
    faker==40.54.0 garak==0.17.1 giskard==2.19.2 langkit==0.0.35 phonenumbers==9.0.43
    presidio-evaluator==0.3.2 python-stdnum==2.2 schwifty==2026.10.1 spikee==0.9.2
)
FOREIGN_CRATES=(
    keyhog-scanner@0.5.86 kingfisher-rules@3.0.1 leaktor@0.4.1 ripsecrets@0.1.11
)
FOREIGN_NODE=(wallet-address-validator@0.2.4)

# fetch_foreign DIRECTORY: every package that can be had, unpacked in DIRECTORY/NAME-VERSION.
fetch_foreign() {
    local directory="$1" package
    need_commands python3 npm
    mkdir -p "$directory/packed"
    [[ -x "$directory/venv/bin/python" ]] || python3 -m venv "$directory/venv" ||
        { install_debian python3-venv && python3 -m venv "$directory/venv"; }
    for package in "${FOREIGN_PYTHON[@]}"; do
        fetch_one "$directory" "${package/==/-}" "$directory/venv/bin/python" -m pip download \
            --quiet --disable-pip-version-check --no-deps --no-binary "${package%%==*}" \
            --dest "$directory/packed" "$package"
    done
    for package in "${FOREIGN_CRATES[@]}"; do
        fetch_one "$directory" "${package/@/-}" fetch_crate "$directory/packed" "$package"
    done
    for package in "${FOREIGN_NODE[@]}"; do
        fetch_one "$directory" "${package/@/-}" npm pack --silent \
            --pack-destination "$directory/packed" "$package"
    done
}

# fetch_one DIRECTORY NAME-VERSION COMMAND…: once; says when it cannot be had.
fetch_one() {
    local directory="$1" name="$2" packed
    shift 2
    # An archive may spell a name with `_` for `-`.
    local pattern="${name%-*}"
    pattern="${pattern//-/[-_]}-${name##*-}"
    compgen -G "$directory/$pattern" >/dev/null && return 0
    if ! "$@" </dev/null >"$directory/packed/log" 2>&1; then
        note "cannot be had: $name ($(tail -n 1 "$directory/packed/log"))"
        return 0
    fi
    packed="$(compgen -G "$directory/packed/$pattern.*" | head -n 1)"
    mkdir -p "$directory/$name"
    tar --extract --strip-components 1 --file "$packed" --directory "$directory/$name"
}

# fetch_crate DIRECTORY NAME@VERSION: cargo keeps what it looks at among its packed sources.
fetch_crate() {
    cargo info --quiet "$2" >/dev/null || return 1
    cp "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*/"${2/@/-}.crate" "$1/${2/@/-}.crate"
}
