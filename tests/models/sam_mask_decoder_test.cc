// The official numbers: tests/verify/oracle_test.cc. Here: what many prompts on one picture share changes
// nothing.
#include "models/sam_mask_decoder.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "models/family.h"
#include "ops/rearrange.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sam_mask_decoder_test {

using testing::random_tensor;

constexpr std::int64_t kRows = 5, kColumns = 6, kPlaces = kRows * kColumns, kWidth = 64;
constexpr SamMaskDecoderConfig kSmall{
    .grid = {kRows, kColumns}, .dim = kWidth, .depth = 2, .heads = 4, .mlp_dim = 96, .iou_hidden = 48};

struct Built {
  explicit Built(WeightMode mode) : weights(source, mode), decoder(kSamMaskDecoder, kSmall, weights) {}
  RandomSource source{7};
  Weights weights;
  SamMaskDecoder decoder;
};

/// The sample alone, whether all share x or not.
Tensor sample(const Tensor& x, std::int64_t b) {
  return x.dim(0) == 1 ? x : slice_axis({}, Var(x), 0, b, b + 1).value();
}

/// One sample B times.
Tensor repeated(const Tensor& x, std::int64_t B) {
  return concat_axis({}, std::vector<Var>(static_cast<std::size_t>(B), Var(x)), 0).value();
}

TEST(SamMaskDecoder, AnswersManyPromptsAsItAnswersEach) {
  const Built built(WeightMode::inference);
  const std::int64_t B = 11;
  const Var positions(random_tensor({1, kPlaces, kWidth}, 1));
  const Tensor sparse = random_tensor({B, 3, kWidth}, 2);
  const auto run = [&](const Tensor& image, const Tensor& s, const Tensor& d, bool several) {
    return built.decoder({}, Var(image), positions, {Var(s), Var(d)}, several);
  };
  for (const std::int64_t images : {std::int64_t{1}, B})
    for (const Shape& dense_shape :
         {Shape{1, 1, kWidth}, Shape{1, kPlaces, kWidth}, Shape{B, kPlaces, kWidth}})
      for (const bool several : {false, true}) {
        const Tensor image = random_tensor({images, kPlaces, kWidth}, 3),
                     dense = random_tensor(dense_shape, 4);
        const SamMasks all = run(image, sparse, dense, several);
        ASSERT_EQ(all.masks.shape(), (Shape{B, several ? 3 : 1, 4 * kRows, 4 * kColumns}));
        ASSERT_EQ(all.iou.shape(), (Shape{B, several ? 3 : 1}));
        for (std::int64_t b = 0; b < B; ++b) {
          const SamMasks one = run(sample(image, b), sample(sparse, b), sample(dense, b), several);
          testing::expect_close(sample(all.masks.value(), b), testing::to_double(one.masks.value()), 2e-6,
                                "masks");
          testing::expect_close(sample(all.iou.value(), b), testing::to_double(one.iou.value()), 2e-6, "iou");
        }
      }
}

TEST(SamMaskDecoder, SharedPicturesHaveTheGradientsOfRepeatedOnes) {
  const Built built(WeightMode::train);
  const std::int64_t B = 3;
  // Of a size that makes some places matter more: gradients of an even softmax are differences near zero.
  const Tensor image = random_tensor({1, kPlaces, kWidth}, 3, 4.0f), dense = random_tensor({1, 1, kWidth}, 4),
               positions = random_tensor({1, kPlaces, kWidth}, 1, 4.0f),
               sparse = random_tensor({B, 2, kWidth}, 2, 4.0f);
  const Tensor dmasks = random_tensor({B, 3, 4 * kRows, 4 * kColumns}, 5), diou = random_tensor({B, 3}, 6);
  // Gradients of all parameters, then of image, positions and sparse prompts.
  const auto gradients = [&](const Tensor& image_in, const Tensor& dense_in) {
    const Var x(image_in, true), p(positions, true), s(sparse, true);
    Tape tape;
    const Context ctx{.tape = &tape};
    const SamMasks out = built.decoder(ctx, x, p, {s, Var(dense_in)}, true);
    tape.backward({{out.masks, dmasks}, {out.iou, diou}});
    std::vector<Tensor> all;
    for (const Parameter& parameter : built.weights.parameters()) {
      Var value = parameter.value;
      all.push_back(value.grad());
      value.clear_grad();
    }
    for (const Var& input : {x, p, s}) all.push_back(input.grad());
    return all;
  };
  const std::vector<Tensor> shared = gradients(image, dense);
  const std::vector<Tensor> apart = gradients(repeated(image, B), repeated(dense, B));
  ASSERT_EQ(shared.size(), apart.size());
  const std::size_t picture = shared.size() - 3;
  for (std::size_t n = 0; n < shared.size(); ++n) {
    ASSERT_EQ(shared[n].defined(), apart[n].defined()) << n;
    if (!shared[n].defined() || n == picture) continue;
    const std::string name = n < picture ? built.weights.parameters()[n].name : std::string("an input");
    if (name.find("k_proj.bias") != std::string::npos) continue;  // zero under softmax
    testing::expect_close(shared[n], testing::to_double(apart[n]), 2e-5, name.c_str());
  }
  std::vector<double> sum(static_cast<std::size_t>(image.numel()), 0.0);
  for (std::int64_t i = 0; i < apart[picture].numel(); ++i)
    sum[static_cast<std::size_t>(i % image.numel())] += apart[picture][i];
  testing::expect_close(shared[picture], sum, 2e-5, "picture");
}

TEST(SamMaskDecoder, RefusesWhatDoesNotFit) {
  const Built built(WeightMode::inference);
  const auto run = [&](const Shape& image, const Shape& positions, const Shape& sparse, const Shape& dense) {
    built.decoder({}, Var(Tensor::zeros(image)), Var(Tensor::zeros(positions)),
                  {Var(Tensor::zeros(sparse)), Var(Tensor::zeros(dense))}, false);
  };
  const Shape image{1, kPlaces, kWidth}, sparse{2, 3, kWidth}, dense{1, 1, kWidth};
  EXPECT_NO_THROW(run(image, image, sparse, dense));
  EXPECT_THROW(run({1, kPlaces + 1, kWidth}, image, sparse, dense), Error);
  EXPECT_THROW(run({3, kPlaces, kWidth}, image, sparse, dense), Error);
  EXPECT_THROW(run(image, {2, kPlaces, kWidth}, sparse, dense), Error);
  EXPECT_THROW(run(image, image, {2, 3, kWidth - 1}, dense), Error);
  EXPECT_THROW(run(image, image, sparse, {3, 1, kWidth}), Error);
  EXPECT_THROW(run(image, image, sparse, {2, 2, kWidth}), Error);
}

}  // namespace sam_mask_decoder_test
}  // namespace locant
