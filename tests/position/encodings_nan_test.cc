// A table with a NaN is refused by name: softmax would spread it over every output without a word.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "position/all.h"
#include "tests/support/gradcheck.h"

namespace locant::testing {
namespace encodings_nan_test {

class EncodingNan : public ::testing::TestWithParam<const Encoding*> {};

TEST_P(EncodingNan, IsRefusedByName) {
  const Encoding& encoding = *GetParam();
  for (const EncodingCase& c : encoding.cases()) {
    const std::size_t count = encoding.make(c).parameters.size();
    for (std::size_t p = 0; p < count; ++p) {
      EncodingInstance instance = encoding.make(c);
      auto& [name, parameter] = instance.parameters[p];
      Tensor numbers = parameter.value();  // the instance's own storage
      numbers[numbers.numel() - 1] = std::numeric_limits<float>::quiet_NaN();
      const Var q(random_tensor({c.B, c.Nq(), c.H * c.D}, 1)), k(random_tensor({c.B, c.Nk(), c.H * c.D}, 2)),
          v(random_tensor({c.B, c.Nk(), c.H * c.Dv}, 3));
      try {
        instance.run(Context{}, q, k, v, AttentionPath::fused);
        ADD_FAILURE() << encoding.name << " '" << c.variant << "' took a NaN in " << name << " "
                      << parameter.shape().str();
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(encoding.name), std::string::npos) << error.what();
      }
    }
  }
}

/// What convolutions multiply by is no table: their NaNs go on as those of the pictures do.
std::vector<const Encoding*> with_tables() {
  std::vector<const Encoding*> out;
  for (const Encoding* encoding : encodings())
    if (encoding->place != EncodingPlace::projection && encoding->name != std::string_view("peg"))
      out.push_back(encoding);
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, EncodingNan, ::testing::ValuesIn(with_tables()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace encodings_nan_test
}  // namespace locant::testing
