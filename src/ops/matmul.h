#pragma once

#include <cstdint>

namespace locant {

/// C = alpha op(A) op(B) + beta C, row-major, op(A) (M, K), op(B) (K, N); leading dimensions in elements.
/// oneDNN underneath, all threads.
struct MatmulArgs {
  bool transpose_a = false;
  bool transpose_b = false;
  std::int64_t M = 0, N = 0, K = 0;
  float alpha = 1.0f;
  const float* a = nullptr;
  std::int64_t lda = 0;
  const float* b = nullptr;
  std::int64_t ldb = 0;
  float beta = 0.0f;
  float* c = nullptr;
  std::int64_t ldc = 0;
};
void matmul(const MatmulArgs& args);

/// Best seconds of one float32 matmul of M = N = K = `size` with packed operands: the machine's practical peak, for
/// ratios. Runs once; callers interleave.
double packed_matmul_seconds(std::int64_t size);

}  // namespace locant
