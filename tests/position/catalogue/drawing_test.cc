#include "position/catalogue/drawing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/error.h"
#include "core/rng.h"
#include "position/catalogue/all.h"

namespace locant {
namespace drawing_test {

Drawing drawn(const char* name, const EncodingCase& c) { return draw_encoding(find_encoding(name), c); }

float at(const Drawing& drawing, std::int64_t row, std::int64_t column) {
  return drawing.numbers[static_cast<std::size_t>(row * drawing.columns + column)];
}

/// NaN as -1.
std::vector<int> whole(const Drawing& drawing) {
  std::vector<int> out;
  for (const float x : drawing.numbers) out.push_back(std::isnan(x) ? -1 : static_cast<int>(x));
  return out;
}

class Drawings : public ::testing::TestWithParam<const Encoding*> {};

TEST_P(Drawings, DrawsItselfAndEveryVariant) {
  const Encoding& encoding = *GetParam();
  std::set<std::string> variants = {""};
  for (const EncodingCase& c : encoding.cases()) variants.insert(c.variant);
  for (const std::string& variant : variants) {
    const EncodingCase c = drawing_case(encoding, variant);
    const Drawing drawing = draw_encoding(encoding, c);
    ASSERT_EQ(static_cast<std::int64_t>(drawing.numbers.size()), drawing.rows * drawing.columns) << variant;
    std::set<float> different;
    for (const float x : drawing.numbers) {
      EXPECT_FALSE(std::isinf(x)) << variant;
      EXPECT_FALSE(drawing.counts && x < 0.0f) << variant;
      if (!std::isnan(x)) different.insert(x);
    }
    EXPECT_FALSE(different.empty()) << variant;
    EXPECT_TRUE(!variant.empty() || different.size() >= 3) << "nothing to be seen";
    if (encoding.index == nullptr || encoding.picture != nullptr) continue;
    EXPECT_TRUE(drawing.pairs && drawing.counts);
    EXPECT_EQ(drawing.rows, c.Nq());
    EXPECT_EQ(drawing.columns, c.Nk());
  }
  EXPECT_THROW(drawing_case(encoding, "no such variant"), Error);
}

// Grids that suit few encodings are refused or drawn; nothing reads or divides where it must not.
TEST_P(Drawings, OddCasesAreDrawnOrRefused) {
  Rng rng(7);
  const auto below = [&rng](std::int64_t n) { return static_cast<std::int64_t>(rng.uniform() * n); };
  const auto grid = [&] { return Grid{below(3) == 0 ? 2 : 1, 1 + below(5), 1 + below(5)}; };
  const std::vector<EncodingCase> own = GetParam()->cases();
  int drawings = 0;
  for (int n = 0; n < 120; ++n) {
    EncodingCase c{.B = 1, .H = 1 + below(4), .D = 1 + below(9), .query = grid()};
    c.key = below(2) == 0 ? c.query : grid();
    c.prefix = below(3) == 0 ? below(4) : 0;
    c.Dv = c.D;
    if (n % 2 == 1)
      c.variant = own[static_cast<std::size_t>(below(static_cast<std::int64_t>(own.size())))].variant;
    try {
      const Drawing drawing = draw_encoding(*GetParam(), c);
      ++drawings;
      if (drawing.pairs) query_drawing(drawing, c, below(c.Nq()));
    } catch (const Error&) {
    }
  }
  EXPECT_GT(drawings, 0);
}

INSTANTIATE_TEST_SUITE_P(All, Drawings, ::testing::ValuesIn(encodings()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(Drawing, SwinTwoByTwo) {
  const Drawing swin = drawn("swin_bias", {.query = {1, 2, 2}, .key = {1, 2, 2}});
  EXPECT_EQ(whole(swin), (std::vector<int>{4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4}));
}

TEST(Drawing, QueryLiesOverTheGridOfTheKeys) {
  const EncodingCase c{.query = {1, 2, 3}, .key = {1, 2, 3}, .prefix = 1};
  const Drawing beit = drawn("beit_bias", c), over = query_drawing(beit, c, 5);
  ASSERT_EQ(over.rows, 4);  // a line of the class token, a gap, two lines of the grid
  ASSERT_EQ(over.columns, 3);
  EXPECT_EQ(at(over, 0, 0), at(beit, 5, 0));
  EXPECT_TRUE(std::isnan(at(over, 0, 1)) && std::isnan(at(over, 1, 0)));
  for (std::int64_t j = 0; j < 6; ++j) EXPECT_EQ(at(over, 2 + j / 3, j % 3), at(beit, 5, 1 + j)) << j;
}

TEST(Drawing, FramesArePanels) {
  const EncodingCase c{.query = {3, 1, 2}, .key = {3, 1, 2}};
  const Drawing video = drawn("video_swin_bias", c), over = query_drawing(video, c, 1);
  ASSERT_EQ(over.rows, 3);
  ASSERT_EQ(over.columns, 5);
  const std::vector<float> row(video.numbers.begin() + 6, video.numbers.begin() + 12);
  const auto n = [&](std::size_t j) { return static_cast<int>(row[j]); };
  EXPECT_EQ(whole(over),
            (std::vector<int>{n(0), n(1), -1, n(2), n(3), -1, -1, -1, -1, -1, n(4), n(5), -1, -1, -1}));
}

TEST(Drawing, TablesOfTokens) {
  const Drawing sinusoid = drawn("sinusoidal_1d", {.H = 1, .D = 4, .query = {1, 1, 4}, .key = {1, 1, 4}});
  EXPECT_FALSE(sinusoid.pairs);  // 4 x 4 all the same
  EXPECT_FLOAT_EQ(at(sinusoid, 3, 0), std::sin(3.0f));
  EXPECT_FLOAT_EQ(at(sinusoid, 3, 3), std::cos(0.03f));
  // Channels of a 2 x 3 grid in panels: sines of x first, all of simple_vit's at temperature^0.
  const Drawing grid = drawn("sincos", {.H = 1, .D = 8, .query = {1, 2, 3}, .key = {1, 2, 3}});
  ASSERT_EQ(grid.rows, 3 * 3 - 1);
  ASSERT_EQ(grid.columns, 3 * 4 - 1);
  for (std::int64_t y = 0; y < 2; ++y)
    for (std::int64_t x = 0; x < 3; ++x) {
      EXPECT_FLOAT_EQ(at(grid, y, x), std::sin(static_cast<float>(x)));
      EXPECT_FLOAT_EQ(at(grid, 3 + y, 4 + x), std::sin(static_cast<float>(y)));
    }
  const Drawing clip = drawn("absolute_3d", {.query = {2, 1, 3}, .key = {2, 1, 3}, .variant = "factorised"});
  EXPECT_EQ(whole(clip),
            (std::vector<int>{0, 0, 0, -1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 2, -1, 0, 1, 2}));
}

TEST(Drawing, RotationsDependOnTheOffset) {
  const Drawing rope = drawn("rope", {.H = 2, .D = 4, .query = {1, 1, 9}, .key = {1, 1, 9}});
  for (std::int64_t i = 0; i < 9; ++i)
    for (std::int64_t j = 0; j < 9; ++j) {
      const auto offset = static_cast<double>(i - j);
      EXPECT_NEAR(at(rope, i, j), std::cos(offset) + std::cos(0.01 * offset), 1e-5) << i << " " << j;
    }
}

TEST(Drawing, CosineScoresAreATemperatureTimesACosine) {
  const Drawing cosine = drawn("cosine_attention", {.H = 2, .D = 2, .query = {1, 1, 8}, .key = {1, 1, 8}});
  ASSERT_EQ(cosine.columns, 17);
  for (const std::int64_t first : {0, 9})
    for (std::int64_t i = 0; i < 8; ++i)
      for (std::int64_t j = 0; j < 8; ++j)
        EXPECT_NEAR(at(cosine, i, first + j),
                    at(cosine, 0, first) * std::cos(std::acos(-1.0) / 4 * static_cast<double>(i - j)), 1e-4);
  EXPECT_NE(at(cosine, 0, 0), at(cosine, 0, 9));
}

TEST(Drawing, DenseNumbersAreTheParameter) {
  const EncodingCase c{.query = {1, 1, 3}, .key = {1, 1, 4}, .variant = "shared"};
  const EncodingInstance instance = find_encoding("dense_bias").make(c);
  const Tensor bias = instance.parameters[0].second.value();
  EXPECT_EQ(drawn("dense_bias", c).numbers, std::vector<float>(bias.data(), bias.data() + bias.numel()));
}

TEST(Drawing, RefusesWhatIsTooLargeOrNotThere) {
  const auto refused = [](const EncodingCase& c) {
    EXPECT_THROW(drawn("alibi", c), Error);
    EXPECT_THROW(drawn("linear_attention", c), Error);
  };
  const Grid some{1, 1, 9}, huge{1, 1, 1 << 20};
  constexpr std::int64_t kMost = std::int64_t{1} << 62;
  refused({.query = huge, .key = huge});
  refused({.query = {kMost, kMost, kMost}, .key = some});
  refused({.query = some, .key = {0, 1, 1}});
  refused({.query = some, .key = some, .prefix = -1});
  refused({.query = some, .key = some, .prefix = kMost});
  refused({.H = kMost, .D = kMost, .query = some, .key = some});
  refused({.H = 64, .query = {1, 1, 4096}, .key = {1, 1, 4096}});
  refused({.H = 1, .D = 512, .query = {1, 1, 4096}, .key = {1, 1, 4096}});
  const EncodingCase c{.query = some, .key = some};
  EXPECT_THROW(query_drawing(drawn("alibi", c), c, 9), Error);
  EXPECT_THROW(query_drawing(drawn("alibi", c), c, -1), Error);
  EXPECT_THROW(query_drawing(drawn("peg", c), c, 0), Error);
}

}  // namespace drawing_test
}  // namespace locant
