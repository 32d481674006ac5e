#!/bin/bash
# A training run on a machine without network that has torch and this folder: set-up, self-check, training, evaluation,
# packing. Called again it goes on with the run, so that a long one can be had in pieces:
#
#   bench/gpu_train.sh  9 OUT VALIDATION DATA... -- --decay 0     minutes are those of the whole run so far
#   bench/gpu_train.sh 18 OUT VALIDATION DATA... -- --decay 0
#   bench/gpu_train.sh 27 OUT VALIDATION DATA... -- --decay 0.4   the last piece brings the learning rate to zero
#
# Wheels of packages that the machine lacks lie in .whl/. RUN (default /tmp/aecodec-run) keeps the checkpoints; CHECK holds
# options of `python -m bench training`. OUT gets weights, state, logs and plots; what exceeds 16 MB is split (join: cat
# NAME.part-* > NAME).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -lt 4 ]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
minutes=$1 out=$2 validation=$3
shift 3
data=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do data+=("$1"); shift; done
[ $# -gt 0 ] && shift
run=${RUN:-/tmp/aecodec-run}
mkdir -p "$out" "$run"

site=${SITE:-/tmp/aecodec-site}
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
if ! python3 -P -c 'import aecodec._native' 2>/dev/null; then
    install=(python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$site")
    "${install[@]}" .whl/*.whl
    "${install[@]}" --no-build-isolation .
fi

echo "== self-check"
if [ ! -e "$run/checked" ]; then
    # shellcheck disable=SC2086 # several options in one variable
    python3 -m bench training --steps 20 ${CHECK:-} 2>&1 | tee "$out/speed.txt"
    if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        python3 -P -m pytest -q -m gpu tests/test_codec.py tests/test_tensor.py
    fi
    touch "$run/checked"
fi

echo "== training"
resume=()
if compgen -G "$run/*.pt" >/dev/null; then resume=(--resume); fi
python3 -P -m aecodec.cli train "${data[@]}" --out "$run" --validation "$validation" --minutes "$minutes" "${resume[@]}" "$@"

echo "== export and evaluation"
python3 -P -m aecodec.cli export "$run" "$out/weights.safetensors" --state "$out/state.safetensors" "${data[@]/#/--data=}"
cp "$run"/*.csv "$run"/*.png "$out"
tail -n 8 "$run/validation.csv"
for file in "$out"/*; do
    if [ "$(stat -c %s "$file")" -gt 16000000 ]; then
        split -b 15000000 "$file" "$file.part-"
        rm "$file"
    fi
done
ls -l "$out"
