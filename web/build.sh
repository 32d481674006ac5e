#!/usr/bin/env bash
# web/dist: the decoder and the encoder as WebAssembly with and without SIMD, the JavaScript and the weights that browsers need. Needs
# em++ (Debian: emscripten) and a Python with numpy and safetensors (PYTHON).
set -euo pipefail
cd "$(dirname "$0")"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../pyproject.toml)
sources=(alpha api container decoding drawn sha256 tile vp8l webp weights receiver kernels/kernel kernels/plain kernels/wasm)
encoder=(analysis encoding encoding_api gradient kernels/floats)
exports=malloc,free,aecodec_weights_load,aecodec_weights_model_id,aecodec_read_info,aecodec_read_section,aecodec_output_size,aecodec_decode
encoder_exports=malloc,free,aecodec_weights_load,aecodec_encoder_load,aecodec_encode,aecodec_file_free
# Exceptions of WebAssembly itself cost nothing where none is thrown, and need no JavaScript.
flags=(-std=c++17 -O3 -fwasm-exceptions -fno-rtti -Wall -Wextra -DAECODEC_STATIC -DAECODEC_VP8L "-DAECODEC_VERSION=\"$version\"" -I ../native)
link=(-s STANDALONE_WASM --no-entry -s ALLOW_MEMORY_GROWTH -s MAXIMUM_MEMORY=2GB -s TOTAL_STACK=1MB)
# What is older than anything it is made of.
stale() { # file, source...
  local file=$1
  shift
  [ ! -e "$file" ] || [ -n "$(find "$@" build.sh ../native -newer "$file" \( -path "$1" -o -name build.sh -o -name '*.h*' \))" ]
}
link_module() { # name, exports, object...: a module of what is reached from its exports
  local name=$1 exports=$2
  shift 2
  if [ ! -e "dist/$name.wasm" ] || [ -n "$(find "$@" -newer "dist/$name.wasm")" ]; then
    em++ "${flags[@]}" "$@" "${link[@]}" "-sEXPORTED_FUNCTIONS=_${exports//,/,_}" -o "build/$name.wasm"
    mv "build/$name.wasm" dist
  fi
}
build() { # suffix of names, flag...
  local folder=build/aecodec$1 suffix=$1 objects=() source
  shift
  mkdir -p "$folder/kernels"
  for source in "${sources[@]}" "${encoder[@]}"; do
    objects+=("$folder/$source.o")
    if stale "$folder/$source.o" "../native/$source.cpp"; then
      em++ "${flags[@]}" "$@" -c "../native/$source.cpp" -o "$folder/$source.o"
    fi
  done
  link_module "aecodec$suffix" "$exports" "${objects[@]:0:${#sources[@]}}"
  link_module "aecodec-encode$suffix" "$encoder_exports" "${objects[@]}"
}
mkdir -p build dist
exec 9> build/lock
flock 9  # one build at a time: another that began meanwhile finds all of it made
build ""
build -simd -msimd128
cp src/* index.d.ts ../LICENSE dist/
if stale dist/models.js receivers.py; then
  "${PYTHON:-python3}" receivers.py dist m=../aecodec/data/m.safetensors s=../aecodec/data/s.safetensors
fi
