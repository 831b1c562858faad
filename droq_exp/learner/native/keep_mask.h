// Dropout masks, bit for bit those of droq_exp/learner/dropout.py, which says how they are made.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace {

static_assert(std::endian::native == std::endian::little, "the lowest bits of a word decide its first element");

inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

constexpr uint64_t STEP = 0x9E3779B97F4A7C15u;  // between two words, before they are mixed

inline uint64_t word(uint64_t key, uint64_t index) { return mix(key + (index + 1) * STEP); }

typedef uint16_t __attribute__((may_alias)) Sixteen;  // bits of a word

// Draws any elements of the mask that two keys stand for.
struct DropoutMask {
  uint64_t key, tie_key;
  uint16_t whole;  // of rate * 2^16
  double rest;

  DropoutMask(const uint64_t* keys, double rate)
      : key(keys[0]), tie_key(keys[1]), whole(uint16_t(rate * 65536)), rest(rate * 65536 - whole) {}

  // Elements `start` to `start + count` to `keep`.
  void draw(int64_t start, int64_t count, uint8_t* keep) const {
    constexpr int64_t BLOCK = 4096;  // at once, in the first-level cache; four a word
    const int64_t ahead = start % 4;
    for (int64_t done = 0; done < count; done += BLOCK) {
      alignas(64) uint64_t words[BLOCK / 4 + 1];
      const int64_t size = std::min(BLOCK, count - done), used = (ahead + size + 3) / 4;
      uint64_t x = key + uint64_t((start + done) / 4 + 1) * STEP;  // as word() has it; adding is a third faster
      for (int64_t i = 0; i < used; i++, x += STEP) words[i] = mix(x);
      finish(reinterpret_cast<const Sixteen*>(words) + ahead, start + done, size, keep + done);
    }
  }

 private:
  void finish(const Sixteen* drawn, int64_t start, int64_t count, uint8_t* keep) const {
    const uint16_t limit = whole;  // bytes may be anything, a member too, so the loop would read it again for each
    uint16_t ties = 0;             // no wider than an element, so that as many fit a vector
    for (int64_t j = 0; j < count; j++) {
      keep[j] = drawn[j] >= limit;
      ties += drawn[j] == limit;
    }
    for (int64_t j = 0; ties && j < count; j++)
      if (drawn[j] == limit) {
        const double uniform = double(word(tie_key, uint64_t(start + j)) >> 11) * 0x1p-53;
        keep[j] = uniform >= rest;
        ties--;
      }
  }
};

}  // namespace
