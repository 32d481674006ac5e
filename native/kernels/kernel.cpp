// SPDX-License-Identifier: Apache-2.0

#include "kernel.hpp"

#if defined(AECODEC_X86) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace aecodec {

namespace {

#if defined(AECODEC_X86)
#if defined(_MSC_VER)
struct Features {
  bool avx2 = false, avx512 = false;

  Features() {
    int leaf[4];
    __cpuid(leaf, 0);
    if (leaf[0] < 7) return;
    __cpuid(leaf, 1);
    if ((leaf[2] >> 27 & 1) == 0) return;  // OSXSAVE
    const bool fma = (leaf[2] >> 12 & 1) != 0;
    const unsigned long long saved = _xgetbv(0);
    __cpuidex(leaf, 7, 0);
    avx2 = fma && (saved & 0x6) == 0x6 && (leaf[1] >> 5 & 1) != 0;
    const bool foundation = (leaf[1] >> 16 & 1) != 0, words = (leaf[1] >> 30 & 1) != 0;
    avx512 = avx2 && (saved & 0xe6) == 0xe6 && foundation && words && (leaf[1] >> 31 & 1) != 0 && (leaf[2] >> 11 & 1) != 0;
  }
};

bool has_avx2() { return Features().avx2; }
bool has_avx512() { return Features().avx512; }
#else
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif
#endif

}  // namespace

const Kernel* kernel(std::size_t i) {
#if defined(AECODEC_X86)
  if (has_avx512() && i-- == 0) return &kAvx512;
  if (has_avx2() && i-- == 0) return &kAvx2;
#elif defined(__ARM_NEON)
  if (i-- == 0) return &kNeon;
#elif defined(__wasm_simd128__)
  if (i-- == 0) return &kWasm;
#endif
  return i == 0 ? &kPlain : nullptr;
}

}  // namespace aecodec
