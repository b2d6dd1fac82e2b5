#include "core/error.h"
#include "core/parallel.h"
#include "ops/attention/attention.h"
#include "ops/attention/inputs.h"
#include "ops/softmax.h"

namespace locant {

Tensor attention_row(const Tensor& qkv, std::int64_t heads, std::optional<float> scale, std::int64_t row) {
  AttentionOptions options;
  options.heads = heads;
  options.scale = scale;
  const auto in = attention_inputs(Var(qkv), options);
  const std::int64_t N = in->Nk, width = qkv.dim(2), D = in->D;
  require(row >= 0 && row < N, "attention", "row {} is not one of {}", row, N);
  Tensor probabilities({in->B, heads, N});
  parallel_for(in->B * heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t bh = begin; bh < end; ++bh) {
      const float* sample = qkv.data() + bh / heads * N * width + bh % heads * D;
      const float* q = sample + row * width;
      for (std::int64_t j = 0; j < N; ++j) {
        const float* k = sample + j * width + heads * D;
        double dot = 0;
        for (std::int64_t d = 0; d < D; ++d) dot += static_cast<double>(q[d]) * static_cast<double>(k[d]);
        probabilities[bh * N + j] = static_cast<float>(dot * static_cast<double>(in->scale));
      }
    }
  });
  return softmax_forward(probabilities);
}

}  // namespace locant
