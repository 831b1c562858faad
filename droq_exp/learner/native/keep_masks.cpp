// Whole dropout masks, for updates that run by torch.

#include <omp.h>

#include "keep_mask.h"

extern "C" {

void draw_keep(uint8_t* keep, int64_t size, const uint64_t* keys, double rate) {
  const KeepMask mask(keys, rate);
  constexpr int64_t BLOCK = 4096;
#pragma omp parallel for schedule(static)
  for (int64_t start = 0; start < size; start += BLOCK) mask.draw(start, std::min(BLOCK, size - start), keep + start);
}

int max_threads() { return omp_get_max_threads(); }
}
