#!/bin/sh
# Puts KRM, with the server's locked requirements, into one folder: what the image holds beside Python.
#   install.sh TARGET        run in a checkout; PYTHONPATH=TARGET python3 -m krm ... then works
# PIP is the installer (the default: python3 -m pip), COMPILE a package to compile alone. Hashes are checked; nothing is fetched that the locks do not name.
set -eu
target="$1"
pip="${PIP:-python3 -m pip}"
python="${PYTHON:-python3}"
builder="$(mktemp -d)"
trap 'rm -rf "$builder"' EXIT

# shellcheck disable=SC2086 # words
{
  $pip install --require-hashes --target "$target" -r requirements/server.txt
  $pip install --require-hashes --target "$builder" -r requirements/build.txt
  PYTHONPATH="$builder" $pip install --no-deps --no-build-isolation --target "$target" .
}
# The file system of a container is read-only: what is not compiled now would be compiled at each start.
"$python" -m compileall -q -j 0 "$target/${COMPILE:-}"
