#include "position/music_transformer.h"

#include "core/error.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace music_transformer_test {

using testing::mapped;

TEST(MusicTransformer, LastRowIsDistanceZero) {
  constexpr int kWant[4][4] = {{5, -1, -1, -1}, {4, 5, -1, -1}, {3, 4, 5, -1}, {2, 3, 4, 5}};
  const auto gather = music_transformer_gather(6, 4, 4);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_EQ(mapped(*gather, i, j), kWant[i][j]);
}

TEST(MusicTransformer, DistancesBeyondTheTableHaveNoRow) {
  constexpr int kWant[4][4] = {{1, -1, -1, -1}, {0, 1, -1, -1}, {-1, 0, 1, -1}, {-1, -1, 0, 1}};
  const auto gather = music_transformer_gather(2, 4, 4);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_EQ(mapped(*gather, i, j), kWant[i][j]);
}

// A column of zeros on the left of Q Er^T, read as (L + 1, L), without its first row: the paper's figure 1.
TEST(MusicTransformer, RowsAreThoseOfTheSkew) {
  constexpr std::int64_t kL = 5;
  std::vector<std::int64_t> padded;
  for (std::int64_t i = 0; i < kL; ++i) {
    padded.push_back(-1);
    for (std::int64_t t = 0; t < kL; ++t) padded.push_back(i * kL + t);
  }
  for (std::int64_t i = 0; i < kL; ++i)
    for (std::int64_t j = 0; j <= i; ++j)
      EXPECT_EQ(i * kL + music_transformer_row(kL, i - j), padded[static_cast<std::size_t>(kL + i * kL + j)]);
}

TEST(MusicTransformer, OneQueryOnCachedKeysIsTheLastOfAll) {
  const auto one = music_transformer_gather(7, 1, 5), all = music_transformer_gather(7, 5, 5);
  for (std::int64_t j = 0; j < 5; ++j) EXPECT_EQ(mapped(*one, 0, j), mapped(*all, 4, j));
}

TEST(MusicTransformer, RefusesWhatDoesNotFit) {
  const auto add = [](const Tensor& table, std::int64_t Nq, std::int64_t Nk) {
    AttentionOptions options;
    options.heads = 2;
    add_music_transformer({Var(table)}, 3, Nq, Nk, options);
    return options;
  };
  const AttentionOptions options = add(Tensor::zeros({2, 6, 3}), 2, 5);
  EXPECT_TRUE(options.visibility.causal);
  EXPECT_EQ(options.visibility.causal_offset, 3);
  EXPECT_THROW(add(Tensor::zeros({6, 4}), 4, 4), Error);
  EXPECT_THROW(add(Tensor::zeros({3, 6, 3}), 4, 4), Error);
  EXPECT_THROW(add(Tensor::zeros({6}), 4, 4), Error);
  EXPECT_THROW(music_transformer_gather(0, 4, 4), Error);
  EXPECT_THROW(music_transformer_gather(4, 4, 3), Error);
  EXPECT_THROW(music_transformer_gather(4, 0, 3), Error);
}

}  // namespace music_transformer_test
}  // namespace locant
