#include "ops/matmul.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "core/untraced.h"
#include "ops/dnnl_engine_inl.h"

namespace locant {
namespace {

void check(const MatmulArgs& args) {
  if (args.M < 0 || args.N < 0 || args.K < 0)
    fail("matmul", "sizes M {}, N {}, K {} may not be negative", args.M, args.N, args.K);
  const std::int64_t row_a = args.transpose_a ? args.M : args.K, row_b = args.transpose_b ? args.K : args.N;
  if (args.lda < row_a || args.ldb < row_b || args.ldc < args.N)
    fail("matmul", "leading dimensions {}, {}, {} are shorter than the rows of {}, {}, {}", args.lda,
         args.ldb, args.ldc, row_a, row_b, args.N);
}

// What is left of the product when K is 0.
void scale_rows(const MatmulArgs& args) {
  for (std::int64_t i = 0; i < args.M; ++i)
    for (std::int64_t j = 0; j < args.N; ++j) {
      float& c = args.c[i * args.ldc + j];
      c = args.beta == 0.0f ? 0.0f : args.beta * c;
    }
}

#ifdef LOCANT_ONEDNN

// `threads`: 0 for all.
void multiply(const MatmulArgs& args, int threads) {
  const dnnl_ops::OmpThreads scope(threads);
  const dnnl_status_t status =
      dnnl_sgemm(args.transpose_a ? 'T' : 'N', args.transpose_b ? 'T' : 'N', args.M, args.N, args.K,
                 args.alpha, args.a, std::max<std::int64_t>(args.lda, 1), args.b,
                 std::max<std::int64_t>(args.ldb, 1), args.beta, args.c, std::max<std::int64_t>(args.ldc, 1));
  if (status != dnnl_success)
    fail("matmul", "oneDNN refused M {}, N {}, K {} with status {}", args.M, args.N, args.K,
         static_cast<int>(status));
}

#else

// Rows [begin, end) of C: alpha op(A) op(B) + beta C, by kStrip columns, which `strip` (K, kStrip) holds
// together.
constexpr std::int64_t kStrip = 32;
LOCANT_UNTRACED void multiply_rows(const MatmulArgs& args, std::int64_t begin, std::int64_t end,
                                   float* strip) {
  const std::int64_t row_a = args.transpose_a ? 1 : args.lda, column_a = args.transpose_a ? args.lda : 1;
  const std::int64_t row_b = args.transpose_b ? 1 : args.ldb, column_b = args.transpose_b ? args.ldb : 1;
  for (std::int64_t first = 0; first < args.N; first += kStrip) {
    const std::int64_t columns = std::min(kStrip, args.N - first);
    for (std::int64_t k = 0; k < args.K; ++k)
      for (std::int64_t j = 0; j < kStrip; ++j)
        strip[k * kStrip + j] = j < columns ? args.b[k * row_b + (first + j) * column_b] : 0.0f;
    for (std::int64_t i = begin; i < end; ++i) {
      float sums[kStrip] = {};
      for (std::int64_t k = 0; k < args.K; ++k) {
        const float a = args.a[i * row_a + k * column_a];
        for (std::int64_t j = 0; j < kStrip; ++j) sums[j] += a * strip[k * kStrip + j];
      }
      float* c = args.c + i * args.ldc + first;
      for (std::int64_t j = 0; j < columns; ++j)
        c[j] = args.alpha * sums[j] + (args.beta == 0.0f ? 0.0f : args.beta * c[j]);
    }
  }
}

void multiply(const MatmulArgs& args, int threads) {
  const auto rows = [&](std::int64_t begin, std::int64_t end) {
    if (args.transpose_a)
      trace_reads(args.a + begin, args.K, end - begin, args.lda);
    else
      trace_reads(args.a + begin * args.lda, end - begin, args.K, args.lda);
    trace_reads(args.b, args.transpose_b ? args.N : args.K, args.transpose_b ? args.K : args.N, args.ldb);
    trace_writes(args.c + begin * args.ldc, end - begin, args.N, args.ldc);
    std::vector<float> strip(static_cast<std::size_t>(args.K * kStrip));
    multiply_rows(args, begin, end, strip.data());
  };
  if (threads == 1) return rows(0, args.M);
  parallel_for(args.M, std::max<std::int64_t>(1, 65536 / std::max<std::int64_t>(args.N * args.K, 1)), rows);
}

#endif

void checked_product(const MatmulArgs& args, int threads) {
  check(args);
  if (args.M == 0 || args.N == 0) return;
  args.K == 0 ? scale_rows(args) : multiply(args, threads);
}

}  // namespace

void matmul(const MatmulArgs& args) { checked_product(args, 0); }

void matmul_serial(const MatmulArgs& args) { checked_product(args, 1); }

void matmul_batched(const MatmulArgs& first, std::int64_t batch, std::int64_t stride_a, std::int64_t stride_b,
                    std::int64_t stride_c) {
  check(first);
  if (first.M == 0 || first.N == 0) return;
  const auto product = [&](std::int64_t p, int threads) {
    MatmulArgs args = first;
    args.a += p * stride_a;
    args.b += p * stride_b;
    args.c += p * stride_c;
    args.K == 0 ? scale_rows(args) : multiply(args, threads);
  };
  if (batch < num_threads()) {
    for (std::int64_t p = 0; p < batch; ++p) product(p, 0);
    return;
  }
  parallel_for(batch, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) product(p, 1);
  });
}

double packed_matmul_seconds(std::int64_t size) {
  require(size > 0 && size <= 32768, "matmul", "no operands of {} x {}; ask for 1 to 32768", size, size);
  const auto seconds_of = [](const auto& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  struct Operands {
    Tensor a, b, c;
    std::int64_t size = 0;
    int threads = 0;
  };
  static std::mutex mutex;
  static Operands kept;
  const std::lock_guard lock(mutex);
  const bool fresh = kept.size != size || kept.threads != num_threads();
#ifdef LOCANT_ONEDNN
  // Layouts are oneDNN's choice: what it packs to is the fastest it can do.
  const auto plan = dnnl_ops::plan("matmul", {1, size}, [&] {
    const dnnl::memory::desc any({size, size}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::any);
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(any, any, any), dnnl_ops::attributes(),
                                          dnnl_ops::engine());
    return dnnl_ops::Plan{dnnl::matmul(pd),
                          pd.scratchpad_desc(),
                          pd.impl_info_str(),
                          {{DNNL_ARG_SRC, pd.src_desc()},
                           {DNNL_ARG_WEIGHTS, pd.weights_desc()},
                           {DNNL_ARG_DST, pd.dst_desc()}}};
  });
  const auto floats = [&](std::size_t i) {
    return static_cast<std::int64_t>(plan->arguments[i].layout.get_size() / 4);
  };
  if (fresh)
    kept = {Tensor::full({floats(0)}, 0.5f), Tensor::full({floats(1)}, 0.5f), Tensor({floats(2)}), size,
            num_threads()};
  const float* buffers[] = {kept.a.data(), kept.b.data(), kept.c.data()};
  const auto work = [&] { plan->run(buffers); };
#else
  if (fresh)
    kept = {Tensor::full({size, size}, 0.5f), Tensor::full({size, size}, 0.5f), Tensor({size, size}), size,
            num_threads()};
  const MatmulArgs args{.M = size,
                        .N = size,
                        .K = size,
                        .a = kept.a.data(),
                        .lda = size,
                        .b = kept.b.data(),
                        .ldb = size,
                        .c = kept.c.data(),
                        .ldc = size};
  const auto work = [&] { multiply(args, 0); };
#endif
  if (fresh) work();
  return seconds_of(work);
}

}  // namespace locant
