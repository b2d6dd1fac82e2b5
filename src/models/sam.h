#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/load.h"
#include "models/model.h"
#include "models/sam_mask_decoder.h"
#include "models/sam_prompt_encoder.h"

namespace locant {

/// A registered Segment Anything: what encodes the picture; prompt encoder and mask decoder are the same in
/// all of them.
struct SamVariant {
  std::string name;                  ///< "sam_vit_b", "mobile_sam"
  std::vector<std::string> aliases;  ///< "vit_b", "vit_t"
  std::string encoder_family, encoder_config;
  std::string note;
};
const std::vector<SamVariant>& sam_variants();
/// By name or alias. Throws Error with the nearest names.
const SamVariant& find_sam_variant(const std::string& name);

/// The whole of Segment Anything: Kirillov et al. 2023; MobileSAM, Zhang et al. 2023. Tensor names are those
/// of facebookresearch/segment-anything: `image_encoder.*`, `prompt_encoder.*`, `mask_decoder.*`.
class Sam {
 public:
  /// all; or what answers prompts on an embedding that is there already: the image encoder is not read.
  enum class Parts { all, decoder };
  struct Options {
    std::int64_t image_size = 1024;  ///< side of the padded square, a multiple of 16
    Parts parts = Parts::all;
  };
  /// Throws Error for an image size that is none.
  Sam(const SamVariant& variant, const Weights& w, const Options& options);

  /// images (B, 3, image_size, image_size), normalised and padded -> (B, 256, image_size / 16, ..). Throws
  /// Error when the image encoder is not there, or the images have another size.
  Var image_embedding(const Context& ctx, const Var& images) const;
  /// Prompts in pixels of the padded square.
  SamPromptEmbedding encode_prompts(const Context& ctx, const SamPrompts& prompts) const;
  /// embedding (1 or B, 256, rows, columns) of image_embedding. `several`: three masks, else one. Logits of
  /// image_size / 4 a side.
  SamMasks decode(const Context& ctx, const Var& embedding, const SamPromptEmbedding& prompts,
                  bool several) const;

  const SamVariant& variant() const { return variant_; }
  std::int64_t image_size() const { return options_.image_size; }
  /// (1, 256, rows, columns)
  Shape embedding_shape() const;
  bool has_image_encoder() const { return encoder_ != nullptr; }
  const std::vector<Parameter>& parameters() const { return weights_.parameters(); }

 private:
  Weights weights_;
  SamVariant variant_;
  Options options_;
  std::unique_ptr<Model> encoder_;
  SamPromptEncoder prompts_;
  SamMaskDecoder decoder_;
  Var positions_;  // (1, rows * columns, C)
};

struct LoadedSam {
  std::unique_ptr<Sam> sam;
  std::string naming;              ///< whose tensor names the file used
  std::vector<std::string> notes;  ///< lines for people
};

struct LoadSamOptions {
  std::string model = {};  ///< variant; empty: told by the tensors
  WeightMode mode = WeightMode::inference;
  Sam::Options sam = {};
};

/// Opens official .pth, Hugging Face's SamModel and MobileSAM's .pt. Throws Error that names missing and
/// unexpected tensors when nothing fits.
LoadedSam load_sam(const std::string& path, const LoadSamOptions& options = {});

/// The variant that all of a file's tensors fit, for `inspect`; none: it is no whole Segment Anything.
std::optional<ModelGuess> guess_sam(const TensorFile& file);

}  // namespace locant
