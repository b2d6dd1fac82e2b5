#pragma once

#include <cstdint>

namespace locant {

/// C = alpha op(A) op(B) + beta C, row-major, op(A) (M, K), op(B) (K, N); leading dimensions in elements.
/// oneDNN underneath, all threads. C is not read when beta is 0. Equal inputs and thread counts give equal
/// bits.
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
/// Throws Error on negative sizes, or a leading dimension shorter than its row.
void matmul(const MatmulArgs& args);

/// The same in the calling thread alone: inside loops that are parallel already.
void matmul_serial(const MatmulArgs& args);

/// The same `batch` times, operands of one and the next product stride_* elements apart. Products run side by
/// side, one a thread.
void matmul_batched(const MatmulArgs& first, std::int64_t batch, std::int64_t stride_a, std::int64_t stride_b,
                    std::int64_t stride_c);

/// Seconds of one float32 matmul of M = N = K = `size` with packed operands: the machine's practical peak,
/// for ratios. Runs once; callers interleave and take the best. The first call makes the operands and warms
/// up; those of the last size are kept.
double packed_matmul_seconds(std::int64_t size);

}  // namespace locant
