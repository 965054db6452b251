#!/usr/bin/env bash
# Runs every benchmark in benchmarks/ with a short setting and keeps what it prints.
#
#     scripts/bench.sh PYTHON [NAME ...]      all, or the named ones (`serving_load` for benchmarks/serving_load.py)
#
# The files themselves say with --help how to measure longer. Exits with 1 if one of them failed.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
results=runs/benchmarks
mkdir -p "$results"

# Files without a line here run with their own defaults.
short_setting() {
    case $1 in
        batch_scoring) echo "--copies 1 --rounds 1" ;;
        client) echo "--calls 100 --rounds 3 --json $results/client.json" ;;
        client_chaos) echo "--seconds 30 --json $results/client_chaos.json" ;;
        index_refresh) echo "--items 20000 --new 100" ;;
        retrieval) echo "--rounds 3 --seconds 0.1 --json $results/retrieval.json" ;;
        client_deadlines) echo "--calls 20 --json $results/client_deadlines.json" ;;
        evaluation) echo "--events 30000 --items 2000 --queries 500 --json $results/evaluation.json" ;;
        codec) echo "--requests 100 --rounds 3 --json $results/codec.json" ;;
        training) echo "tables --rounds 1 --seconds 0.1 --items 100000 input --rounds 1" ;;
        text_modes) echo "steps examples/movielens-100k.toml --rounds 1 --batch 64" ;;
        text_tower) echo "--config examples/movielens-100k.toml --rounds 1 --seconds 0.1 --keep $results/text_tower" ;;
        serving_faults) echo "--swaps 2 --megabytes 5 --fuzz 500 --per-second 1 --silent 50" ;;
        serving_load) echo "--callers 1 --callers 8 --seconds 1 --rounds 2 --json $results/serving_load.json" ;;
    esac
}

failed=()
for file in benchmarks/*.py; do
    name=$(basename "$file" .py)
    if [[ $name == _* ]] || { (($#)) && [[ " $* " != *" $name "* ]]; }; then
        continue
    fi
    read -ra options <<<"$(short_setting "$name")"
    echo "== $file ${options[*]}"
    if ! "$python" "$file" "${options[@]}" 2>&1 | tee "$results/$name.txt"; then
        failed+=("$name")
    fi
done

echo "Results: $results/ (what was printed in NAME.txt, numbers in NAME.json)"
if ((${#failed[@]})); then
    echo "Failed: ${failed[*]}" >&2
    exit 1
fi
