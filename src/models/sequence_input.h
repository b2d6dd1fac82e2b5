#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "models/config_json.h"
#include "models/model.h"
#include "nn/layers.h"

namespace locant {

/// A sequence as a model takes it in: ids of a vocabulary, frames of features that a product brings to the
/// model's width, or tokens of that width as they are.
struct SequenceInput {
  std::int64_t vocab_size = 0;  ///< 0: no ids
  std::int64_t in_chans = 0;    ///< of a frame; 0: the model's width, and no product
};

template <class Archive, class Input>
void sequence_fields(Archive& archive, Input& input) {
  archive.field("vocab_size", input.vocab_size);
  archive.field("in_chans", input.in_chans);
}

/// `embedding.weight` (vocab_size, width), or `input.weight` (width, in_chans) and `input.bias`, or nothing.
class SequenceEmbedding {
 public:
  SequenceEmbedding() = default;
  /// Throws Error when there are ids and frames.
  SequenceEmbedding(const Weights& w, std::string_view op, const SequenceInput& input, std::int64_t width);
  /// The port: "ids" (B N) or "input" (B N C).
  Port port() const;
  /// ids (B, N), or input (B, N, C) -> (B, N, width). Throws Error under `op` for an id that the table has
  /// not and for frames of another width.
  Var operator()(const Context& ctx, std::string_view op, const Values& in) const;

 private:
  SequenceInput input_;
  std::int64_t width_ = 0;
  Var table_;
  Linear projection_;
};

/// Lengths of the optional input "lengths"; empty where it is not given.
std::vector<std::int64_t> lengths_of(const Values& in);

}  // namespace locant
