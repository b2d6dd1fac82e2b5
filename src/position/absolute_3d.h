#pragma once

// Learned absolute positions of a video, F frames of h x w tokens, frames slowest:
//
//   joint        x_(f, s) + p_(f, s)     a row a token: Arnab et al. 2021, ViViT, section 3.1
//   factorised   x_(f, s) + t_f + p_s    a row a frame and one a place: Bertasius et al. 2021, TimeSformer
//   temporal     x_(f, s) + t_f          frames only: AIM's "temporal_embedding" (1, F, C)
//
// Enters: tokens. Parameters: "pos_embed" (1, F h w, C) or (1, h w, C), "time_embed" (1, F, C), start
// N(0, 0.02) truncated or zero. Resize: frames linearly between centres (TimeSformer takes the nearest; see
// learned_absolute.h for the rules of places). Gradient: sums over what shares a row. Cost: additions.

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

/// The joint table (1, F places, C) as it is. Throws Error when it is not of that shape; so do the others.
Var joint_absolute(const Var& table, std::int64_t frames, std::int64_t places);
/// t_f for every token of F frames with `places` tokens each: time (1, F, C) -> (1, F places, C). Throws
/// Error when the frames do not fit.
Var temporal_absolute(const Context& ctx, const Var& time, std::int64_t frames, std::int64_t places);

/// t_f + p_s: time (1, F, C), space (1, places, C) -> (1, F places, C).
Var factorised_absolute(const Context& ctx, const Var& time, const Var& space);

/// A temporal table (1, F, C) for another number of frames: linear between the centres of frames.
Var resize_temporal(const Context& ctx, const Var& time, std::int64_t frames);

}  // namespace locant
