// Dropout masks, bit for bit those of droq_exp/learner/dropout.py, which says how they are made.

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace {

static_assert(std::endian::native == std::endian::little, "the lowest bits of a word decide its first element");

constexpr int64_t BLOCK = 4096;  // elements that a thread draws at once; four a word

inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

inline uint64_t word(uint64_t key, uint64_t index) { return mix(key + (index + 1) * 0x9E3779B97F4A7C15u); }

}  // namespace

extern "C" {

void draw_keep(uint8_t* keep, int64_t size, uint64_t key, uint64_t tie_key, uint16_t whole, double rest) {
#pragma omp parallel for schedule(static)
  for (int64_t start = 0; start < size; start += BLOCK) {
    alignas(64) uint64_t words[BLOCK / 4];
    alignas(64) uint16_t drawn[BLOCK];
    const int64_t count = std::min(BLOCK, size - start);
    for (int64_t i = 0; i < BLOCK / 4; i++) words[i] = word(key, uint64_t(start / 4 + i));
    std::memcpy(drawn, words, sizeof drawn);
    int ties = 0;
    for (int64_t j = 0; j < count; j++) {
      keep[start + j] = drawn[j] >= whole;
      ties += drawn[j] == whole;
    }
    for (int64_t j = 0; ties && j < count; j++)
      if (drawn[j] == whole) {
        const double uniform = double(word(tie_key, uint64_t(start + j)) >> 11) * 0x1p-53;
        keep[start + j] = uniform >= rest;
        ties--;
      }
  }
}

int max_threads() { return omp_get_max_threads(); }
}
