#pragma once

// The attention stem of Ramachandran et al. 2019 as its formulas read, a number at a time.

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace locant::testing {

struct PlainAttentionStem {
  std::int64_t in = 3, out = 8, heads = 2, mixtures = 4, block = 4;

  /// One picture (in, H, W) -> (out, H, W); `numbers` by the layer's names behind `prefix`.
  std::vector<double> operator()(const std::map<std::string, std::vector<double>>& numbers,
                                 const std::string& prefix, const std::vector<double>& x, std::int64_t H,
                                 std::int64_t W) const {
    const std::int64_t D = out / heads, places = H * W;
    const auto of = [&](const std::string& name, std::int64_t i) {
      return numbers.at(prefix + name)[static_cast<std::size_t>(i)];
    };
    const auto made = [&](const std::string& name) {  // a matrix times every pixel, (out, H, W)
      const std::vector<double>& matrix = numbers.at(prefix + name + ".weight");
      std::vector<double> y(static_cast<std::size_t>(out * places));
      for (std::int64_t c = 0; c < out; ++c)
        for (std::int64_t i = 0; i < in; ++i)
          for (std::int64_t n = 0; n < places; ++n)
            y[static_cast<std::size_t>(c * places + n)] +=
                matrix[static_cast<std::size_t>(c * in + i)] * x[static_cast<std::size_t>(i * places + n)];
      return y;
    };
    const std::vector<double> q = made("query_conv"), k = made("key_conv");
    std::vector<double> v(static_cast<std::size_t>(out * places));
    for (std::int64_t m = 0; m < mixtures; ++m) {
      const std::vector<double> one = made("value_conv." + std::to_string(m));
      for (std::int64_t n = 0; n < places; ++n) {
        const auto score = [&](std::int64_t l) {  // (e_row + e_column).nu_l
          double sum = 0;
          for (std::int64_t e = 0; e < D; ++e)
            sum += (of("emb_a", e * block + n / W % block) + of("emb_b", e * block + n % W % block)) *
                   of("emb_mix", l * D + e);
          return sum;
        };
        double total = 0;
        for (std::int64_t l = 0; l < mixtures; ++l) total += std::exp(score(l));
        const double p = std::exp(score(m)) / total;
        for (std::int64_t c = 0; c < out; ++c)
          v[static_cast<std::size_t>(c * places + n)] += p * one[static_cast<std::size_t>(c * places + n)];
      }
    }
    std::vector<double> y(v.size());
    for (std::int64_t n = 0; n < places; ++n)
      for (std::int64_t h = 0; h < heads; ++h) {
        double total = 0;
        for (std::int64_t j = 0; j < places; ++j) {
          if (j / W / block != n / W / block || j % W / block != n % W / block) continue;
          double score = 0;
          for (std::int64_t c = h * D; c < (h + 1) * D; ++c)
            score +=
                q[static_cast<std::size_t>(c * places + n)] * k[static_cast<std::size_t>(c * places + j)];
          const double weight = std::exp(score);
          total += weight;
          for (std::int64_t c = h * D; c < (h + 1) * D; ++c)
            y[static_cast<std::size_t>(c * places + n)] +=
                weight * v[static_cast<std::size_t>(c * places + j)];
        }
        for (std::int64_t c = h * D; c < (h + 1) * D; ++c)
          y[static_cast<std::size_t>(c * places + n)] /= total;
      }
    return y;
  }
};

}  // namespace locant::testing
