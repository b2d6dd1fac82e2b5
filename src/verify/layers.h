#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "nn/weights.h"

namespace locant {

/// The options of one layer: `build.args` of an oracle file. Every accessor throws Error ("[verify] ...")
/// that names the key when it is missing or of another type, or a whole number beyond +-2^20 (which keeps
/// products of sizes far from overflow).
class LayerArgs {
 public:
  /// A JSON object.
  explicit LayerArgs(const std::string& json);

  bool has(const std::string& key) const;
  std::int64_t integer(const std::string& key) const;
  std::int64_t integer(const std::string& key, std::int64_t fallback) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double fallback) const;
  bool boolean(const std::string& key) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  /// The text, if it is one of those known.
  std::string choice(const std::string& key, const std::vector<std::string>& known) const;
  std::string choice(const std::string& key, const std::vector<std::string>& known,
                     const std::string& fallback) const;
  /// An option of which only one value is built; it may be absent.
  void only(const std::string& key, const std::string& supported) const;
  std::vector<std::int64_t> integers(const std::string& key) const;
  /// So many of them.
  std::vector<std::int64_t> integers(const std::string& key, std::size_t count) const;
  std::vector<std::string> texts(const std::string& key) const;
  /// [[h, w], ...]
  std::vector<std::vector<std::int64_t>> integer_rows(const std::string& key) const;
  /// Keys that nobody asked for (but `height`, `length` and others that the input's shape says, too): options
  /// that the layer would silently ignore.
  std::vector<std::string> unused() const;

 private:
  struct Content;
  std::shared_ptr<Content> content_;
};

/// What a layer does with the inputs of an oracle file, in their order. The first result is the file's
/// output, others are its extra outputs in order. Stages are shown to ctx.probe under the official module
/// paths.
using OracleLayer = std::function<std::vector<Var>(const Context& ctx, const std::vector<Var>& inputs)>;

/// Throws Error when the file has fewer inputs.
const Var& input_at(const std::vector<Var>& inputs, std::size_t index);

/// A layer that takes the first input alone.
template <class Layer>
OracleLayer of_first_input(Layer layer) {
  return [layer = std::move(layer)](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, input_at(in, 0))};
  };
}

/// `key_lengths`; empty for all keys.
std::vector<std::int64_t> key_lengths_of(const LayerArgs& args);
/// Throws Error when the `mask_value` that the file adds to the scores of hidden keys would leave them a
/// weight: here they have none. exp(-100) is lost beside any other in float32.
void require_hiding_mask(const LayerArgs& args);

/// A kind of layer by its official name.
struct LayerKind {
  const char* layer;  ///< `build.layer`
  OracleLayer (*make)(const LayerArgs& args, const Weights& w);
};

/// Throws Error that lists the known layers, or names options that the layer does not know.
OracleLayer make_layer(const std::string& layer, const LayerArgs& args, const Weights& w);

/// All of them; one file verify/layer_FAMILY.cc for each family.
const std::vector<LayerKind>& layer_kinds();

// One function a family: what verify/layer_FAMILY.cc holds.
std::vector<LayerKind>
conv_layer_kinds();  ///< peg, sra, locally_grouped_attention, leff, lca_block, locality_ff
std::vector<LayerKind> irpe_layer_kinds();   ///< irpe_attention, irpe_detr_attention
std::vector<LayerKind> swin_layer_kinds();   ///< window_attention_3d, video_swin_block
std::vector<LayerKind> axial_layer_kinds();  ///< axial_attention, axial_block
std::vector<LayerKind> local_layer_kinds();  ///< sasa_conv, sasa_stem
std::vector<LayerKind>
relative_logit_layer_kinds();  ///< augmented_conv, botnet_attention, botnet_block, botnet_stack
std::vector<LayerKind> sequence_layer_kinds();   ///< shaw_attention, relative_key_attention, music_attention,
                                                 ///< transformer_xl_attention
std::vector<LayerKind> linear_layer_kinds();     ///< linear_attention
std::vector<LayerKind> conformer_layer_kinds();  ///< conformer_*

}  // namespace locant
