#!/bin/bash
# Here, in the project's root, everything committed:
#   bench/lease/prepare.sh DATA [STATE]   makes .gpu/ (not for git) and goes to a branch `lease` without what the other machine does not need
#   bench/lease/prepare.sh back           returns to main
# DATA holds train-*.tar, val/, val-manmade/ and kodak/. A call may bring 64 MiB with all tracked files, and this tree has 30 MB of weights, results and
# tests: hence the branch. .gpu/a: wheels, state, validation pictures, some crops; .gpu/b, c, d: more crops; .gpu/k: Kodak, for the measurement.
set -euo pipefail
if [ "${1:-}" = back ]; then
    git checkout -q main
    git branch -qD lease
    exit
fi
data=$1 state=${2:-train-state/m.safetensors}
[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo 'commit first' >&2; exit 1; }
exclude=$(git rev-parse --git-path info/exclude)
mkdir -p "$(dirname "$exclude")"
grep -qx '/.gpu/' "$exclude" 2>/dev/null || echo '/.gpu/' >> "$exclude"
rm -rf .gpu
mkdir -p .gpu/a/{whl,val} .gpu/b .gpu/c .gpu/d
cp "$state" .gpu/a/init.safetensors
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d .gpu/a/whl compressai==1.2.8 pytorch-msssim pillow 'nanobind>=2.4' scikit-build-core
for folder in "$data/val" "$data/val-manmade"; do
    cp $(ls "$folder"/*.png | awk 'NR % 8 == 1') .gpu/a/val
done
cp -r "$data/kodak" .gpu/k
python3 - "$data" << 'P'
import glob, random, sys, tarfile

shards = [tarfile.open(path) for path in sorted(glob.glob(sys.argv[1] + "/train-*.tar"))]
crops = [(shard, member) for shard in shards for member in shard.getmembers() if member.name.endswith((".avif", ".png"))]
random.Random(0).shuffle(crops)
for folder, room in (("a", 32e6), ("b", 50e6), ("c", 50e6), ("d", 50e6)):
    with tarfile.open(f".gpu/{folder}/{folder}.tar", "w") as out:
        count = 0
        while crops and room > 0:
            shard, member = crops.pop()
            room -= member.size + 1024
            count += 1
            data = shard.extractfile(member)
            member.name = f"{folder}{count}{member.name[member.name.rindex('.'):]}"
            out.addfile(member, data)
    print(f".gpu/{folder}: {count} crops")
P
git checkout -q -b lease
git rm -rq --ignore-unmatch tests docs bench/results train-state aecodec/data/s.safetensors
git commit -qm 'For the borrowed machine: without weights, results and tests'
echo "tracked: $(($(git ls-files -z | xargs -0 cat | wc -c) / 1000000)) MB"
du -sm .gpu/*
