#include "kernels/row_mix.h"

#include <vector>

#include "tests/support/gradcheck.h"
#include "tests/support/isas.h"

namespace locant {
namespace row_mix_test {

using testing::random_tensor;

struct Sizes {
  std::int64_t M, K, outer, width;
};

// Tails of rows and of vectors, strides beyond the width, a matrix and its transpose.
const std::vector<Sizes> kSizes = {{1, 1, 1, 1},  {2, 3, 2, 5},  {3, 1, 1, 16},  {4, 2, 3, 32},
                                   {5, 7, 2, 33}, {7, 7, 7, 67}, {9, 4, 1, 150}, {16, 6, 2, 64}};

TEST(RowMix, MixIsTheProductInEveryInstructionSet) {
  for (const Sizes& s : kSizes)
    for (const bool transposed : {false, true}) {
      const std::int64_t x_row = s.width + 3, y_row = s.width + 5;
      const Tensor a = random_tensor({s.M, s.K}, 1), x = random_tensor({s.K, x_row}, 2);
      const std::int64_t a_row = transposed ? 1 : s.K, a_column = transposed ? s.M : 1;
      for (const Isa isa : testing::tested_isas()) {
        Tensor y = Tensor::full({s.M, y_row}, 7.0f);
        row_mix(isa).mix(a.data(), a_row, a_column, s.M, s.K, x.data(), x_row, s.width, y.data(), y_row);
        for (std::int64_t m = 0; m < s.M; ++m)
          for (std::int64_t c = 0; c < y_row; ++c) {
            double want = c < s.width ? 0 : 7;
            for (std::int64_t k = 0; c < s.width && k < s.K; ++k)
              want +=
                  static_cast<double>(a[m * a_row + k * a_column]) * static_cast<double>(x[k * x_row + c]);
            ASSERT_NEAR(y[m * y_row + c], want, 2e-6) << isa_name(isa) << " " << m << " " << c;
          }
      }
    }
}

TEST(RowMix, ProductsAreSumsInEveryInstructionSet) {
  for (const Sizes& s : kSizes) {
    const std::int64_t x_row = s.width + 1, x_outer = s.M * x_row, y_outer = s.width + 2,
                       y_row = s.outer * y_outer;
    const Tensor x = random_tensor({s.outer, x_outer}, 1), y = random_tensor({s.K, y_row}, 2);
    for (const Isa isa : testing::tested_isas()) {
      Tensor out = Tensor::full({s.M * s.K + 1}, 7.0f);
      row_mix(isa).products(x.data(), x_row, x_outer, y.data(), y_row, y_outer, s.M, s.K, s.outer, s.width,
                            out.data());
      for (std::int64_t m = 0; m < s.M; ++m)
        for (std::int64_t k = 0; k < s.K; ++k) {
          double want = 0;
          for (std::int64_t o = 0; o < s.outer; ++o)
            for (std::int64_t c = 0; c < s.width; ++c)
              want += static_cast<double>(x[m * x_row + o * x_outer + c]) *
                      static_cast<double>(y[k * y_row + o * y_outer + c]);
          ASSERT_NEAR(out[m * s.K + k], want, 2e-5) << isa_name(isa) << " " << m << " " << k;
        }
      EXPECT_EQ(out[s.M * s.K], 7.0f);
    }
  }
}

TEST(RowMix, WeighIsTheSumOfTapsInEveryInstructionSet) {
  for (const Sizes& s : kSizes)
    for (const bool with_bias : {false, true}) {
      const std::int64_t x_row = s.width + 3, y_row = s.width + 5, taps = s.K - 1;  // none, too
      const Tensor x = random_tensor({s.M + 2 * s.K, x_row}, 1), w = random_tensor({s.K, s.width}, 2),
                   bias = random_tensor({s.width}, 3);
      std::vector<std::int64_t> offsets;
      std::vector<const float*> weights;
      for (std::int64_t t = 0; t < taps; ++t) {
        offsets.push_back(2 * t * x_row + 1);
        weights.push_back(w.data() + (taps - t) * s.width);
      }
      for (const Isa isa : testing::tested_isas()) {
        Tensor y = Tensor::full({s.M, y_row}, 7.0f);
        row_mix(isa).weigh(x.data(), x_row, offsets.data(), weights.data(), taps,
                           with_bias ? bias.data() : nullptr, s.M, s.width, y.data(), y_row);
        for (std::int64_t m = 0; m < s.M; ++m)
          for (std::int64_t c = 0; c < y_row; ++c) {
            double want = c >= s.width ? 7 : with_bias ? static_cast<double>(bias[c]) : 0;
            for (std::int64_t t = 0; c < s.width && t < taps; ++t)
              want += static_cast<double>(w[(taps - t) * s.width + c]) *
                      static_cast<double>(x[(m + 2 * t) * x_row + 1 + c]);
            ASSERT_NEAR(y[m * y_row + c], want, 2e-6) << isa_name(isa) << " " << m << " " << c;
          }
      }
    }
}

}  // namespace row_mix_test
}  // namespace locant
