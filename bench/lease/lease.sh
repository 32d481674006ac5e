#!/bin/bash
# On the borrowed machine, in the project's root. README.md beside this file tells which call brings what.
#   lease.sh start SECONDS [options of train.py]   install, begin training as a process of its own, return once it runs; in SECONDS all must be done
#   lease.sh feed FOLDER                           add the shards of a folder that this call brought
#   lease.sh until SECONDS                         move the end to SECONDS from now
#   lease.sh wait SECONDS                          wait for the end, at most so long; the newest results go to OUT
#   lease.sh measure FOLDER                        bench on the GPU: curve beside JPEG on FOLDER, symbols of CPU and GPU, pictures per second
# WORK (default /tmp/aecodec-lease) keeps everything between calls, OUT gets what is to be taken home.
set -uo pipefail
work=${WORK:-/tmp/aecodec-lease}
kit=${KIT:-.gpu/a}
out=${OUT:-$work/back}
mkdir -p "$out" "$work"
export PYTHONPATH=${SITE-$work/site}

alive() { kill -0 "$(cat "$work/pid" 2>/dev/null)" 2>/dev/null; }
back() {
    cp "$work"/out/{summary.txt,log.csv,validation.csv,state.safetensors} "$work/log" "$work/out/run/decay.pt" "$out" 2>/dev/null
    tail -n "$1" "$work/log"
}
install() { python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$work/site" "$@" 2>&1 | grep -v -i warning; }

case $1 in
start)
    seconds=$2
    shift 2
    mkdir -p "$work"/{data,val,out,site}
    echo $(($(date +%s) + seconds)) > "$work/deadline"
    nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null
    if [ -z "${SITE+set}" ]; then
        install "$kit"/whl/*.whl
        install --no-build-isolation .
    fi
    cp "$kit"/val/* "$work/val"
    cp "$kit"/init.safetensors "$work"
    cp "$kit"/*.tar "$work/data"
    cp bench/lease/train.py "$work"
    cd "$work" || exit 1
    python3 -P -c 'import aecodec.coding.reference, torch; print("torch", torch.__version__, "cuda", torch.cuda.is_available())' || exit 1
    PYTHONUNBUFFERED=1 setsid nohup python3 -P train.py "$work" --init init.safetensors "$@" > "$work/log" 2>&1 < /dev/null &
    for ((i = 0; i < 170; i++)); do
        sleep 1
        grep -q 'step 200' "$work/log" && break
        ((i > 45)) && ! alive && break
    done
    tail -n 30 "$work/log"
    ;;
feed)
    for file in "$2"/*.tar; do
        cp "$file" "$work/data/new.tmp" && mv "$work/data/new.tmp" "$work/data/$(basename "$file")"
    done
    sleep 8
    back 4
    ;;
until)
    echo $(($(date +%s) + $2)) > "$work/deadline"
    back 3
    ;;
wait)
    for ((i = 0; i < $2; i++)); do
        [ -f "$work/DONE" ] && break
        alive || break
        sleep 1
    done
    back 14
    ;;
measure)
    timeout 50 python3 -m bench speed --device cuda --out "$out" 2>&1 | tail -n 20
    timeout 50 python3 -m bench rd --device cuda --codecs jpeg,aecodec --images "$2" --out "$out/kodak-gpu.jsonl" 2>&1 | tail -n 8
    ;;
esac
