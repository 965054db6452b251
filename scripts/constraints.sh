#!/usr/bin/env bash
# Resolves everything the project is tested with, once for each TensorFlow line, into constraints/.
#
#     scripts/constraints.sh UV 2.20 2.21
#
# UV is the uv program. The files hold no address of a package index, so that they serve with any.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$1
shift

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for line in "$@"; do
    for package in tensorflow tensorflow-text tf-keras tensorflow-serving-api; do
        echo "$package==$line.*"
    done >"$scratch/pins"
    "$uv" pip compile --quiet --universal --python-version 3.10 --extra dev pyproject.toml -c "$scratch/pins" \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o "$scratch/resolved"
    # [tool.uv] in pyproject.toml resolves for one platform only; what is left to tell apart is the Python version.
    sed -E \
        -e "s/ and implementation_name != 'PyPy'//" \
        -e "s/ and (platform_machine|platform_python_implementation|sys_platform) == '[^']*'//g" \
        -e "s/ and python_full_version < '3\.13'//" \
        -e "s/ ; python_full_version < '3\.13'$//" \
        "$scratch/resolved" >"$scratch/constraints"
    if grep -nE "; .*(platform|implementation)" "$scratch/constraints"; then
        echo "constraints.sh: the lines above still have a platform marker; mend the sed expressions." >&2
        exit 1
    fi
    mv "$scratch/constraints" "constraints/tensorflow-$line.txt"
    echo "constraints/tensorflow-$line.txt: $(wc -l <"constraints/tensorflow-$line.txt") pins"
done
