#pragma once

#include <memory>
#include <string>

#include "models/model.h"

namespace locant {

/// The linear layer that a model's classes come from.
struct LinearHead {
  std::string weight;      ///< name of the (classes, C) tensor
  std::string bias;        ///< of the (classes) tensor; empty: none
  std::int64_t width = 0;  ///< C
};

/// Told from what changes with the number of classes. Throws Error where that is not one product: two heads,
/// a head in parts, or none.
LinearHead linear_head(const Model& model);

/// A model, packed for inference, whose logits are what the head of `model` sees (B, C): the same with the
/// identity for a head. Tensors of `model` are copied or packed.
std::unique_ptr<Model> headless(const Model& model, const LinearHead& head);

}  // namespace locant
