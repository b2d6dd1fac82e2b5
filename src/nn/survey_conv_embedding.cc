#include "nn/survey_conv_embedding.h"

#include "core/error.h"
#include "ops/rearrange.h"

namespace locant {

SurveyConvEmbedding::SurveyConvEmbedding(const Weights& w, std::int64_t width, std::int64_t kernel) {
  require(kernel >= 1 && kernel <= 31 && kernel % 2 == 1, "survey_conv_embedding",
          "a kernel of {}; an odd one up to 31 was expected", kernel);
  conv_ = Conv2d(w / "conv", width, width, Conv2d::square(kernel, 1, kernel / 2));
}

Var SurveyConvEmbedding::operator()(const Context& ctx, const Var& tokens) const {
  require(tokens.shape().rank() == 3, "survey_conv_embedding", "tokens of shape {}; (B, N, C) was expected",
          tokens.shape().str());
  return images_to_tokens(ctx, conv_(ctx, tokens_to_images(ctx, tokens, 1, tokens.dim(1))));
}

}  // namespace locant
