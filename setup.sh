#!/bin/sh
# Sets up a fresh Debian or Ubuntu machine: system packages where it may install them, a virtual environment, Python packages.
# Called by the Makefile; a second call with everything in place does nothing but let pip confirm it.
set -eu
VENV=${VENV:-.venv}

say() { printf 'setup: %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1; fi
}

install_system() {
    command -v apt-get >/dev/null 2>&1 || return 1
    as_root apt-get update -qq >/dev/null 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

has_library() { ldconfig -p 2>/dev/null | grep -q "$1" || /sbin/ldconfig -p 2>/dev/null | grep -q "$1"; }
has_mesa() {
    for driver in /usr/lib/*/dri/*_dri.so /usr/lib/*/libgallium*.so; do
        if [ -e "$driver" ]; then return 0; fi
    done
    return 1
}

# Mesa's EGL renders without a screen and without a GPU.
if ! has_library libEGL.so.1 || ! has_library libGL.so.1 || ! has_mesa; then
    say "installing the OpenGL libraries"
    install_system libegl1 libgl1 libgl1-mesa-dri ||
        say "the OpenGL libraries cannot be installed here: rendering will be skipped, everything else works (Debian: apt-get install libegl1 libgl1 libgl1-mesa-dri)"
fi

# The first interpreter that runs and is new enough; BOOTSTRAP=... names another.
find_python() {
    for candidate in ${BOOTSTRAP:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}
BOOTSTRAP=$(find_python) || {
    say "Python 3.11 or newer is needed; on Debian 12 or Ubuntu 24.04: apt-get install python3 python3-venv"
    exit 1
}

if [ ! -x "$VENV/bin/pip" ]; then
    say "making $VENV with $("$BOOTSTRAP" --version)"
    "$BOOTSTRAP" -m venv "$VENV" 2>/dev/null || {
        rm -rf "$VENV"
        version=$("$BOOTSTRAP" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
        install_system "python$version-venv" || install_system python3-venv || true
        "$BOOTSTRAP" -m venv "$VENV" || { say "a virtual environment cannot be made; on Debian: apt-get install python3-venv"; exit 1; }
    }
fi

say "installing Python packages"
# The pinned torch first: left to the resolver, a dependency could pull another build of it.
torch=$(grep '^torch==' constraints.txt)
"$VENV/bin/pip" install -q --disable-pip-version-check "$torch"
"$VENV/bin/pip" install -q --disable-pip-version-check -c constraints.txt -e '.[engine,menagerie,metaworld,formats,view,dev]'
"$VENV/bin/pip" install -q --disable-pip-version-check -c constraints.txt -e '.[ros]' ||
    say "ROS 2 has no packages for this machine on PyPI: what needs ROS is skipped, everything else works"
say "ready"
