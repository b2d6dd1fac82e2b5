#include "position/cosine_attention.h"

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "position/shared/sequence.h"

namespace locant {

CosineQueryKey cosine_query_key(const Context& ctx, const Var& q, const Var& k, const Var& logit_scale,
                                std::int64_t heads) {
  const auto split = [&](const Var& x) {
    const Shape& s = x.shape();
    if (s.rank() != 3 || heads < 1 || s[2] % heads != 0)
      fail("cosine_attention", "{} does not split into {} heads; (B, N, H D) was expected", s.str(), heads);
    return l2_normalize(ctx, reshape(ctx, x, {s[0], s[1], heads, s[2] / heads}));
  };
  check_table("cosine_attention", "logit_scale", logit_scale,
              logit_scale.defined() && logit_scale.shape().rank() == 1 ? Shape{heads} : Shape{heads, 1, 1});
  const Var tau = exp(ctx, clamp_max(ctx, reshape(ctx, logit_scale, {heads, 1}), kLogitScaleMax));
  return {reshape(ctx, multiply(ctx, split(q), tau), q.shape()), reshape(ctx, split(k), k.shape())};
}

}  // namespace locant
