// A table of NaN reaches the result, or is refused: whoever looks at what comes out (the loss, the logits)
// sees it, and no call has to read its tables for it.
#include <gtest/gtest.h>

#include <limits>
#include <string_view>

#include "core/error.h"
#include "core/finite.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant::testing {
namespace encodings_nan_test {

class EncodingNan : public ::testing::TestWithParam<const Encoding*> {};

TEST_P(EncodingNan, ReachesTheResult) {
  const Encoding& encoding = *GetParam();
  for (const EncodingCase& c : encoding.cases()) {
    const std::size_t count = encoding.make(c).parameters.size();
    for (std::size_t p = 0; p < count; ++p) {
      EncodingInstance instance = encoding.make(c);
      auto& [name, parameter] = instance.parameters[p];
      if (name == "pos_proj.bias")
        continue;  // of GPSA: moves all exponents of a softmax alike, and does not act
      Tensor numbers = parameter.value();  // the instance's own storage
      for (float& number : numbers.values()) number = std::numeric_limits<float>::quiet_NaN();
      const Var q(random_tensor({c.B, c.Nq(), c.H * c.D}, 1)), k(random_tensor({c.B, c.Nk(), c.H * c.D}, 2)),
          v(random_tensor({c.B, c.Nk(), c.H * c.Dv}, 3));
      try {
        const Var out = instance.run(Context{}, q, k, v, AttentionPath::fused);
        EXPECT_NE(not_finite(out.value()), "") << encoding.name << " '" << c.variant << "' hid a NaN in "
                                               << name << " " << parameter.shape().str();
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("nan"), std::string::npos) << error.what();
      }
    }
  }
}

/// What convolutions multiply by is no table.
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
